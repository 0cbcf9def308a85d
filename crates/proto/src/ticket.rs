//! Resume tickets: what the API permitted a client, which the client keeps and offers when it
//! reconnects. The bytes alone: whoever knows the secret signs them and verifies the signatures.
//!
//! A ticket is `v1.<key>.<payload>.<mac>`. With it belongs a *proof*: the client was connected at a
//! moment, and its permissions were up to date at a position of the log. It is given with every
//! answer to a `ping`, and signed together with the ticket and the cursor. A client offers
//! `<ticket>.<cursor>.<proof>`, in base64url.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::letters::{bytes, letters};

/// Longest payload of a ticket, in bytes: the offer of one is still shorter than the 8 KiB that
/// reverse proxies accept of a header.
pub const TICKET_BYTES_MAX: usize = (4 << 10) + 128;

/// Longest offer in base64url, in bytes.
pub const OFFER_BYTES_MAX: usize = 8_000;

/// The version of tickets, with which their text begins.
const VERSION: &str = "v1";

/// What a ticket says about its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketPayload<'a> {
    /// The id of the connection that it was given to.
    pub connection: Uuid,
    /// Recognises the credentials of the client, and does not reveal them.
    pub fingerprint: [u8; 16],
    /// The user's id.
    pub user: Option<&'a str>,
    /// The name of the sign-in.
    pub session: Option<&'a str>,
    /// Labels.
    pub labels: Vec<&'a str>,
    /// The name of the view.
    pub view: Option<&'a str>,
    /// The grants: JSON text of a list.
    pub allowed_rooms: &'a str,
}

impl<'a> TicketPayload<'a> {
    /// Its bytes; none if they are more than [`TICKET_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(self.connection.as_bytes());
        out.extend_from_slice(&self.fingerprint);
        for text in [self.user, self.session, self.view] {
            put_text(&mut out, text)?;
        }
        out.push(u8::try_from(self.labels.len()).ok()?);
        for label in &self.labels {
            put_text(&mut out, Some(label))?;
        }
        out.extend_from_slice(self.allowed_rooms.as_bytes());
        (out.len() <= TICKET_BYTES_MAX).then_some(out)
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (connection, rest) = payload.split_first_chunk()?;
        let (fingerprint, mut rest) = rest.split_first_chunk()?;
        let user = take_text(&mut rest)?;
        let session = take_text(&mut rest)?;
        let view = take_text(&mut rest)?;
        let (count, mut rest) = rest.split_first()?;
        let mut labels = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            labels.push(take_text(&mut rest)??);
        }
        Some(Self {
            connection: Uuid::from_bytes(*connection),
            fingerprint: *fingerprint,
            user,
            session,
            labels,
            view,
            allowed_rooms: std::str::from_utf8(rest).ok()?,
        })
    }
}

/// Appends a text with its length; zero for none.
fn put_text(out: &mut Vec<u8>, text: Option<&str>) -> Option<()> {
    let len = text.map_or(0, |text| text.len() + 1);
    out.extend_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
    Some(())
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a str>> {
    let (len, after) = rest.split_first_chunk()?;
    let Some(len) = usize::from(u16::from_be_bytes(*len)).checked_sub(1) else {
        *rest = after;
        return Some(None);
    };
    let (text, after) = after.split_at_checked(len)?;
    *rest = after;
    std::str::from_utf8(text).ok().map(Some)
}

/// The name of the key that signed a ticket.
pub type KeyId = [u8; 4];

/// The signature of a ticket, which also names it.
pub type TicketMac = [u8; 16];

/// The text of a ticket. `mac` signs what is before its signature.
#[must_use]
pub fn ticket(key: KeyId, payload: &[u8], mac: impl FnOnce(&[u8]) -> TicketMac) -> String {
    let mut text = format!("{VERSION}.");
    URL_SAFE_NO_PAD.encode_string(key, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let mac = mac(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(mac, &mut text);
    text
}

/// A ticket whose signature was not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedTicket<'a> {
    /// The key that it names.
    pub key: KeyId,
    /// What is signed.
    pub signed: &'a [u8],
    /// What it says, for [`TicketPayload::decode`].
    pub payload: Vec<u8>,
    /// The signature.
    pub mac: TicketMac,
}

impl<'a> SignedTicket<'a> {
    /// Reads what [`ticket`] wrote.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, mac) = text.rsplit_once('.')?;
        let (key, payload) = signed
            .strip_prefix(VERSION)?
            .strip_prefix('.')?
            .split_once('.')?;
        Some(Self {
            key: bytes(key)?,
            signed: signed.as_bytes(),
            payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
            mac: bytes(mac)?,
        })
    }
}

/// The signature of a proof.
pub type ProofMac = [u8; 12];

/// That a client was connected, and its permissions up to date, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The moment, in seconds since 1970.
    pub at: u32,
    /// When the permissions end; none: never.
    pub until: Option<u32>,
}

