//! The frame decoder: any bytes in any pieces decode as in one piece, and decoded messages survive
//! encoding, compressed or not.

#![no_main]

use ht_frame::{
    CloseCode, DecodeOptions, Decoder, DeflatedFrame, Deflater, Event, Inflater, Input, Opcode,
    Role, Violation, put_close, put_frame,
};
use libfuzzer_sys::fuzz_target;

/// Maximum message, in bytes: small, so that the fuzzer reaches it.
const MESSAGE_BYTES_MAX: usize = 300;

#[derive(Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Event::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code, reason.to_owned())))
            }
        }
    }
}

// The first byte: the role, how many of the next bytes are lengths of pieces (used in turn),
// whether compression was negotiated, and how well we compress.
fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let role = if first & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let cuts = usize::from(first >> 1) % 16;
    // Shared, as in a shard: earlier input must not matter.
    let mut inflater = (first & 0x20 != 0).then(Inflater::new);
    let level = [1, 2, 6, 9][usize::from(first >> 6)];
    let Some((pieces, stream)) = rest.split_at_checked(cuts) else {
        return;
    };

    let options = DecodeOptions {
        role,
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let whole = decode(&[stream], &options, inflater.as_mut());
    let split = decode(&cut(stream, pieces), &options, inflater.as_mut());
    assert_eq!(whole, split);
    encode_again(&whole.0);
    deflate_again(&whole.0, level, inflater);
});

/// Cuts `stream` into pieces of the given lengths, again and again.
fn cut<'a>(mut stream: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    // Only empty pieces would never end.
    if lengths.iter().all(|&length| length == 0) {
        return vec![stream];
    }
    for &length in lengths.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at(usize::from(length).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

fn decode(
    pieces: &[&[u8]],
    options: &DecodeOptions,
    mut inflater: Option<&mut Inflater>,
) -> (Vec<Owned>, Option<Violation>) {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            let event = match &mut inflater {
                Some(inflater) => decoder.decode_deflated(&mut input, options, inflater),
                None => decoder.decode(&mut input, options),
            };
            match event {
                Ok(Some(event)) => {
                    events.push(event.into());
                    if let Some(Owned::Close(_)) = events.last() {
                        return (events, None);
                    }
                }
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert_eq!(input.remaining(), 0);
    }
    (events, None)
}

/// Writes the events as a server and reads them as a client.
fn encode_again(events: &[Owned]) {
    let mut bytes = Vec::new();
    for event in events {
        match event {
            Owned::Text(text) => put_frame(&mut bytes, Opcode::Text, text.as_bytes()),
            Owned::Binary(payload) => put_frame(&mut bytes, Opcode::Binary, payload),
            Owned::Ping(payload) => put_frame(&mut bytes, Opcode::Ping, payload),
            Owned::Pong(payload) => put_frame(&mut bytes, Opcode::Pong, payload),
            Owned::Close(None) => put_frame(&mut bytes, Opcode::Close, &[]),
            Owned::Close(Some((code, reason))) => put_close(&mut bytes, *code, reason),
        }
    }
    let options = DecodeOptions {
        role: Role::Client,
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let (again, violation) = decode(&[&bytes], &options, None);
    assert_eq!((&again[..], violation), (events, None));
}

/// Writes the messages compressed, each with its last byte as a tail, and reads them.
fn deflate_again(events: &[Owned], level: u8, inflater: Option<Inflater>) {
    let mut inflater = inflater.unwrap_or_default();
    let mut deflater = Deflater::new(level);
    let options = DecodeOptions {
        role: Role::Client,
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    for event in events {
        let (opcode, payload) = match event {
            Owned::Text(text) => (Opcode::Text, text.as_bytes()),
            Owned::Binary(payload) => (Opcode::Binary, &payload[..]),
            Owned::Ping(_) | Owned::Pong(_) | Owned::Close(_) => continue,
        };
        let (head, tail) = payload.split_at(payload.len().saturating_sub(1));
        let Some(deflated) = deflater.deflate(head) else {
            continue;
        };
        assert!(deflated.len() < head.len());
        let frame = DeflatedFrame::new(opcode, &deflated, tail).expect("a short tail");
        let bytes = frame.parts().concat();
        let (again, violation) = decode(&[&bytes], &options, Some(&mut inflater));
        assert_eq!((&again[..], violation), (std::slice::from_ref(event), None));
    }
}
