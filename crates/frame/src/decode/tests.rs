//! Frames by hand: the events, where they are stored, and what is rejected.

use super::*;
use crate::close::CloseCode;
use crate::deflate::Deflater;
use crate::encode::{put_close, put_frame, put_masked_frame};
use crate::message::Message;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SERVER: DecodeOptions = DecodeOptions {
    role: Role::Server,
    message_bytes_max: 1_000,
};
const CLIENT: DecodeOptions = DecodeOptions {
    role: Role::Client,
    message_bytes_max: 1_000,
};

/// An [`Event`] that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A client's frame with any first byte.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_masked_frame(&mut frame, Opcode::Binary, payload, KEY);
    frame[0] = first;
    frame
}

/// Feeds `chunks` one after the other until the end or a violation.
fn feed(
    decoder: &mut Decoder,
    chunks: &[&[u8]],
    options: &DecodeOptions,
) -> (Vec<Owned>, Option<Violation>) {
    feed_with(decoder, chunks, options, None)
}

/// The same, with an inflater where compression was negotiated.
fn feed_with(
    decoder: &mut Decoder,
    chunks: &[&[u8]],
    options: &DecodeOptions,
    mut inflater: Option<&mut Inflater>,
) -> (Vec<Owned>, Option<Violation>) {
    let mut events = Vec::new();
    for chunk in chunks {
        let mut bytes = chunk.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            let event = match &mut inflater {
                Some(inflater) => decoder.decode_deflated(&mut input, options, inflater),
                None => decoder.decode(&mut input, options),
            };
            match event {
                Ok(Some(event)) => events.push(event.into()),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert_eq!(input.remaining(), 0);
    }
    (events, None)
}

/// Whole and byte by byte must give the same.
#[track_caller]
fn check(bytes: &[u8], options: &DecodeOptions, events: &[Owned], violation: Option<Violation>) {
    let mut decoder = Decoder::new();
    let (got, refused) = feed(&mut decoder, &[bytes], options);
    assert_eq!((&got[..], refused), (events, violation));

    let mut decoder = Decoder::new();
    let chunks: Vec<&[u8]> = bytes.chunks(1).collect();
    let (got, refused) = feed(&mut decoder, &chunks, options);
    assert_eq!((&got[..], refused), (events, violation), "byte by byte");
}

#[track_caller]
fn refused(bytes: &[u8], violation: Violation) {
    check(bytes, &SERVER, &[], Some(violation));
}

#[test]
fn an_idle_decoder_is_eight_bytes() {
    assert_eq!(size_of::<Decoder>(), 8);
    assert!(size_of::<Partial>() <= 128, "{}", size_of::<Partial>());
}

#[test]
fn events_of_a_client() {
    let cases = [
        (masked(0x81, "aé".as_bytes()), Owned::Text("aé".into())),
        (masked(0x81, b""), Owned::Text(String::new())),
        (masked(0x82, b"\xff\0"), Owned::Binary(b"\xff\0".to_vec())),
        (masked(0x89, b"ping"), Owned::Ping(b"ping".to_vec())),
        (masked(0x8a, b""), Owned::Pong(Vec::new())),
        (masked(0x8a, &[7; 125]), Owned::Pong(vec![7; 125])),
        (masked(0x88, b""), Owned::Close(None)),
        (
            masked(0x88, b"\x03\xe8"),
            Owned::Close(Some((CloseCode::NORMAL, String::new()))),
        ),
        (
            masked(0x88, b"\x03\xe9bye"),
            Owned::Close(Some((CloseCode::GOING_AWAY, "bye".into()))),
        ),
    ];
    for (bytes, event) in cases {
        check(&bytes, &SERVER, &[event], None);
    }
}

#[test]
fn events_of_a_server() {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, Opcode::Text, b"one");
    put_frame(&mut bytes, Opcode::Ping, b"two");
    put_frame(&mut bytes, Opcode::Binary, &[3; 300]);
    put_close(&mut bytes, CloseCode::SERVICE_RESTART, "four");
    let events = [
        Owned::Text("one".into()),
        Owned::Ping(b"two".to_vec()),
        Owned::Binary(vec![3; 300]),
        Owned::Close(Some((CloseCode::SERVICE_RESTART, "four".into()))),
    ];
    check(&bytes, &CLIENT, &events, None);
}

