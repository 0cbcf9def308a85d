//! Properties of whole streams of frames: any cut, against another implementation, there and back.

mod deflate;
mod differential;
mod generate;
mod round_trip;
mod split;

use ht_frame::{CloseCode, DecodeOptions, Decoder, Event, Inflater, Input, Violation};

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

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End<V> {
    /// More may follow.
    Open,
    /// The peer closed.
    Closed,
    /// The peer broke the protocol.
    Refused(V),
}

/// Decodes `pieces` one after the other, up to a close frame or a violation.
fn decode(pieces: &[&[u8]], options: &DecodeOptions) -> (Vec<Owned>, End<Violation>) {
    decode_with(pieces, options, None)
}

/// The same, with an inflater where compression was negotiated.
fn decode_with(
    pieces: &[&[u8]],
    options: &DecodeOptions,
    mut inflater: Option<&mut Inflater>,
) -> (Vec<Owned>, End<Violation>) {
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
                        return (events, End::Closed);
                    }
                }
                Ok(None) => break,
                Err(violation) => return (events, End::Refused(violation)),
            }
        }
        assert_eq!(input.remaining(), 0, "all of the input is consumed");
    }
    (events, End::Open)
}
