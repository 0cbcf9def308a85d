//! What clients that come back offer: nothing panics, and whatever is read is read again from what it
//! is written as.

#![no_main]

use ht_proto::cursor::Cursor;
use ht_proto::ticket::{Proof, ResumeOffer, SignedTicket, TICKET_BYTES_MAX, TicketPayload};
use libfuzzer_sys::fuzz_target;

fn check_payload(bytes: &[u8]) {
    let Some(payload) = TicketPayload::decode(bytes) else {
        return;
    };
    match payload.encode() {
        Some(again) => assert_eq!(TicketPayload::decode(&again), Some(payload)),
        None => assert!(bytes.len() > TICKET_BYTES_MAX, "it was written once"),
    }
}

fn check_text(text: &str) {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Some((proof, mac)) = Proof::parse(text) {
        assert_eq!(Proof::parse(&proof.text(mac)), Some((proof, mac)));
    }
    if let Some(ticket) = SignedTicket::parse(text) {
        assert!(text.as_bytes().starts_with(ticket.signed));
        check_payload(&ticket.payload);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check_payload(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_text(text);
    }
    let offer = ResumeOffer::from_base64url(bytes);
    let parts = offer.as_ref().and_then(ResumeOffer::parts);
    if let Some((ticket, text, cursor, proof)) = parts {
        assert_eq!(text.parse(), Ok(cursor));
        [ticket, text, proof].into_iter().for_each(check_text);
    }
});
