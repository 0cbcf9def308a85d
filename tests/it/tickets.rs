//! Resume tickets: clients that come back without a call to the API, and those that may not.

mod ahead;
mod quiet;
mod rolling;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::subprotocol::{V1, offer};
use crate::support::gateway::Builder;
use crate::support::{Client, Gateway, Handshake, Reply, Seen, StubBackend, eventually};

const EVENTS: &str = "high-templar.v1, high-templar.events";
const SECRET: &str = "a-secret-of-tickets-for-the-tests";

/// What a client keeps. `ticket` and `proof` are the last that it was sent, `at` is the cursor that
/// came with the proof.
#[derive(Clone, Debug, Default)]
struct Page {
    cursor: String,
    ticket: String,
    at: String,
    proof: String,
}

impl Page {
    /// Keeps what a message brings, as docs/protocol.md tells clients to do.
    fn keep(&mut self, message: &Value) {
        let text = |name: &str| message[name].as_str().map(str::to_string);
        if let Some(cursor) = text("cursor") {
            self.cursor = cursor;
        }
        if let Some(ticket) = text("ticket") {
            self.ticket = ticket;
        }
        if let Some(proof) = text("proof") {
            (self.at, self.proof) = (self.cursor.clone(), proof);
        }
    }

    /// What it offers.
    fn offered(&self) -> String {
        format!("{}.{}.{}", self.ticket, self.at, self.proof)
    }

    fn has_proof(&self) -> bool {
        !self.ticket.is_empty() && !self.proof.is_empty()
    }
}

/// The subprotocols of a client that offers this text.
fn named(text: &str) -> String {
    let encoded = URL_SAFE_NO_PAD.encode(text);
    format!("{V1}, high-templar.resume.{encoded}")
}

/// A handshake of the user whose token this is.
fn handshake(gateway: &Gateway, user: &str, names: &str) -> Handshake {
    offer(gateway, names).path(&format!("/ws/?token={user}"))
}

/// Connects, and reads the first message.
fn connect(gateway: &Gateway, user: &str, names: &str) -> (Client, Page, Value) {
    let mut client = handshake(gateway, user, names).open();
    let first = client.expect_whole();
    assert_eq!(first["is_authorized"], true, "{first}");
    let mut page = Page::default();
    page.keep(&first);
    (client, page, first)
}

fn ping(client: &mut Client, page: &mut Page) -> Value {
    client.send_json(&json!({"type": "ping", "requestId": "p"}));
    loop {
        let message = client.expect_whole();
        page.keep(&message);
        if message["requestId"] == "p" {
            return message;
        }
    }
}

/// The API's response about the user whose token it is.
fn permissions(seen: &Seen) -> Value {
    let token = seen.header("authorization").unwrap_or("Token nobody");
    let user = token.trim_start_matches("Token ").split('-').next();
    let user = user.unwrap_or_default();
    json!({
        "allowed_rooms": [{"n": "*"}, {"user": user}],
        "user": {"id": user},
        "session": format!("s-{user}"),
        "labels": ["all", format!("group-{user}")],
        "view": "short",
    })
}

fn api() -> StubBackend {
    StubBackend::new(|seen| Reply::json("200 OK", permissions(seen).to_string()))
}

fn gateway(backend: &StubBackend) -> Builder {
    Gateway::with(backend).set("HT_RESUME__SECRET", SECRET)
}

/// Whether a client that offers this is let in by it, and not by the API.
#[track_caller]
fn resumes(gateway: &Gateway, backend: &StubBackend, user: &str, offered: &str) -> bool {
    let calls = backend.requests().len();
    let (_, _, first) = connect(gateway, user, &named(offered));
    let is_resumed = first["resumed"] == true;
    let calls = backend.requests().len() - calls;
    assert_eq!(calls, usize::from(!is_resumed), "{first}");
    is_resumed
}

