//! What one end encodes is what the other end decodes.

use ht_frame::{
    CloseCode, DecodeOptions, FrameHeader, Opcode, Role, put_close, put_frame, put_masked_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{End, Owned, decode, generate};

fn expected((opcode, payload): &(Opcode, Vec<u8>)) -> Owned {
    match opcode {
        Opcode::Text => Owned::Text(String::from_utf8(payload.clone()).expect("texts are UTF-8")),
        Opcode::Ping => Owned::Ping(payload.clone()),
        Opcode::Pong => Owned::Pong(payload.clone()),
        Opcode::Binary | Opcode::Continuation | Opcode::Close => Owned::Binary(payload.clone()),
    }
}

proptest! {
    #[test]
    fn client_to_server(messages in vec((generate::encodable(), any::<[u8; 4]>()), 0..6)) {
        let mut bytes = Vec::new();
        for ((opcode, payload), key) in &messages {
            put_masked_frame(&mut bytes, *opcode, payload, *key);
        }
        let options = DecodeOptions { role: Role::Server, message_bytes_max: 1 << 20 };
        let events: Vec<Owned> = messages.iter().map(|(message, _)| expected(message)).collect();
        prop_assert_eq!(decode(&[&bytes], &options), (events, End::Open));
    }

    #[test]
    fn server_to_client(
        messages in vec(generate::encodable(), 0..6),
        code in prop_oneof![1_000_u16..=1_003, 1_007_u16..=1_014, 3_000_u16..=4_999],
        reason in "[a-cé€𝄞]{0,60}",
    ) {
        let mut bytes = Vec::new();
        for (opcode, payload) in &messages {
            put_frame(&mut bytes, *opcode, payload);
        }
        put_close(&mut bytes, CloseCode(code), &reason);

        let options = DecodeOptions { role: Role::Client, message_bytes_max: 1 << 20 };
        let (mut events, end) = decode(&[&bytes], &options);
        prop_assert_eq!(end, End::Closed);
        let Some(Owned::Close(Some((got, cut)))) = events.pop() else {
            panic!("a close frame with a code")
        };
        prop_assert_eq!(got, CloseCode(code));
        prop_assert!(reason.starts_with(&cut));
        prop_assert!(cut.len() == reason.len() || (120..=123).contains(&cut.len()));
        prop_assert_eq!(events, messages.iter().map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn header_and_payload_apart_equal_a_frame((opcode, payload) in generate::encodable()) {
        let mut frame = Vec::new();
        put_frame(&mut frame, opcode, &payload);
        let apart = [&FrameHeader::new(opcode, payload.len()), &payload[..]].concat();
        prop_assert_eq!(frame, apart);
    }
}
