//! Bodies in pieces, plain and coded.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::Reader;
use crate::answer::Failure;

fn coded(coding: &'static str) -> HeaderMap {
    [(CONTENT_ENCODING, HeaderValue::from_static(coding))]
        .into_iter()
        .collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn raw(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn read(
    headers: &HeaderMap,
    wire: &[u8],
    piece: usize,
    bytes_max: usize,
) -> Result<Bytes, Failure> {
    let mut reader = Reader::new(headers, bytes_max)?;
    for piece in wire.chunks(piece.max(1)) {
        reader.take(Bytes::copy_from_slice(piece))?;
    }
    reader.finish()
}

#[test]
fn one_piece_is_not_copied() {
    let piece = Bytes::from_static(b"{\"allowed_rooms\": []}");
    let mut reader = Reader::new(&HeaderMap::new(), 100).unwrap();
    reader.take(piece.clone()).unwrap();
    assert_eq!(reader.finish().unwrap().as_ptr(), piece.as_ptr());
}

#[test]
fn the_bound_is_exact_for_plain_and_decoded_bytes() {
    let data = vec![b'x'; 50_000];
    let plain = HeaderMap::new();
    for (headers, wire) in [
        (plain, data.clone()),
        (coded("gzip"), gzip(&data)),
        (coded("deflate"), zlib(&data)),
        (coded("deflate"), raw(&data)),
    ] {
        assert_eq!(read(&headers, &wire, 1000, 50_000).unwrap(), data);
        assert_eq!(
            read(&headers, &wire, 1000, 49_999),
            Err(Failure::TooLarge { bytes_max: 49_999 })
        );
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_bound() {
    let bomb = gzip(&vec![0; 2 << 20]);
    assert_eq!(
        read(&coded("gzip"), &bomb, usize::MAX, 1 << 14),
        Err(Failure::TooLarge { bytes_max: 1 << 14 })
    );
}

#[test]
fn incomplete_and_damaged_data_are_distinguished() {
    let data = b"{\"allowed_rooms\": [{\"a\": 1}, {\"b\": 2}]}".repeat(50);
    for (coding, wire) in [
        ("gzip", gzip(&data)),
        ("deflate", zlib(&data)),
        ("deflate", raw(&data)),
    ] {
        for cut in 1..wire.len() {
            let got = read(&coded(coding), &wire[..cut], 7, 10_000);
            assert_eq!(got, Err(Failure::Truncated), "{coding} cut at {cut}");
        }
    }
    let mut wrong_sum = gzip(&data);
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let got = read(&coded("gzip"), &wrong_sum, 7, 10_000);
    assert!(matches!(got, Err(Failure::Encoding(_))), "{got:?}");
    let got = read(&coded("gzip"), b"{\"plain\": 1}", 7, 10_000);
    assert!(matches!(got, Err(Failure::Encoding(_))), "{got:?}");
}

#[test]
fn names_of_codings() {
    let wire = gzip(b"{}");
    for coding in ["gzip", "GZIP", "x-gzip", " gzip ", "identity, gzip"] {
        assert_eq!(read(&coded(coding), &wire, 99, 99).unwrap(), "{}");
    }
    assert_eq!(read(&coded("identity"), b"{}", 99, 99).unwrap(), "{}");
    for coding in ["br", "zstd", "gzip, gzip", "gzip, br", "x"] {
        let got = read(&coded(coding), &wire, 99, 99);
        assert!(matches!(got, Err(Failure::Encoding(_))), "{coding}");
    }
}

#[test]
fn data_after_the_coded_body_is_ignored_but_counted() {
    let mut wire = gzip(b"{}");
    wire.extend_from_slice(b"garbage");
    assert_eq!(read(&coded("gzip"), &wire, 3, 99).unwrap(), "{}");
    wire.extend_from_slice(&[b'x'; 4096]);
    assert_eq!(
        read(&coded("gzip"), &wire, 3, 99),
        Err(Failure::TooLarge { bytes_max: 99 })
    );
}

#[test]
fn an_empty_body_is_empty() {
    for headers in [HeaderMap::new(), coded("gzip")] {
        assert_eq!(read(&headers, b"", 1, 10).unwrap(), "");
    }
}

proptest! {
    #[test]
    fn compressed_data_round_trips(data: Vec<u8>, piece in 1usize..40) {
        for (headers, wire) in [
            (HeaderMap::new(), data.clone()),
            (coded("gzip"), gzip(&data)),
            (coded("deflate"), zlib(&data)),
        ] {
            prop_assert_eq!(read(&headers, &wire, piece, 1000).unwrap(), data.clone());
        }
    }

    #[test]
    fn any_bytes_end_in_a_result(data: Vec<u8>, piece in 1usize..40) {
        for coding in ["gzip", "deflate"] {
            let _ = read(&coded(coding), &data, piece, 1000);
        }
    }
}
