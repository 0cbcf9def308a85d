//! Heads and tails, put together and taken apart by another inflater.

use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::*;

/// Every level.
const LEVELS: std::ops::RangeInclusive<u8> = 1..=9;

/// JSON that compresses as JSON does.
fn json(bytes: usize) -> Vec<u8> {
    let mut text = String::from("[");
    for id in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&format!(
            r#"{{"id": {id}, "status": "paid", "sum": {}}}, "#,
            id * 7919 % 997
        ));
    }
    text.into_bytes()
}

/// What another inflater makes of a payload, as RFC 7692 section 7.2.2 has it.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
    let mut out = vec![0; 1 << 20];
    let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) =
        decompress(&mut DecompressorOxide::new(), &input, &mut out, 0, flags);
    assert!(status as i8 >= 0, "{status:?}");
    assert_eq!(read, input.len(), "{status:?}");
    out.truncate(written);
    out
}

#[test]
fn head_and_tail_are_the_message_again() {
    for level in LEVELS {
        let mut deflater = Deflater::new(level);
        for (len, tail) in [(100, &b""[..]), (1_000, b"7}"), (100_000, &[b'x'; 65_535])] {
            let head = json(len);
            let deflated = deflater.deflate(&head).expect("JSON becomes smaller");
            assert!(deflated.len() < head.len());
            let frame = DeflatedFrame::new(Opcode::Text, &deflated, tail).unwrap();
            assert_eq!(frame.parts()[1], &*deflated);
            let bytes = frame.parts().concat();
            let payload = bytes[frame.header.len()..].to_vec();
            assert_eq!(bytes[0], 0xc1, "FIN, RSV1, text");
            let plain = FrameHeader::new(Opcode::Text, payload.len());
            assert_eq!(frame.header[1..], plain[1..]);
            assert_eq!(inflated(&payload), [&head, tail].concat());
        }
    }
}

#[test]
fn nothing_of_one_message_is_in_the_next() {
    let head = json(2_000);
    // Not even where those between did not reach their end.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(200_000)
    .collect();
    for level in LEVELS {
        let mut deflater = Deflater::new(level);
        let first = deflater.deflate(&head);
        assert!(first.is_some());
        for len in [100, 200, 5_000, 50_000, 200_000].repeat(10) {
            assert_eq!(deflater.deflate(&noise[..len]), None);
        }
        assert_eq!(deflater.deflate(&head), first);
    }
}

#[test]
fn incompressible_head_is_declined() {
    let mut deflater = Deflater::new(9);
    for head in [
        &b""[..],
        b"a",
        b"[1, 2]",
        b"{\"type\": \"publish\", \"data\": 1",
    ] {
        assert_eq!(deflater.deflate(head), None, "{}", head.escape_ascii());
    }
    assert!(
        Deflater::new(1).compress.is_none(),
        "made when it is needed"
    );
}

#[test]
fn a_tail_that_no_stored_block_holds_is_declined() {
    assert!(DeflatedFrame::new(Opcode::Text, b"", &[0; 65_535]).is_some());
    assert!(DeflatedFrame::new(Opcode::Text, b"", &[0; 65_536]).is_none());
}