#[track_caller]
fn expect_outcome(gateway: &Gateway, outcome: &str, count: u64) {
    let name = format!("high_templar_resumes_total{{outcome=\"{outcome}\"}}");
    assert_eq!(gateway.metric(&name), count, "{outcome}");
}

#[test]
fn a_client_comes_back_without_a_call_and_hears_what_it_missed() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_TRUSTED_PROXIES", "127.0.0.0/8")
        .start();
    let (mut client, mut page, first) = connect(&gateway, "7", EVENTS);
    assert_eq!(first["resumed"], Value::Null);
    assert!(page.ticket.starts_with("v1."), "{first}");
    client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}));
    page.keep(&client.expect_whole());
    let pong = ping(&mut client, &mut page);
    assert_eq!(pong["ticket"], Value::Null, "it has one");
    drop(client);
    gateway.trigger(&json!({"rooms": [{"n": 1}], "data": "missed"}));
    // From another address: phones move.
    let names = named(&page.offered());
    let moved = handshake(&gateway, "7", &names).header("X-Real-IP", "192.0.2.7");
    let mut client = moved.open();
    let again = client.expect_whole();
    assert_eq!(again["resumed"], true, "{again}");
    assert_eq!(again["allowed_rooms"], first["allowed_rooms"]);
    client.send_json(&json!({
        "type": "resume", "requestId": 0, "cursor": page.cursor,
        "subscriptions": [{"requestId": 1, "room": {"n": 1}}, {"requestId": 2, "room": {"x": 1}}],
    }));
    let answer = client.expect_whole();
    assert_eq!(
        (&answer["recovered"], &answer["replayed"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(answer["refused"][0]["message"], "room-not-found");
    assert_eq!(client.expect_publish(), (json!("missed"), json!(1)));
    gateway.trigger(&json!({"rooms": [{"n": 1}], "data": "live"}));
    assert_eq!(client.expect_publish(), (json!("live"), json!(1)));
    assert_eq!(backend.requests().len(), 1);
    expect_outcome(&gateway, "resumed", 1);
    assert_eq!(
        gateway.metric("high_templar_bootstraps_total{outcome=\"admitted\"}"),
        1
    );
    assert!(!gateway.log().contains(&page.ticket), "tickets are secrets");
    // The API can be asked about it again, with the credentials of this handshake.
    assert_eq!(
        gateway.trigger(&json!({"command": "invalidate", "user": "7"}))["matched"],
        1
    );
    backend.wait_for(2);
    // And it comes back once more, when the API has answered.
    let mut later = Page::default();
    eventually("a proof after the answer", || {
        ping(&mut client, &mut later);
        later.has_proof().then_some(())
    });
    drop(client);
    page = later;
    assert!(resumes(&gateway, &backend, "7", &page.offered()));
}

#[test]
fn whatever_does_not_fit_is_a_call_as_for_everybody() {
    let backend = api();
    let gateway = gateway(&backend).set("HT_WINDOW__ENTRIES", 3).start();
    let (_, page, _) = connect(&gateway, "7", EVENTS);
    let offered = page.offered();
    assert!(resumes(&gateway, &backend, "7", &offered));
    assert!(
        !resumes(&gateway, &backend, "8", &offered),
        "other credentials"
    );
    for (index, _) in offered.char_indices().step_by(7) {
        let mut altered = offered.clone().into_bytes();
        altered[index] = if altered[index] == b'x' { b'y' } else { b'x' };
        let altered = String::from_utf8(altered).expect("ASCII");
        assert!(!resumes(&gateway, &backend, "7", &altered), "{altered}");
    }
    for text in ["", "v1", "v1.a.b.c.d.e", &offered[1..], &"x".repeat(5_000)] {
        assert!(!resumes(&gateway, &backend, "7", text), "{text}");
    }
    let calls = backend.requests().len();
    for name in [
        "high-templar.resume.",
        "high-templar.resume.=",
        "high-templar.resume",
    ] {
        let (_, _, first) = connect(&gateway, "7", &format!("{V1}, {name}"));
        assert_eq!(first["resumed"], Value::Null);
    }
    assert_eq!(backend.requests().len(), calls + 3);
    // A client of old neither gets a ticket nor may use one.
    let encoded = URL_SAFE_NO_PAD.encode(&offered);
    let old = handshake(&gateway, "7", &format!("high-templar.resume.{encoded}"));
    let first = old.open().expect_whole();
    assert_eq!(
        first.as_object().map(|first| first.len()),
        Some(2),
        "{first}"
    );
    // The window no longer reaches back.
    assert!(resumes(&gateway, &backend, "7", &offered));
    for number in 0..5 {
        gateway.trigger(&json!({"rooms": [{"n": 1}], "data": number}));
    }
    assert!(!resumes(&gateway, &backend, "7", &offered));
    let note = gateway.get("/ready");
    assert!(note.text().contains("window: it reaches back"), "{note:?}");
    expect_outcome(&gateway, "resumed", 2);
    expect_outcome(&gateway, "credentials", 1);
    expect_outcome(&gateway, "age", 1);
}

#[test]
fn a_proof_is_good_for_as_long_as_the_setting_says() {
    let backend = api();
    let gateway = gateway(&backend).set("HT_RESUME__MAX_AGE", "1s").start();
    let (mut client, mut page, _) = connect(&gateway, "7", EVENTS);
    let old = page.offered();
    eventually("an old proof", || {
        (!resumes(&gateway, &backend, "7", &old)).then_some(())
    });
    ping(&mut client, &mut page);
    assert!(
        resumes(&gateway, &backend, "7", &page.offered()),
        "a new one"
    );
    assert!(!resumes(&gateway, &backend, "7", &old));
    expect_outcome(&gateway, "old", 2);
}

#[test]
fn another_life_of_the_log_is_another_answer() {
    let backend = api();
    let (one, other) = (gateway(&backend).start(), gateway(&backend).start());
    let (_, page, _) = connect(&one, "7", EVENTS);
    assert!(!resumes(&other, &backend, "7", &page.offered()));
    expect_outcome(&other, "epoch", 1);
    // Without a secret, each process has its own.
    let alone = Gateway::start(&backend);
    assert!(!resumes(&alone, &backend, "7", &page.offered()));
    expect_outcome(&alone, "secret", 1);
    let (_, page, _) = connect(&alone, "7", EVENTS);
    assert!(resumes(&alone, &backend, "7", &page.offered()));
    let off = gateway(&backend).set("HT_RESUME__ENABLED", "false").start();
    let (mut client, mut none, _) = connect(&off, "7", EVENTS);
    ping(&mut client, &mut none);
    assert_eq!((none.ticket, none.proof), (String::new(), String::new()));
    assert!(!resumes(&off, &backend, "7", &page.offered()));
}

/// The id of a connection, which error replies to messages without a name contain.
fn connection(client: &mut Client) -> String {
    client.send_json(&json!({"type": "who-am-i"}));
    let error = client.expect_whole();
    error["requestId"].as_str().expect("an id").to_string()
}

#[test]
fn any_command_that_selects_the_client_meanwhile_has_the_api_asked() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let actions = [
        json!({"command": "invalidate"}),
        json!({"command": "invalidate", "within": 60_000}),
        json!({"command": "permit", "allowed_rooms": [{"n": 1}]}),
        json!({"command": "unsubscribe", "from": [{"n": "*"}]}),
        json!({"command": "disconnect", "come_back": "soon"}),
    ];
    let selectors = |user: &str, connection: &str| {
        [
            json!({"user": user}),
            json!({"session": format!("s-{user}")}),
            json!({"label": format!("group-{user}")}),
            json!({"connection": connection}),
            json!({"room": {"user": user}}),
        ]
    };
    let other = "00000000-0000-4000-8000-000000000000";
    for action in &actions {
        // A permit names users; an unsubscribe names whom it means, too.
        let is_permit = action["command"] == "permit";
        for index in 0..=selectors("7", other).len() {
            if is_permit && [2, 4, 5].contains(&index) {
                continue;
            }
            let (mut client, mut page, _) = connect(&gateway, "7", EVENTS);
            let id = connection(&mut client);
            ping(&mut client, &mut page);
            let offered = page.offered();
            drop(client);
            gateway.wait_for_metric("high_templar_connections", 0);
            let send = |selector: Option<&Value>| {
                let mut command = action.clone();
                let everyone = json!({"everyone": true});
                let members = selector
                    .unwrap_or(&everyone)
                    .as_object()
                    .expect("an object");
                for (name, value) in members {
                    command[name] = value.clone();
                }
                gateway.trigger(&command);
            };
            if let Some(selector) = selectors("8", other).get(index) {
                send(Some(selector));
                assert!(
                    resumes(&gateway, &backend, "7", &offered),
                    "{action} {selector}"
                );
            }
            let own = selectors("7", &id);
            send(own.get(index));
            let is_resumed = resumes(&gateway, &backend, "7", &offered);
            assert!(!is_resumed, "{action} {:?}", own.get(index));
        }
    }
}

#[test]
fn permissions_in_doubt_have_no_proof() {
    let backend = api();
    let gateway = gateway(&backend).start();
    // A span in which the API is to be asked has begun.
    let (mut client, page, _) = connect(&gateway, "7", EVENTS);
    gateway.trigger(&json!({"command": "invalidate", "user": "7", "within": 600_000}));
    let mut later = Page::default();
    ping(&mut client, &mut later);
    assert!(!later.has_proof(), "{later:?}");
    assert!(
        !resumes(&gateway, &backend, "7", &page.offered()),
        "since the command"
    );
    // An answer of the API ends the doubt.
    gateway.trigger(&json!({"command": "permit", "user": "7", "allowed_rooms": [{"n": 2}]}));
    let event = loop {
        let message = client.expect_whole();
        if message["type"] == "permissions" {
            break message;
        }
    };
    let mut after = Page::default();
    after.keep(&event);
    assert!(after.has_proof(), "{event}");
    let (_, _, first) = connect(&gateway, "7", &named(&after.offered()));
    assert_eq!(
        (&first["resumed"], &first["allowed_rooms"]),
        (&json!(true), &json!([{"n": 2}]))
    );
    // The former ticket with the new proof is none.
    let mixed = Page {
        ticket: page.ticket,
        ..after
    };
    assert!(!resumes(&gateway, &backend, "7", &mixed.offered()));
}

#[test]
fn other_labels_are_another_ticket_for_clients_without_events_too() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let (mut client, mut page, _) = connect(&gateway, "7", V1);
    let before = page.ticket.clone();
    let permit = json!({
        "command": "permit", "user": "7", "allowed_rooms": [{"n": "*"}, {"user": "7"}],
        "labels": ["late"],
    });
    gateway.trigger(&permit);
    let pong = ping(&mut client, &mut page);
    assert_ne!(page.ticket, before, "{pong}");
    let offered = page.offered();
    assert!(resumes(&gateway, &backend, "7", &offered));
    drop(client);
    gateway.wait_for_metric("high_templar_connections", 0);
    gateway.trigger(&json!({"command": "invalidate", "label": "late"}));
    assert!(!resumes(&gateway, &backend, "7", &offered));
}