#[test]
fn fragments_with_control_frames_between() {
    let bytes = [
        masked(0x01, b"a\xe2"),
        masked(0x89, b"between"),
        masked(0x00, b"\x82"),
        masked(0x00, b""),
        masked(0x8a, b""),
        masked(0x80, b"\xacz"),
        masked(0x02, b""),
        masked(0x80, b""),
        masked(0x81, b"next"),
    ]
    .concat();
    let events = [
        Owned::Ping(b"between".to_vec()),
        Owned::Pong(Vec::new()),
        Owned::Text("a€z".into()),
        Owned::Binary(Vec::new()),
        Owned::Text("next".into()),
    ];
    check(&bytes, &SERVER, &events, None);
}

#[test]
fn refused_from_the_header() {
    let cases: [(&[u8], Violation); 12] = [
        (&[0xc1], Violation::ReservedBits),
        (&[0xa1], Violation::ReservedBits),
        (&[0x91], Violation::ReservedBits),
        (&[0x83], Violation::ReservedOpcode),
        (&[0x8f], Violation::ReservedOpcode),
        (&[0x09], Violation::ControlFragmented),
        (&[0x81, 0x05], Violation::NotMasked),
        (&[0x89, 0xfe], Violation::ControlTooLong),
        (&[0x88, 0xff], Violation::ControlTooLong),
        (&[0x82, 0xfe, 0, 125], Violation::LengthNotMinimal),
        (
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            Violation::LengthNotMinimal,
        ),
        (
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
            Violation::LengthTopBit,
        ),
    ];
    for (bytes, violation) in cases {
        refused(bytes, violation);
        assert_eq!(violation.code(), CloseCode::PROTOCOL_ERROR);
    }
    check(&[0x81, 0x85], &CLIENT, &[], Some(Violation::Masked));
}

#[test]
fn refused_sequences() {
    refused(&masked(0x80, b"x"), Violation::UnexpectedContinuation);
    refused(&masked(0x00, b"x"), Violation::UnexpectedContinuation);
    for second in [0x01, 0x81, 0x02, 0x82] {
        let bytes = [masked(0x01, b"x"), masked(second, b"y")].concat();
        refused(&bytes, Violation::ExpectedContinuation);
    }
    let bytes = [masked(0x82, b"x"), masked(0x80, b"y")].concat();
    let events = [Owned::Binary(b"x".to_vec())];
    check(
        &bytes,
        &SERVER,
        &events,
        Some(Violation::UnexpectedContinuation),
    );
}

#[test]
fn refused_payloads() {
    refused(&masked(0x88, b"\x03"), Violation::ClosePayloadTooShort);
    refused(&masked(0x88, b"\x03\xee"), Violation::CloseCodeNotAllowed);
    refused(
        &masked(0x88, b"\x03\xe8\xc3"),
        Violation::CloseReasonNotUtf8,
    );
    refused(&masked(0x81, b"a\xff"), Violation::TextNotUtf8);
    refused(&masked(0x81, b"a\xc3"), Violation::TextNotUtf8);
    let bytes = [masked(0x01, b"a\xc3"), masked(0x80, b"")].concat();
    refused(&bytes, Violation::TextNotUtf8);
    assert_eq!(Violation::TextNotUtf8.code(), CloseCode::INVALID_DATA);
    assert_eq!(
        Violation::CloseReasonNotUtf8.code(),
        CloseCode::INVALID_DATA
    );
}

#[test]
fn bad_text_is_reported_before_its_frame_ends() {
    // The frame announces 100 bytes, two have arrived.
    let mut bytes = masked(0x81, &[&b"\xf4\x90"[..], &[b'x'; 98]].concat());
    bytes.truncate(8);
    refused(&bytes, Violation::TextNotUtf8);
}

#[test]
fn messages_up_to_the_limit() {
    let whole = masked(0x82, &[1; 1_000]);
    check(&whole, &SERVER, &[Owned::Binary(vec![1; 1_000])], None);
    let halves = [masked(0x02, &[1; 500]), masked(0x80, &[1; 500])].concat();
    check(&halves, &SERVER, &[Owned::Binary(vec![1; 1_000])], None);
}