impl Proof {
    /// Length of its text with the signature.
    const LETTERS: usize = 27;

    /// What is signed: it belongs to one ticket and one cursor.
    #[must_use]
    pub fn signed(&self, ticket: &TicketMac, cursor: &str) -> Vec<u8> {
        [&ticket[..], &self.bytes(), cursor.as_bytes()].concat()
    }

    /// Its text.
    #[must_use]
    pub fn text(&self, mac: ProofMac) -> String {
        let mut all = [0; 20];
        all[..8].copy_from_slice(&self.bytes());
        all[8..].copy_from_slice(&mac);
        let letters = letters::<20, { Self::LETTERS }>(all);
        letters.iter().map(|&letter| char::from(letter)).collect()
    }

    /// Reads what [`Self::text`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, ProofMac)> {
        let all: [u8; 20] = bytes(text)?;
        let (at, rest) = all.split_first_chunk()?;
        let (until, mac) = rest.split_first_chunk()?;
        let until = u32::from_be_bytes(*until);
        let proof = Self {
            at: u32::from_be_bytes(*at),
            until: (until != 0).then_some(until),
        };
        Some((proof, mac.try_into().ok()?))
    }

    fn bytes(&self) -> [u8; 8] {
        let (at, until) = (u64::from(self.at), u64::from(self.until.unwrap_or(0)));
        (at << 32 | until).to_be_bytes()
    }
}

/// A ticket, a cursor and a proof, as a client offers them.
///
/// They are secrets, so `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeOffer(Box<str>);

impl ResumeOffer {
    /// Decodes an offer from base64url without padding; none if it is none, or too long.
    #[must_use]
    pub fn from_base64url(encoded: &[u8]) -> Option<Self> {
        if encoded.len() > OFFER_BYTES_MAX {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        Some(Self(text.ok()?.into()))
    }

    /// The same of its own text, which needs no encoding in JSON.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (text.len() <= OFFER_BYTES_MAX / 4 * 3).then(|| Self(text.into()))
    }

    /// The texts of the ticket and of the cursor, the cursor, and the text of the proof.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str, Cursor, &str)> {
        let (rest, proof) = self.0.rsplit_once('.')?;
        let mut dots = rest.match_indices('.').map(|(at, _)| at);
        // A cursor may have a dot of its own.
        let end = dots.nth(3)?;
        let (ticket, cursor) = (&rest[..end], &rest[end + 1..]);
        Some((ticket, cursor, cursor.parse().ok()?, proof))
    }
}