#[test]
fn limits_are_those_of_every_client() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_LIMITS__CONNECTIONS_PER_USER", 1)
        .start();
    let (client, page, _) = connect(&gateway, "7", EVENTS);
    let names = named(&page.offered());
    let calls = backend.requests().len();
    let mut second = handshake(&gateway, "7", &names).open();
    assert_eq!(second.expect_json()["is_authorized"], false);
    assert_eq!(second.expect_close(4100), "connections-per-user");
    assert_eq!(backend.requests().len(), calls);
    expect_outcome(&gateway, "limit", 1);
    drop(client);
}

#[test]
fn permissions_expire_as_if_it_had_stayed() {
    let backend = StubBackend::new(|seen| {
        let mut permissions = permissions(seen);
        permissions["expires_in"] = json!(3_600);
        Reply::json("200 OK", permissions.to_string())
    });
    let gateway = gateway(&backend)
        .set("HT_PERMISSIONS__MAX_AGE", "6s")
        .start();
    let (_, page, _) = connect(&gateway, "7", V1);
    let (mut client, mut second, first) = connect(&gateway, "7", &named(&page.offered()));
    assert_eq!(first["resumed"], true);
    // The API is asked again at the end of the term, and the ticket holds on with that.
    backend.wait_for(2);
    let is_resumed = |page: &Page| resumes(&gateway, &backend, "7", &page.offered());
    eventually("the end of the first term", || {
        (!is_resumed(&page)).then_some(())
    });
    eventually("a proof in a later term", || {
        ping(&mut client, &mut second);
        is_resumed(&second).then_some(())
    });
    assert!(gateway.metric("high_templar_resumes_total{outcome=\"expired\"}") > 0);
}