#[test]
fn too_big_is_refused_from_the_header() {
    // Headers without any payload.
    let huge = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    let over = [0x82, 0xfe, 0x03, 0xe9, 1, 2, 3, 4];
    let over_together = [masked(0x02, &[1; 999]), vec![0x80, 0x82, 1, 2, 3, 4]].concat();
    let never_ending = [masked(0x01, &[b'a'; 1_000]), vec![0x00, 0x81, 1, 2, 3, 4]].concat();
    for bytes in [&huge[..], &over, &over_together, &never_ending] {
        refused(bytes, Violation::MessageTooBig);
    }
    assert_eq!(Violation::MessageTooBig.code(), CloseCode::TOO_BIG);
}

#[test]
fn control_frames_do_not_count_towards_the_limit() {
    let options = DecodeOptions {
        message_bytes_max: 4,
        ..SERVER
    };
    let bytes = [
        masked(0x02, b"ab"),
        masked(0x89, &[9; 125]),
        masked(0x80, b"cd"),
    ]
    .concat();
    let events = [Owned::Ping(vec![9; 125]), Owned::Binary(b"abcd".to_vec())];
    check(&bytes, &options, &events, None);
}

#[test]
fn a_whole_frame_is_handed_out_in_place() {
    for (first, payload) in [
        (0x82, &b"payload"[..]),
        (0x81, b"payload"),
        (0x89, b"payload"),
    ] {
        let mut bytes = masked(first, payload);
        let place = bytes[6..].as_ptr();
        let mut decoder = Decoder::new();
        let mut input = Input::new(&mut bytes);
        let event = decoder.decode(&mut input, &SERVER).unwrap().unwrap();
        let got = match event {
            Event::Text(text) => text.as_bytes(),
            Event::Binary(bytes) | Event::Ping(bytes) => bytes,
            Event::Pong(_) | Event::Close(_) => panic!("{event:?}"),
        };
        assert_eq!(got, payload);
        assert_eq!(got.as_ptr(), place);
        assert!(decoder.is_idle());
    }
}

#[test]
fn in_place_again_after_a_frame_that_was_cut() {
    let mut decoder = Decoder::new();
    let first = masked(0x81, b"first");
    assert_eq!(feed(&mut decoder, &[&first[..3]], &SERVER), (vec![], None));
    assert!(!decoder.is_idle());

    // The rest of the header and the whole payload: the box is not needed any more.
    let mut rest = first[3..].to_vec();
    let mut input = Input::new(&mut rest);
    assert_eq!(
        decoder.decode(&mut input, &SERVER),
        Ok(Some(Event::Text("first")))
    );
    assert!(decoder.is_idle());
}

#[test]
fn what_was_kept_is_released() {
    let mut decoder = Decoder::new();
    let bytes = [masked(0x02, &[1; 600]), masked(0x80, &[2; 300])].concat();
    let (start, end) = bytes.split_at(700);
    assert_eq!(feed(&mut decoder, &[start], &SERVER), (vec![], None));
    assert!(!decoder.is_idle());

    let mut end = end.to_vec();
    let mut input = Input::new(&mut end);
    assert!(matches!(
        decoder.decode(&mut input, &SERVER),
        Ok(Some(Event::Binary(_)))
    ));
    assert_eq!(input.remaining(), 0);
    assert_eq!(decoder.decode(&mut input, &SERVER), Ok(None));
    assert!(decoder.is_idle());
}

#[test]
fn ping_in_pieces_does_not_affect_the_message() {
    let mut decoder = Decoder::new();
    let start = masked(0x01, b"one ");
    let ping = masked(0x89, b"in pieces");
    let end = masked(0x80, b"two");
    let chunks = [&start[..], &ping[..8], &ping[8..], &end];
    let (events, violation) = feed(&mut decoder, &chunks, &SERVER);
    assert_eq!(violation, None);
    assert_eq!(
        events,
        [
            Owned::Ping(b"in pieces".to_vec()),
            Owned::Text("one two".into())
        ]
    );
    assert!(decoder.is_idle());
}

