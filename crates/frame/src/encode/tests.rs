//! Frames as bytes, and back.

use super::*;

#[test]
fn header_lengths() {
    let cases: [(usize, &[u8]); 7] = [
        (0, &[0x81, 0]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (255, &[0x81, 126, 0, 255]),
        (256, &[0x81, 126, 1, 0]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (payload_len, expected) in cases {
        assert_eq!(
            &*FrameHeader::new(Opcode::Text, payload_len),
            expected,
            "{payload_len}"
        );
    }
}

#[test]
fn opcodes() {
    let cases = [
        (Opcode::Continuation, 0x80),
        (Opcode::Text, 0x81),
        (Opcode::Binary, 0x82),
        (Opcode::Close, 0x88),
        (Opcode::Ping, 0x89),
        (Opcode::Pong, 0x8a),
    ];
    for (opcode, expected) in cases {
        assert_eq!(FrameHeader::new(opcode, 5).as_ref(), [expected, 5]);
    }
}

#[test]
fn frames_are_appended() {
    let mut out = b"before".to_vec();
    put_frame(&mut out, Opcode::Text, b"Hello");
    assert_eq!(out, b"before\x81\x05Hello");
}

#[test]
fn masked_frame_of_the_rfc() {
    // Section 5.7: a single-frame masked text message.
    let mut out = Vec::new();
    put_masked_frame(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
    let expected = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(out, expected);
}

#[test]
fn close_frames() {
    let mut out = Vec::new();
    put_close(&mut out, CloseCode::NORMAL, "");
    assert_eq!(out, [0x88, 2, 0x03, 0xe8]);

    out.clear();
    put_close(&mut out, CloseCode::TRY_AGAIN_LATER, "later");
    assert_eq!(out, b"\x88\x07\x03\xf5later");
}

#[test]
fn close_reason_is_cut_between_characters() {
    // 122 bytes of ASCII and then characters of two, three and four bytes.
    let cases = [("a", 123), ("é", 122), ("€", 122), ("𝄞", 122)];
    for (last, expected) in cases {
        let reason = format!("{}{last}{last}", "x".repeat(122));
        let mut out = Vec::new();
        put_close(&mut out, CloseCode::NORMAL, &reason);
        assert_eq!(usize::from(out[1]), 2 + expected, "{last}");
        assert_eq!(out.len(), 2 + 2 + expected);
        assert_eq!(str::from_utf8(&out[4..]).unwrap(), &reason[..expected]);
    }
}
