//! Compressed messages: what we write, other inflaters read; what others may write, we read.

use flate2::{Decompress, FlushDecompress};
use ht_frame::{DecodeOptions, DeflatedFrame, Deflater, Inflater, Opcode, Role, Violation};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::split::pieces;
use crate::{End, Owned, decode, decode_with, generate};

/// A message of JSON kind: repetitions, and some that is not.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let order = ("[a-z]{1,8}", any::<u16>(), 0..4_usize).prop_map(|(item, id, status)| {
        let status = ["paid", "packed", "sent", "gone"][status];
        format!(r#"{{"id": {id}, "item": "{item}", "status": "{status}"}}, "#)
    });
    prop_oneof![
        8 => vec(order, 0..60).prop_map(|orders| orders.concat().into_bytes()),
        1 => generate::binary(),
        // Longer than a window.
        1 => (any::<u8>(), 32_000..70_000_usize)
            .prop_map(|(step, len)| (0..len).map(|at| (at * at / 64) as u8 ^ step).collect()),
    ]
}

/// The payload of a message as inflated by zlib-rs without our code.
fn inflated_by_zlib_rs(input: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 100);
    Decompress::new(false)
        .decompress_vec(input, &mut out, FlushDecompress::Sync)
        .expect("valid deflate");
    out
}

/// The same by miniz_oxide, which shares no code with zlib.
fn inflated_by_miniz(input: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len + 100];
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let result = inflate(&mut state, input, &mut out, MZFlush::Sync);
    assert!(result.status.is_ok(), "{result:?}");
    assert_eq!(result.bytes_consumed, input.len());
    out.truncate(result.bytes_written);
    out
}

proptest! {
    #[test]
    fn one_compressed_head_is_right_with_every_tail(
        messages in vec((json(), vec("[\"a-z0-9]{0,40}", 1..4)), 1..4),
        level in 1..=9_u8,
    ) {
        let mut deflater = Deflater::new(level);
        let mut inflater = Inflater::new();
        for (head, tails) in &messages {
            let Some(deflated) = deflater.deflate(head) else {
                continue;
            };
            prop_assert!(deflated.len() < head.len());
            for tail in tails {
                let frame = DeflatedFrame::new(Opcode::Binary, &deflated, tail.as_bytes()).unwrap();
                let message = [head, tail.as_bytes()].concat();
                let input = [&frame.parts()[1..].concat()[..], &[0x00, 0x00, 0xff, 0xff]].concat();
                prop_assert_eq!(&inflated_by_zlib_rs(&input, message.len()), &message);
                prop_assert_eq!(&inflated_by_miniz(&input, message.len()), &message);

                let bytes = frame.parts().concat();
                let options = DecodeOptions { role: Role::Client, message_bytes_max: 1 << 20 };
                let decoded = decode_with(&[&bytes], &options, Some(&mut inflater));
                prop_assert_eq!(decoded, (vec![Owned::Binary(message)], End::Open));
            }
        }
    }

    #[test]
    fn compressed_or_not_the_messages_are_the_same(
        (role, plain, deflated) in generate::deflated_stream(),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let options = DecodeOptions { role, message_bytes_max: 1 << 20 };
        let mut inflater = Inflater::new();
        let (expected, end) = decode(&[&plain], &options);
        for pieces in [vec![&deflated[..]], pieces(&deflated, &cuts), deflated.chunks(1).collect()] {
            let (events, deflated_end) = decode_with(&pieces, &options, Some(&mut inflater));
            prop_assert_eq!(&deflated_end, &end);
            if end == End::Refused(Violation::TextNotUtf8) {
                // A compressed text is refused at its end, after pings between its fragments.
                prop_assert!(events.starts_with(&expected));
            } else {
                prop_assert_eq!(&events, &expected);
            }
        }
    }

    #[test]
    fn cut_anywhere_equals_whole(
        (role, bytes) in generate::mutated_deflated_stream(),
        cuts in vec(any::<Index>(), 0..20),
        message_bytes_max in prop_oneof![Just(1 << 20), 0_usize..200],
    ) {
        let options = DecodeOptions { role, message_bytes_max };
        let mut inflater = Inflater::new();
        let whole = decode_with(&[&bytes], &options, Some(&mut inflater));
        for pieces in [pieces(&bytes, &cuts), bytes.chunks(1).collect()] {
            let split = decode_with(&pieces, &options, Some(&mut inflater));
            prop_assert_eq!(&split, &whole);
        }
    }

    #[test]
    fn any_payload_at_all(payload in vec(any::<u8>(), 0..300), cuts in vec(any::<Index>(), 0..5)) {
        let mut bytes = Vec::new();
        ht_frame::put_frame(&mut bytes, Opcode::Binary, &payload);
        bytes[0] |= 0x40;
        let options = DecodeOptions { role: Role::Client, message_bytes_max: 400 };
        let mut inflater = Inflater::new();
        let whole = decode_with(&[&bytes], &options, Some(&mut inflater));
        let split = decode_with(&pieces(&bytes, &cuts), &options, Some(&mut inflater));
        prop_assert_eq!(&split, &whole);
        match whole {
            (events, End::Open) => prop_assert_eq!(events.len(), 1),
            (events, end) => {
                prop_assert!(events.is_empty());
                let refused = [Violation::DeflateInvalid, Violation::MessageTooBig].map(End::Refused);
                prop_assert!(refused.contains(&end), "{end:?}");
            }
        }
    }
}