#[test]
fn two_pings_in_pieces_within_a_message() {
    let bytes = [
        masked(0x01, b"text"),
        masked(0x89, b"one"),
        masked(0x89, b"two"),
        masked(0x80, b""),
    ]
    .concat();
    let events = [
        Owned::Ping(b"one".to_vec()),
        Owned::Ping(b"two".to_vec()),
        Owned::Text("text".into()),
    ];
    check(&bytes, &SERVER, &events, None);
}

#[test]
fn an_empty_input_changes_nothing() {
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, &[b""], &SERVER), (vec![], None));
    assert!(decoder.is_idle());

    let frame = masked(0x81, b"text");
    let chunks = [&frame[..1], b"", &frame[1..7], b"", &frame[7..], b""];
    let (events, violation) = feed(&mut decoder, &chunks, &SERVER);
    assert_eq!(
        (events, violation),
        (vec![Owned::Text("text".into())], None)
    );
}

#[test]
fn empty_fragments_keep_nothing() {
    let mut decoder = Decoder::new();
    let start = masked(0x02, b"");
    let more = masked(0x00, b"");
    feed(&mut decoder, &[&start], &SERVER);
    for _ in 0..10_000 {
        assert_eq!(feed(&mut decoder, &[&more], &SERVER), (vec![], None));
    }
    let Some(partial) = &decoder.0 else {
        panic!("a message is unfinished")
    };
    assert_eq!(partial.message_len(), Some(0));
}

/// "Hello" compressed (RFC 7692 section 7.2.3.1).
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Whole and byte by byte must give the same, on a connection that negotiated compression.
#[track_caller]
fn check_deflated(bytes: &[u8], events: &[Owned], violation: Option<Violation>) {
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let mut inflater = Inflater::new();
    for chunks in [&[bytes][..], &single] {
        let mut decoder = Decoder::new();
        let (got, refused) = feed_with(&mut decoder, chunks, &SERVER, Some(&mut inflater));
        assert_eq!((&got[..], refused), (events, violation));
        assert!(violation.is_some() || decoder.is_idle());
    }
}

#[test]
fn compressed_messages_beside_others() {
    let hello = || Owned::Text("Hello".into());
    let (first, rest) = HELLO.split_at(3);
    let bytes = [
        masked(0xc1, HELLO),
        masked(0x81, b"plain"),
        masked(0xc2, HELLO),
        // In fragments, with a ping between them.
        masked(0x41, first),
        masked(0x89, b"ping"),
        masked(0x00, &[]),
        masked(0x80, rest),
        masked(0x41, HELLO),
        masked(0x80, &[]),
        masked(0x01, b"pla"),
        masked(0x80, b"in"),
    ];
    let events = [
        hello(),
        Owned::Text("plain".into()),
        Owned::Binary(b"Hello".to_vec()),
        Owned::Ping(b"ping".to_vec()),
        hello(),
        hello(),
        Owned::Text("plain".into()),
    ];
    check_deflated(&bytes.concat(), &events, None);
}

#[test]
fn the_first_reserved_bit_belongs_to_the_first_frame_of_a_message() {
    for first in [0xc8, 0xc9, 0xca, 0xc0, 0x40, 0xd1, 0xa1, 0x91, 0xf1] {
        let frame = masked(first, b"");
        check_deflated(&frame, &[], Some(Violation::ReservedBits));
    }
    let bytes = [masked(0x41, &HELLO[..3]), masked(0xc0, &HELLO[3..])].concat();
    check_deflated(&bytes, &[], Some(Violation::ReservedBits));
    // Without negotiated compression it is reserved.
    refused(&masked(0xc1, HELLO), Violation::ReservedBits);
}

#[test]
fn compressed_messages_that_are_refused() {
    let cases = [
        (masked(0xc1, b"{}"), Violation::DeflateInvalid),
        // Text is checked when it is inflated.
        (
            masked(0xc1, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]),
            Violation::TextNotUtf8,
        ),
        // Too long inflated, and too long compressed.
        (masked(0xc1, &zeros(1_001)), Violation::MessageTooBig),
        (masked(0xc1, &[0; 1_001]), Violation::MessageTooBig),
        (
            [masked(0x41, &[0; 999]), masked(0x80, &[0; 2])].concat(),
            Violation::MessageTooBig,
        ),
    ];
    for (bytes, violation) in cases {
        check_deflated(&bytes, &[], Some(violation));
    }
    let most = Owned::Binary(vec![0; 1_000]);
    check_deflated(&masked(0xc2, &zeros(1_000)), &[most], None);
}

