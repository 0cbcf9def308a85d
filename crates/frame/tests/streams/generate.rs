//! Streams of frames: valid ones, and valid ones with a few bytes changed.

use flate2::{Compress, Compression, FlushCompress};
use ht_frame::{Opcode, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One frame, as unrestricted as the wire format.
#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
    key: [u8; 4],
}

impl Frame {
    /// Written by hand, so that the encoder under test is not part of it.
    fn put(&self, out: &mut Vec<u8>, role: Role) {
        let mask_bit = if role == Role::Server { 0x80 } else { 0 };
        out.push(self.first);
        match self.payload.len() {
            len @ 0..126 => out.push(mask_bit | len as u8),
            len @ 126..65_536 => {
                out.push(mask_bit | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(mask_bit | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        if role == Role::Server {
            out.extend(self.key);
            out.extend(
                self.payload
                    .iter()
                    .zip(self.key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        } else {
            out.extend(&self.payload);
        }
    }
}

pub(crate) fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// Text with characters of one to four bytes.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-cé€𝄞]{0,20}",
        2 => "[a-cé€𝄞]{40,130}",
        1 => (65_500_usize..65_560).prop_map(|len| "x".repeat(len)),
    ]
}

pub(crate) fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..20),
        2 => vec(any::<u8>(), 120..135),
        1 => (any::<u8>(), 65_530_usize..65_545).prop_map(|(byte, len)| std::vec![byte; len]),
    ]
}

fn control() -> impl Strategy<Value = Frame> {
    let first = prop_oneof![Just(0x89), Just(0x8a)];
    let payload = prop_oneof![4 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 120..=125)];
    (first, payload, any::<[u8; 4]>()).prop_map(|(first, payload, key)| Frame {
        first,
        payload,
        key,
    })
}

/// A message in up to four fragments, with control frames between them.
#[derive(Clone, Debug)]
struct Message {
    opcode: u8,
    payload: Vec<u8>,
    /// In their order, whatever the payload's length.
    cuts: Vec<(Index, Option<Frame>)>,
    key: [u8; 4],
    how: How,
}

impl Message {
    fn frames(&self, deflated: bool) -> Vec<Frame> {
        let (rsv1, payload) = if deflated {
            (0x40, self.how.deflate(&self.payload))
        } else {
            (0, self.payload.clone())
        };
        let mut frames = Vec::new();
        let (mut from, mut first) = (0, self.opcode | rsv1);
        for (cut, between) in &self.cuts {
            let to = cut.index(payload.len() + 1);
            frames.push(Frame {
                first,
                payload: payload[from..to].to_vec(),
                key: self.key,
            });
            frames.extend(between.clone());
            (from, first) = (to, 0x0);
        }
        frames.push(Frame {
            first: first | 0x80,
            payload: payload[from..].to_vec(),
            key: self.key,
        });
        frames
    }
}

/// How a peer may compress: with any level (0 stores), in blocks that end anywhere, and with or
/// without a final block.
#[derive(Clone, Debug)]
struct How {
    level: u32,
    blocks: Vec<Index>,
    is_final: bool,
}

impl How {
    fn deflate(&self, payload: &[u8]) -> Vec<u8> {
        let mut compress = Compress::new(Compression::new(self.level), false);
        let mut out = Vec::with_capacity(2 * payload.len() + 1_000);
        let mut cuts: Vec<_> = self
            .blocks
            .iter()
            .map(|block| block.index(payload.len() + 1))
            .collect();
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts {
            let block = &payload[from..to];
            compress
                .compress_vec(block, &mut out, FlushCompress::Sync)
                .expect("any bytes can be compressed");
            from = to;
        }
        let flush = if self.is_final {
            FlushCompress::Finish
        } else {
            FlushCompress::Sync
        };
        compress
            .compress_vec(&payload[from..], &mut out, flush)
            .expect("any bytes can be compressed");
        if self.is_final {
            out.push(0);
        } else {
            assert!(out.ends_with(&[0x00, 0x00, 0xff, 0xff]));
            out.truncate(out.len() - 4);
        }
        out
    }
}