impl fmt::Debug for ResumeOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CURSOR: &str = "k3f9ab-1742-aB3x";

    fn payload() -> TicketPayload<'static> {
        TicketPayload {
            connection: Uuid::from_u128(7),
            fingerprint: [9; 16],
            user: Some("7"),
            session: Some(""),
            labels: vec!["staff", "tenant:acme"],
            view: None,
            allowed_rooms: r#"[{"a": "*"}]"#,
        }
    }

    fn offer(text: &str) -> Option<ResumeOffer> {
        ResumeOffer::from_base64url(URL_SAFE_NO_PAD.encode(text).as_bytes())
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written() {
        let bytes = payload().encode().unwrap();
        assert_eq!(TicketPayload::decode(&bytes), Some(payload()));
        let text = ticket([1, 2, 3, 4], &bytes, |signed| {
            assert!(signed.starts_with(b"v1.AQIDBA."));
            [5; 16]
        });
        let signed = SignedTicket::parse(&text).unwrap();
        assert_eq!((signed.key, signed.mac), ([1, 2, 3, 4], [5; 16]));
        assert_eq!(signed.payload, bytes);
        assert!(text.as_bytes().starts_with(signed.signed));
        for length in 0..bytes.len() - payload().allowed_rooms.len() {
            assert_eq!(TicketPayload::decode(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_proof_is_of_one_ticket_and_one_cursor() {
        for until in [None, Some(u32::MAX)] {
            let proof = Proof { at: 77, until };
            let text = proof.text([3; 12]);
            assert_eq!(text.len(), Proof::LETTERS);
            assert_eq!(Proof::parse(&text), Some((proof, [3; 12])));
            let signed = proof.signed(&[1; 16], CURSOR);
            assert_ne!(signed, proof.signed(&[2; 16], CURSOR));
            assert_ne!(signed, proof.signed(&[1; 16], "k3f9ab-1743-aB3x"));
        }
    }

    #[test]
    fn an_offer_has_three_parts_and_shows_none_of_them() {
        let ticket = ticket([0; 4], b"payload", |_| [0; 16]);
        for cursor in [CURSOR, "k3f9ab-1742-aB3x.Zk0aAQ"] {
            let offer = offer(&format!("{ticket}.{cursor}.proof")).unwrap();
            let parts = (&*ticket, cursor, cursor.parse().unwrap(), "proof");
            assert_eq!(offer.parts(), Some(parts));
            assert_eq!(format!("{offer:?}"), "***");
        }
        for text in ["", ".....", "v1.a.b.c.proof", "v1.a.b.c.k3f9ab-1-.proof"] {
            let offer = offer(text).unwrap();
            assert_eq!(offer.parts(), None, "{text}");
        }
        assert_eq!(ResumeOffer::from_base64url(b"YQ=="), None);
        assert_eq!(ResumeOffer::from_base64url(b"_w"), None, "not UTF-8");
    }

    #[test]
    fn the_longest_ticket_fits_an_offer_and_a_longer_one_is_none() {
        let empty = TicketPayload {
            allowed_rooms: "",
            ..payload()
        };
        let rooms = "x".repeat(TICKET_BYTES_MAX - empty.encode().unwrap().len());
        let longest = TicketPayload {
            allowed_rooms: &rooms,
            ..payload()
        };
        let text = ticket([0; 4], &longest.encode().unwrap(), |_| [0; 16]);
        let cursor = "999999-9007199254740991-____.AAAAAA";
        let proof = Proof { at: 0, until: None }.text([0; 12]);
        let offered = offer(&format!("{text}.{cursor}.{proof}"));
        assert!(offered.is_some_and(|offered| offered.parts().is_some()));
        let longer = format!("{rooms}x");
        let longer = TicketPayload {
            allowed_rooms: &longer,
            ..longest
        };
        assert_eq!(longer.encode(), None);
        assert_eq!(offer(&"x".repeat(OFFER_BYTES_MAX)), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_offered_panics(text in ".{0,80}", bytes: Vec<u8>) {
            if let Some((ticket, _, _, proof)) = offer(&text).as_ref().and_then(ResumeOffer::parts) {
                let _ = (SignedTicket::parse(ticket), Proof::parse(proof));
            }
            let _ = TicketPayload::decode(&bytes);
            let _ = ResumeOffer::from_base64url(&bytes);
        }

        #[test]
        fn every_ticket_has_one_text(text in "v1\\.[A-Za-z0-9_-]{6}\\.[A-Za-z0-9_-]{0,9}\\.[A-Za-z0-9_-]{22}") {
            if let Some(parsed) = SignedTicket::parse(&text) {
                prop_assert_eq!(ticket(parsed.key, &parsed.payload, |_| parsed.mac), text);
            }
        }
    }
}