/// So many zeros, compressed.
fn zeros(len: usize) -> Vec<u8> {
    let head = vec![0; len];
    let mut deflated = Deflater::new(6).deflate(&head).unwrap().into_vec();
    deflated.push(0);
    deflated
}

/// The control frames of `chunks`, with what was kept at the most between two of them.
fn feed_control(chunks: &[&[u8]], deflate: bool) -> (Vec<Owned>, Option<Violation>) {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for chunk in chunks {
        let mut bytes = chunk.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            match decoder.decode_control(&mut input, &SERVER, deflate) {
                Ok(Some(event)) => events.push(event.into()),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert_eq!(input.remaining(), 0);
        if let Some(Message::Text(_) | Message::Binary(_) | Message::Compressed(..)) =
            decoder.0.as_ref().and_then(|partial| partial.kept())
        {
            panic!("a payload was kept");
        }
    }
    (events, None)
}

#[test]
fn data_is_skipped_where_only_control_frames_are_decoded() {
    let ping = || Owned::Ping(b"p".to_vec());
    let stream = [
        masked(0x81, b"\xff not UTF-8"),
        // Fragments with a ping between them, the first one not valid deflate.
        masked(0x41, &[0xff; 300]),
        masked(0x89, b"p"),
        masked(0x80, &[0xff; 300]),
        masked(0x82, &[7; 1_000]),
        masked(0x88, b""),
    ]
    .concat();
    for size in [1, 2, 7, 500, stream.len()] {
        let chunks: Vec<&[u8]> = stream.chunks(size).collect();
        let (events, violation) = feed_control(&chunks, true);
        assert_eq!(
            (&events[..], violation),
            (&[ping(), Owned::Close(None)][..], None)
        );
    }
    for (bytes, violation) in [
        (masked(0x82, &[0; 1_001]), Violation::MessageTooBig),
        (masked(0xc1, b"x"), Violation::ReservedBits),
        (masked(0x80, b"x"), Violation::UnexpectedContinuation),
        (
            [masked(0x01, &[0; 600]), masked(0x80, &[0; 401])].concat(),
            Violation::MessageTooBig,
        ),
        (
            [masked(0x01, b"x"), masked(0x81, b"x")].concat(),
            Violation::ExpectedContinuation,
        ),
    ] {
        for size in [1, bytes.len()] {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(feed_control(&chunks, false), (vec![], Some(violation)));
        }
    }
}

#[test]
fn a_message_that_began_before_is_skipped_to_its_end() {
    let mut decoder = Decoder::new();
    let (events, _) = feed(&mut decoder, &[&masked(0x01, &[b'x'; 700])], &SERVER);
    assert_eq!(events, []);
    let mut rest = [masked(0x80, &[b'x'; 300]), masked(0x8a, b"")].concat();
    let mut input = Input::new(&mut rest);
    let event = decoder.decode_control(&mut input, &SERVER, false);
    assert_eq!(event, Ok(Some(Event::Pong(b""))));
    assert_eq!(decoder.decode_control(&mut input, &SERVER, false), Ok(None));
    assert!(decoder.is_idle());
}

#[test]
fn inflater_counts_the_inflated_bytes() {
    let mut inflater = Inflater::new();
    let options = DecodeOptions {
        message_bytes_max: 100,
        ..SERVER
    };
    let mut deflater = Deflater::new(6);
    for (len, violation, counted) in [
        (100, None, 100..=100),
        // Inflated up to the bound and no further.
        (1_000, Some(Violation::MessageTooBig), 101..=101),
    ] {
        let head = deflater.deflate(&vec![b'x'; len]).expect("smaller");
        let payload = [&head[..], &[0]].concat();
        let mut decoder = Decoder::new();
        let frame = masked(0xc1, &payload);
        let (_, refused) = feed_with(&mut decoder, &[&frame], &options, Some(&mut inflater));
        assert_eq!(refused, violation);
        let inflated = inflater.take_inflated();
        assert!(counted.contains(&inflated), "{inflated}");
        assert_eq!(inflater.take_inflated(), 0);
    }
}
