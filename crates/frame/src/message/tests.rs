//! Gathering: where characters are cut, and how the buffers grow.

use super::*;

fn text(chunks: &[&[u8]]) -> Result<String, Violation> {
    let mut message = Message::new(Opcode::Text, false);
    for chunk in chunks {
        message.push(chunk, None)?;
    }
    message.check_end()?;
    match message {
        Message::Text(text) => Ok(text.as_str().to_owned()),
        Message::Binary(_) | Message::Compressed(..) | Message::Skipped(_) => {
            panic!("a text message")
        }
    }
}

#[test]
fn characters_are_cut_anywhere() {
    let whole = "aé€𝄞z";
    for first in 0..=whole.len() {
        for second in first..=whole.len() {
            let bytes = whole.as_bytes();
            let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(text(&chunks).as_deref(), Ok(whole), "{first} {second}");
        }
    }
    let each: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
    assert_eq!(text(&each).as_deref(), Ok(whole));
}

#[test]
fn the_first_bad_byte_is_reported() {
    // The last chunk of each is the one that cannot be right any more.
    let cases: [&[&[u8]]; 8] = [
        &[b"ok", b"\xff"],
        &[b"\x80"],
        &[b"\xc0"],
        &[b"\xc3", b"a"],
        &[b"\xe2\x82", b"\xe2"],
        &[b"\xed", b"\xa0"],
        &[b"\xf4", b"\x90"],
        &[b"\xf0", b"\x9d\x84", b"\x9ez\xf8"],
    ];
    for chunks in cases {
        let mut message = Message::new(Opcode::Text, false);
        let (last, before) = chunks.split_last().unwrap();
        for chunk in before {
            assert_eq!(message.push(chunk, None), Ok(()), "{chunks:?}");
        }
        assert_eq!(
            message.push(last, None),
            Err(Violation::TextNotUtf8),
            "{chunks:?}"
        );
    }
}

#[test]
fn text_does_not_end_within_a_character() {
    for end in [&b"\xc3"[..], b"a\xe2\x82", b"\xf0\x9d\x84"] {
        assert_eq!(text(&[end]), Err(Violation::TextNotUtf8), "{end:?}");
    }
}

#[test]
fn length_counts_the_cut_character() {
    let mut message = Message::new(Opcode::Text, false);
    message.push(b"ab\xf0\x9d", None).unwrap();
    assert_eq!(message.len(), 4);
    message.push(b"\x84", None).unwrap();
    assert_eq!(message.len(), 5);
    message.push(b"\x9e", None).unwrap();
    assert_eq!(message.len(), 6);
}

/// Opcode, and whether the message is compressed.
const KINDS: [(Opcode, bool); 3] = [
    (Opcode::Text, false),
    (Opcode::Binary, false),
    (Opcode::Text, true),
];

fn capacity(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.whole.capacity(),
        Message::Binary(bytes) | Message::Compressed(bytes, _) => bytes.capacity(),
        Message::Skipped(_) => 0,
    }
}

#[test]
fn buffers_grow_with_what_arrived() {
    const ANNOUNCED: usize = 1 << 20;
    for (opcode, compressed) in KINDS {
        let mut message = Message::new(opcode, compressed);
        let mut arrived = 0;
        let mut grown = 0;
        while arrived < ANNOUNCED {
            let before = capacity(&message);
            let chunk = 1_000.min(ANNOUNCED - arrived);
            arrived += chunk;
            message
                .push(&vec![b'x'; chunk], Some(ANNOUNCED - arrived))
                .unwrap();
            assert_eq!(message.len(), arrived);
            assert!(capacity(&message) <= 2 * arrived, "{opcode:?} {arrived}");
            assert!(capacity(&message) <= ANNOUNCED, "{opcode:?} {arrived}");
            grown += usize::from(capacity(&message) != before);
        }
        assert!(grown <= 12, "{opcode:?} was moved {grown} times");
    }
}

#[test]
fn tiny_fragments_do_not_move_the_buffer_each_time() {
    for (opcode, compressed) in KINDS {
        let mut message = Message::new(opcode, compressed);
        let mut grown = 0;
        for _ in 0..100_000 {
            let before = capacity(&message);
            message.push(b"x", None).unwrap();
            assert!(capacity(&message) <= 2 * message.len());
            grown += usize::from(capacity(&message) != before);
        }
        assert!(grown <= 18, "{opcode:?} was moved {grown} times");
    }
}