fn how() -> impl Strategy<Value = How> {
    (0..=9_u32, vec(any::<Index>(), 0..3), any::<bool>()).prop_map(|(level, blocks, is_final)| {
        How {
            level,
            blocks,
            is_final,
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![
        10 => text().prop_map(|text| (0x1, text.into_bytes())),
        10 => binary().prop_map(|bytes| (0x2, bytes)),
        // Mostly not UTF-8.
        1 => binary().prop_map(|bytes| (0x1, bytes)),
    ];
    let cuts = vec(
        (any::<Index>(), prop::option::weighted(0.3, control())),
        0..4,
    );
    (payload, cuts, any::<[u8; 4]>(), how()).prop_map(|((opcode, payload), mut cuts, key, how)| {
        cuts.sort_by_key(|(cut, _)| cut.index(usize::MAX));
        Message {
            opcode,
            payload,
            cuts,
            key,
            how,
        }
    })
}

fn close() -> impl Strategy<Value = Frame> {
    let code = prop_oneof![4 => 999_u16..1_017, 1 => 2_998_u16..3_002, 1 => any::<u16>()];
    let with_code = (code, "[a-cé€𝄞]{0,30}")
        .prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
    let payload = prop_oneof![
        1 => Just(Vec::new()),
        4 => with_code,
        1 => vec(any::<u8>(), 0..=125),
    ];
    let first = 0x80 | 0x8;
    (payload, any::<[u8; 4]>()).prop_map(move |(payload, key)| Frame {
        first,
        payload,
        key,
    })
}

/// A stream whose frames are well formed (a few texts and close frames have a bad payload).
pub(crate) fn stream() -> impl Strategy<Value = (Role, Vec<u8>)> {
    deflated_stream().prop_map(|(role, plain, _)| (role, plain))
}

/// The same stream twice: with all messages as they are, and with most of them compressed.
pub(crate) fn deflated_stream() -> impl Strategy<Value = (Role, Vec<u8>, Vec<u8>)> {
    let item = prop_oneof![
        3 => (message(), prop::bool::weighted(0.8)).prop_map(|(message, deflated)| {
            (message.frames(false), message.frames(deflated))
        }),
        1 => control().prop_map(|frame| (std::vec![frame.clone()], std::vec![frame])),
    ];
    let items = vec(item, 0..6);
    (role(), items, prop::option::of(close())).prop_map(|(role, items, close)| {
        let mut streams = (Vec::new(), Vec::new());
        for (plain, deflated) in &items {
            plain
                .iter()
                .for_each(|frame| frame.put(&mut streams.0, role));
            deflated
                .iter()
                .for_each(|frame| frame.put(&mut streams.1, role));
        }
        if let Some(close) = close {
            close.put(&mut streams.0, role);
            close.put(&mut streams.1, role);
        }
        (role, streams.0, streams.1)
    })
}

/// Such a stream with bytes changed, most often among the first where the headers are, and cut off.
pub(crate) fn mutated_stream() -> impl Strategy<Value = (Role, Vec<u8>)> {
    mutated(stream())
}

/// The same of a stream with compressed messages.
pub(crate) fn mutated_deflated_stream() -> impl Strategy<Value = (Role, Vec<u8>)> {
    mutated(deflated_stream().prop_map(|(role, _, deflated)| (role, deflated)))
}

fn mutated(
    stream: impl Strategy<Value = (Role, Vec<u8>)>,
) -> impl Strategy<Value = (Role, Vec<u8>)> {
    let bit = (0_u8..8).prop_map(|bit| 1 << bit);
    let change = prop_oneof![3 => bit, 1 => any::<u8>()];
    let changes = vec((any::<Index>(), any::<bool>(), change), 0..4);
    let cut = prop::option::weighted(0.3, any::<Index>());
    (stream, changes, cut).prop_map(|((role, mut bytes), changes, cut)| {
        if !bytes.is_empty() {
            for (at, early, change) in changes {
                let reach = if early {
                    bytes.len().min(16)
                } else {
                    bytes.len()
                };
                bytes[at.index(reach)] ^= change;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        (role, bytes)
    })
}

/// A message or control frame for the encoder.
pub(crate) fn encodable() -> impl Strategy<Value = (Opcode, Vec<u8>)> {
    let short = vec(any::<u8>(), 0..=125);
    prop_oneof![
        text().prop_map(|text| (Opcode::Text, text.into_bytes())),
        binary().prop_map(|bytes| (Opcode::Binary, bytes)),
        short.clone().prop_map(|bytes| (Opcode::Ping, bytes)),
        short.prop_map(|bytes| (Opcode::Pong, bytes)),
    ]
}
