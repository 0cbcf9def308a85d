//! What is accepted of an offer: nothing that differs in any byte.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_core::Hasher;
use ht_core::grant::GrantSet;
use ht_core::who::Facts;
use ht_proto::entry::TenantId;
use ht_proto::room::{Room, RoomLimits};
use proptest::prelude::*;

use super::*;
use crate::config::Secret;

const CURSOR: &str = "k3f9ab-1742-aB3x";
const COOKIE: &[u8] = b"cookie: sessionid=1";
const SECRETS: [&str; 3] = [
    "the first secret, which is long enough",
    "the second secret, which is long enough",
    "the third secret, which is long enough",
];

fn tickets(secrets: &[&str]) -> Tickets {
    let tickets = Tickets::default();
    tickets.set(&config(secrets));
    tickets
}

fn config(secrets: &[&str]) -> ResumeConfig {
    ResumeConfig {
        secrets: secrets.iter().map(|&it| Secret(it.to_owned())).collect(),
        ..ResumeConfig::default()
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn grants(text: &str) -> GrantSet {
    let rooms = serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap();
    let room = |room: &serde_json::Value| Room::parse(&room.to_string(), RoomLimits::TRUSTED);
    let rooms = rooms.iter().map(|it| room(it).unwrap()).collect();
    GrantSet::new(TenantId::MAIN, rooms, Hasher::default())
}

/// A client with everything that a ticket can say.
struct Client {
    who: Option<Who>,
    grants: GrantSet,
    holder: Holder,
    expires_in: Option<u64>,
    ticket: String,
}

impl Client {
    fn new() -> Self {
        Self {
            who: Who::new(Facts {
                user: Some("7".into()),
                session: Some("s-1".into()),
                labels: vec!["staff".into(), "tenant:acme".into()],
                view: Some("short".into()),
            }),
            grants: grants(r#"[{"a": "*"}, {"b": 1.5, "c": "é"}]"#),
            holder: Holder::new(&TenantName::main(), COOKIE),
            expires_in: None,
            ticket: String::new(),
        }
    }

    /// What a client that pings now can offer.
    fn ping(&mut self, tickets: &Tickets, now: u64) -> Option<String> {
        let granted = Granted {
            connection: Uuid::from_u128(9),
            who: self.who.as_ref(),
            grants: &self.grants,
            cursor: CURSOR.parse().unwrap(),
            expires_in: self.expires_in,
        };
        let anew = self.ticket.is_empty();
        let given = tickets.give(&mut self.holder, &granted, anew, at(now));
        if let Some(ticket) = given.ticket {
            self.ticket = ticket;
        }
        Some(format!("{}.{CURSOR}.{}", self.ticket, given.proof?))
    }
}

fn encoded(text: &str) -> ResumeOffer {
    ResumeOffer::from_base64url(URL_SAFE_NO_PAD.encode(text).as_bytes()).unwrap()
}

fn open(tickets: &Tickets, text: &str, now: u64) -> Result<Opened, ResumeOutcome> {
    {
        let holder = Holder::new(&TenantName::main(), COOKIE);
        tickets.open(&encoded(text), &holder, at(now)).unwrap()
    }
}

fn outcome(tickets: &Tickets, text: &str, now: u64) -> Option<ResumeOutcome> {
    open(tickets, text, now).err()
}

#[test]
fn a_ticket_says_what_the_api_said() {
    let tickets = tickets(&SECRETS[..1]);
    let text = Client::new().ping(&tickets, 0).unwrap();
    let opened = open(&tickets, &text, 60).unwrap();
    assert_eq!(opened.connection, Uuid::from_u128(9));
    assert_eq!(opened.cursor.to_string(), CURSOR);
    let permissions = opened.permissions;
    let rooms = r#"[{"a": "*"}, {"b": 15e-1, "c": "é"}]"#;
    assert_eq!(permissions.allowed_rooms, rooms.as_bytes());
    assert_eq!(permissions.user_id.as_deref(), Some("7"));
    assert_eq!(permissions.session.as_deref(), Some("s-1"));
    let labels: Vec<&str> = permissions.labels.iter().map(|label| &**label).collect();
    assert_eq!(labels, ["staff", "tenant:acme"]);
    assert_eq!(permissions.view.as_deref(), Some("short"));
    assert_eq!(permissions.expires_in, None);
    assert!(!text.contains("staff") && !format!("{tickets:?}").contains("secret"));
}

#[test]
fn a_proof_is_good_for_a_while_and_clocks_may_differ_a_little() {
    let tickets = tickets(&[]);
    let text = Client::new().ping(&tickets, 100).unwrap();
    for (now, expected) in [
        (94, Some(ResumeOutcome::Old)),
        (95, None),
        (160, None),
        (161, Some(ResumeOutcome::Old)),
    ] {
        assert_eq!(outcome(&tickets, &text, now), expected, "{now}");
    }
}

#[test]
fn permissions_in_a_ticket_end_when_they_would_have() {
    let tickets = tickets(&[]);
    let mut client = Client::new();
    client.expires_in = Some(30_999);
    let text = client.ping(&tickets, 0).unwrap();
    let left = |now| open(&tickets, &text, now).unwrap().permissions.expires_in;
    assert_eq!(left(10), Some(Duration::from_secs(20)));
    assert_eq!(left(29), Some(Duration::from_secs(1)));
    assert_eq!(outcome(&tickets, &text, 30), Some(ResumeOutcome::Expired));
    // Renewed meanwhile: the ticket is the same.
    client.expires_in = Some(90_000);
    let ticket = client.ticket.clone();
    let text = client.ping(&tickets, 30).unwrap();
    assert_eq!(client.ticket, ticket);
    let left = open(&tickets, &text, 40).unwrap().permissions.expires_in;
    assert_eq!(left, Some(Duration::from_secs(80)));
}

#[test]
fn other_credentials_open_nothing() {
    let tickets = tickets(&[]);
    let text = Client::new().ping(&tickets, 0).unwrap();
    for identity in [&b""[..], b"cookie: sessionid=2"] {
        let opened = {
            let holder = Holder::new(&TenantName::main(), identity);
            tickets.open(&encoded(&text), &holder, at(0)).unwrap()
        };
        assert_eq!(opened.err(), Some(ResumeOutcome::Credentials));
    }
}

#[test]
fn the_proof_of_another_ticket_opens_nothing() {
    let tickets = tickets(&[]);
    let mut client = Client::new();
    let wide = client.ping(&tickets, 0).unwrap();
    let former = client.ticket.clone();
    // Its grants were taken: the former ticket has no later proof.
    client.grants = grants("[]");
    client.ticket.clear();
    let narrow = client.ping(&tickets, 1).unwrap();
    let proof = narrow.rsplit_once('.').unwrap().1;
    let mixed = format!("{former}.{CURSOR}.{proof}");
    assert_eq!(outcome(&tickets, &mixed, 1), Some(ResumeOutcome::Invalid));
    assert_eq!(outcome(&tickets, &wide, 1), None, "before the command");
}

#[test]
fn secrets_are_rotated_without_a_moment_in_which_a_ticket_is_refused() {
    let [first, second, third] = SECRETS;
    let mut client = Client::new();
    let (one, other) = (tickets(&[first]), tickets(&[first]));
    let text = client.ping(&one, 0).unwrap();
    assert_eq!(outcome(&other, &text, 0), None, "on every node");
    other.set(&config(&[second, first]));
    assert_eq!(outcome(&other, &text, 0), None);
    one.set(&config(&[first, second]));
    let former = client.ticket.clone();
    let renewed = client.ping(&other, 1).unwrap();
    assert_ne!(client.ticket, former, "signed with the new secret");
    assert_eq!(outcome(&one, &renewed, 1), None);
    other.set(&config(&[second]));
    assert_eq!(outcome(&other, &renewed, 1), None);
    let secret = Some(ResumeOutcome::Secret);
    assert_eq!(outcome(&other, &text, 1), secret);
    assert_eq!(outcome(&tickets(&[third]), &renewed, 1), secret);
    assert_eq!(outcome(&tickets(&[]), &renewed, 1), secret, "a random one");
}

#[test]
fn a_process_without_a_secret_keeps_its_own_over_a_reload() {
    let tickets = tickets(&[]);
    let text = Client::new().ping(&tickets, 0).unwrap();
    tickets.set(&ResumeConfig {
        enabled: false,
        ..config(&[])
    });
    assert!(
        tickets
            .open(
                &encoded(&text),
                &Holder::new(&TenantName::main(), COOKIE),
                at(0)
            )
            .is_none()
    );
    assert_eq!(Client::new().ping(&tickets, 0), None);
    assert!(!tickets.are_given() && tickets.max_age().is_none());
    tickets.set(&config(&[]));
    assert_eq!(outcome(&tickets, &text, 0), None);
}

#[test]
fn whoever_has_too_many_grants_gets_no_ticket() {
    let tickets = tickets(&[]);
    let mut client = Client::new();
    let rooms = |count: usize| {
        let rooms: Vec<_> = (0..count).map(|id| format!(r#"{{"a": {id}}}"#)).collect();
        grants(&format!("[{}]", rooms.join(",")))
    };
    client.grants = rooms(300);
    assert!(client.ping(&tickets, 0).is_some());
    client.ticket.clear();
    client.grants = rooms(400);
    assert_eq!(client.ping(&tickets, 0), None);
}

proptest! {
    #[test]
    fn any_other_byte_is_refused(at_byte: prop::sample::Index, other: u8, is_longer: bool) {
        let tickets = tickets(&SECRETS[..2]);
        let mut client = Client::new();
        client.expires_in = Some(50_000);
        let text = client.ping(&tickets, 0).unwrap();
        prop_assert!(open(&tickets, &text, 0).is_ok());
        let mut bytes = text.clone().into_bytes();
        let index = at_byte.index(bytes.len());
        if is_longer {
            bytes.insert(index, other % 128);
        } else {
            bytes[index] = other % 128;
        }
        let altered = String::from_utf8(bytes).unwrap();
        prop_assume!(altered != text);
        prop_assert!(open(&tickets, &altered, 0).is_err(), "{altered}");
        // Nor any part of it.
        prop_assert!(open(&tickets, &text[..index], 0).is_err());
    }

    #[test]
    fn whoever_does_not_know_the_secret_makes_no_ticket(secret in "[ -~]{0,40}", text in "[ -~]{0,60}") {
        prop_assume!(secret != SECRETS[0]);
        let tickets = tickets(&SECRETS[..1]);
        let forged = Client::new().ping(&self::tickets(&[&secret]), 0).unwrap();
        prop_assert!(open(&tickets, &forged, 0).is_err());
        prop_assert!(open(&tickets, &text, 0).is_err());
    }
}
