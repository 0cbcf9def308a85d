//! How long it takes to write and to read a message: a small one, as most are, and a large one;
//! and what compressing costs and gains at each level.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ht_frame::{
    DecodeOptions, Decoder, DeflatedFrame, Deflater, Inflater, Input, Opcode, Role, put_frame,
    put_masked_frame,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SIZES: [usize; 2] = [128, 64 << 10];
const OPTIONS: DecodeOptions = DecodeOptions {
    role: Role::Server,
    message_bytes_max: 1 << 20,
};

/// Text that is not all ASCII.
fn text(len: usize) -> String {
    let text = "{\"name\":\"Zoë\"},".repeat(len / 16 + 1);
    text[..text.floor_char_boundary(len)].to_owned()
}

/// Counts the events in `pieces`.
fn decode(pieces: &mut [Vec<u8>]) -> usize {
    let mut decoder = Decoder::new();
    let mut events = 0;
    for piece in pieces {
        let mut input = Input::new(piece);
        while let Ok(Some(event)) = decoder.decode(&mut input, &OPTIONS) {
            black_box(event);
            events += 1;
        }
    }
    events
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in SIZES {
        let text = text(size);
        group.throughput(Throughput::Bytes(size as u64));
        let mut out = Vec::with_capacity(2 * size);
        group.bench_function(BenchmarkId::new("server", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                put_frame(&mut out, Opcode::Text, black_box(text.as_bytes()));
            });
        });
        group.bench_function(BenchmarkId::new("client", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                put_masked_frame(&mut out, Opcode::Text, black_box(text.as_bytes()), KEY);
            });
        });
    }
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in SIZES {
        let mut frame = Vec::new();
        put_masked_frame(&mut frame, Opcode::Text, text(size).as_bytes(), KEY);
        let (start, end) = frame.split_at(frame.len() / 2);
        let cases = [
            ("whole", vec![frame.clone()]),
            ("cut", vec![start.to_vec(), end.to_vec()]),
        ];
        group.throughput(Throughput::Bytes(size as u64));
        for (name, pieces) in cases {
            assert_eq!(decode(&mut pieces.clone()), 1);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                // Decoding unmasks in place, so each run needs the bytes anew.
                let fresh = || pieces.clone();
                bencher.iter_batched_ref(fresh, |pieces| decode(pieces), BatchSize::SmallInput);
            });
        }
    }
}

/// A list of orders as an API might publish it: many numbers, few words.
fn orders(len: usize) -> Vec<u8> {
    let mut text = String::from("[");
    let mut state = 7_u64;
    while text.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let [id, sum, minute, word] = [13, 23, 33, 43].map(|shift| state >> shift);
        let status = ["paid", "packed", "sent", "cancelled"][word as usize % 4];
        text.push_str(&format!(
            r#"{{"id":{},"status":"{status}","customer":{{"id":"{}","name":"Zoë"}},"sum":{}.{:02},"changed":"2026-11-24T09:{:02}:{:02}Z"}},"#,
            id % 1_000_000,
            sum % 10_000,
            sum % 977,
            id % 100,
            minute % 60,
            id % 60,
        ));
    }
    text.truncate(text.floor_char_boundary(len));
    text.into_bytes()
}

fn deflating(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate");
    for size in [256, 512, 1 << 10, 4 << 10, 64 << 10] {
        let orders = orders(size);
        group.throughput(Throughput::Bytes(size as u64));
        for level in 1..=9 {
            let mut deflater = Deflater::new(level);
            let len = deflater.deflate(&orders).map_or(size, |head| head.len());
            println!("level {level}: {size} bytes become {len}");
            group.bench_function(
                BenchmarkId::new(format!("level {level}"), size),
                |bencher| {
                    bencher.iter(|| deflater.deflate(black_box(&orders)));
                },
            );
        }
    }
}

fn inflating(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inflate");
    for size in [128, 4 << 10, 64 << 10] {
        let orders = orders(size);
        let head = Deflater::new(6).deflate(&orders).unwrap_or_default();
        let tail = if head.is_empty() { &orders[..] } else { &[] };
        let frame = DeflatedFrame::new(Opcode::Binary, &head, tail).expect("a short tail");
        let bytes = frame.parts().concat();
        let options = DecodeOptions {
            role: Role::Client,
            ..OPTIONS
        };
        let mut inflater = Inflater::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let fresh = || bytes.clone();
            let inflate = |bytes: &mut Vec<u8>| {
                let (mut decoder, mut input) = (Decoder::new(), Input::new(bytes));
                let event = decoder.decode_deflated(&mut input, &options, &mut inflater);
                assert!(matches!(event, Ok(Some(_))));
            };
            bencher.iter_batched_ref(fresh, inflate, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, encoding, decoding, deflating, inflating);
criterion_main!(benches);