#[test]
fn many_grants_are_no_ticket() {
    let backend = StubBackend::new(|_: &Seen| {
        let rooms: Vec<_> = (0..600).map(|id| json!({"room": id})).collect();
        Reply::rooms(&json!(rooms))
    });
    let gateway = gateway(&backend).start();
    let (mut client, mut page, _) = connect(&gateway, "7", EVENTS);
    ping(&mut client, &mut page);
    assert!(page.ticket.is_empty() && page.proof.is_empty(), "{page:?}");
}

#[test]
fn a_token_in_the_first_frame_belongs_to_the_ticket() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .start();
    let open = |names: &str, token: &str| {
        let mut client = offer(&gateway, names).open();
        client.send_json(&json!({"type": "authenticate", "token": token}));
        let first = client.expect_whole();
        assert_eq!(first["is_authorized"], true, "{first}");
        (client, first)
    };
    let (mut client, first) = open(EVENTS, "7");
    let mut page = Page::default();
    page.keep(&first);
    let names = named(&page.offered());
    assert_eq!(open(&names, "7").1["resumed"], true);
    assert_eq!(open(&names, "8").1["resumed"], Value::Null);
    assert_eq!(backend.requests().len(), 2);
    // A new token on the open connection: the ticket of the former one has no later proof.
    client.send_json(&json!({"type": "authenticate", "token": "7-new", "requestId": "t"}));
    let _ = client.expect_whole();
    ping(&mut client, &mut page);
    assert!(page.has_proof());
}

#[test]
fn secrets_are_rotated_by_a_reload() {
    let backend = api();
    let line = |secrets: &str| format!("[resume]\nsecret = {secrets}\n");
    let (old, new) = (SECRET, "another-secret-of-tickets-for-the-tests");
    let gateway = Gateway::with(&backend)
        .file(&line(&format!("['{old}']")))
        .start();
    let (mut client, mut page, _) = connect(&gateway, "7", EVENTS);
    let (first, ticket) = (page.offered(), page.ticket.clone());
    gateway.reload(&line(&format!("['{new}', '{old}']")));
    assert!(resumes(&gateway, &backend, "7", &first));
    ping(&mut client, &mut page);
    assert_ne!(page.ticket, ticket, "of the new secret");
    assert!(resumes(&gateway, &backend, "7", &page.offered()));
    gateway.reload(&line(&format!("['{new}']")));
    assert!(resumes(&gateway, &backend, "7", &page.offered()));
    assert!(!resumes(&gateway, &backend, "7", &first));
    expect_outcome(&gateway, "secret", 1);
}
