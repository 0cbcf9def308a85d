//! Payloads by hand, those of the RFC among them.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

use super::*;

/// Such as a client might send it: with a final block.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    let mut payload = encoder.finish().unwrap();
    payload.push(0);
    payload
}

#[test]
fn the_examples_of_the_standard() {
    // Section 7.2.3, with one block, without compression, with a final block, with two blocks.
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ],
    ] {
        assert_eq!(Inflater::new().inflate(payload, 5), Ok(&b"Hello"[..]));
    }
    let empty = [0x00];
    assert_eq!(Inflater::new().inflate(&empty, 0), Ok(&b""[..]));
}

#[test]
fn no_state_is_kept_between_messages() {
    let mut inflater = Inflater::new();
    assert_eq!(
        inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 9),
        Ok(&b"Hello"[..])
    );
    // Section 7.2.3.2: the same message with the window of the first one.
    assert_eq!(
        inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 9),
        Err(Violation::DeflateInvalid)
    );
    // Broken data does not break what follows.
    assert_eq!(
        inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 9),
        Ok(&b"Hello"[..])
    );
}

#[test]
fn invalid_deflate_data_is_refused() {
    for payload in [
        // Nothing: an empty message has a byte (section 7.2.3.6).
        &[][..],
        // A block type that does not exist, lengths that do not match, an end within a block.
        &[0x06],
        &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48],
        &[0x00, 0x25, 0x00, 0xda, 0xff, 0x48, 0x65],
        &[0xf2, 0x48, 0xcd],
        // After a final block an empty one has to begin.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff],
        b"{\"type\": \"status\"}",
    ] {
        let inflated = Inflater::new().inflate(payload, 100).map(<[u8]>::to_vec);
        assert_eq!(inflated, Err(Violation::DeflateInvalid), "{payload:x?}");
    }
}

#[test]
fn the_limit_is_kept_to_the_byte_and_bounds_what_is_taken() {
    let mut inflater = Inflater::new();
    for len in [0, 1, 4_095, 4_096, 4_097, 70_000, 1 << 20] {
        let payload = deflate(&vec![b'x'; len]);
        assert_eq!(inflater.inflate(&payload, len), Ok(&vec![b'x'; len][..]));
        if let Some(less) = len.checked_sub(1) {
            let refused = inflater.inflate(&payload, less).map(<[u8]>::len);
            assert_eq!(refused, Err(Violation::MessageTooBig), "{len}");
        }
    }
    // A decompression bomb: 64 MiB in 65 KB, against a limit of 100,000 bytes.
    let bomb = deflate(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let mut inflater = Inflater::new();
    let refused = inflater.inflate(&bomb, 100_000).map(<[u8]>::len);
    assert_eq!(refused, Err(Violation::MessageTooBig));
    assert_eq!(inflater.out.capacity(), 100_001);
    inflater.trim();
    assert!(inflater.out.capacity() <= KEPT_BYTES);
}

#[test]
fn any_number_of_final_blocks_in_a_message() {
    let many = [0x03, 0x00].repeat(10_000);
    let payload = [&many[..], &deflate(b"at last")].concat();
    assert_eq!(Inflater::new().inflate(&payload, 100), Ok(&b"at last"[..]));
}
