//! Requests for event streams and long polls: nothing panics, bounds hold, and a body says the same in
//! a query.

#![no_main]

use ht_proto::client::MessageLimits;
use ht_proto::room::RoomLimits;
use ht_proto::stream::{SUBSCRIPTIONS_MAX, StreamRequest, TEXT_BYTES_MAX, query_of};
use libfuzzer_sys::fuzz_target;

const LIMITS: MessageLimits = MessageLimits {
    request_id_bytes: 64,
    room: RoomLimits {
        bytes: 4_096,
        depth: 8,
    },
};

fuzz_target!(|bytes: &[u8]| {
    let parsed = StreamRequest::parse(bytes, &LIMITS);
    if let Ok(request) = &parsed {
        assert!(request.subscriptions.len() <= SUBSCRIPTIONS_MAX);
        for cursor in request.cursors() {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
    let encoded = base64url(bytes);
    if encoded.len() <= TEXT_BYTES_MAX {
        let query = format!("s={encoded}");
        assert_eq!(query_of(&query, &LIMITS).is_ok(), parsed.is_ok());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = query_of(text, &LIMITS);
        let mut request = StreamRequest::default();
        request.go_on_after(bytes);
    }
});

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let three = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = three[0] << 16 | three[1] << 8 | three[2];
        (0..=chunk.len()).map(move |at| LETTERS[(bits >> (18 - 6 * at) & 63) as usize])
    });
    letters.map(char::from).collect()
}
