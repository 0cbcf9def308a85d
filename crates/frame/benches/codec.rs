//! How long it takes to write and to read a message: a small one, as most are, and a large one.

use std::hint::black_box;

use criterion::BatchSize;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use ht_frame::DecodeOptions;
use ht_frame::Decoder;
use ht_frame::Input;
use ht_frame::Opcode;
use ht_frame::Role;
use ht_frame::put_frame;
use ht_frame::put_masked_frame;

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

criterion_group!(benches, encoding, decoding);
criterion_main!(benches);
