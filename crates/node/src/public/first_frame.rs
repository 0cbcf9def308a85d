//! A token in the first frame: the websocket is open, and the API is not asked yet.
//!
//! The wait is on the control side, bounded in time and size, and counts as an unfinished
//! handshake. A shard gets the connection when the API has answered, or to turn it away.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use ht_backend::Credentials;
use ht_edge::rejection::HandshakeError;
use ht_edge::request::RequestFacts;
use ht_frame::{
    CloseCode, DecodeOptions, Decoder, Event, Inflater, Input, Opcode, Role, put_close, put_frame,
};
use ht_proto::client::first_token;
use ht_proto::close::Close;
use ht_proto::token::Token;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::public::Public;
use crate::public::charge::{Charged, FIRST_FRAME_BYTES_MAX};
use crate::public::outcome::Outcome;

/// How a first message is read.
const OPTIONS: DecodeOptions = DecodeOptions {
    role: Role::Server,
    message_bytes_max: FIRST_FRAME_BYTES_MAX,
};

/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;

/// Waits for the client's token and asks the API about it. `bytes` are those that came with the
/// handshake; afterwards, those that came behind the first message. None: the client has left.
pub(super) async fn ask(
    public: &Public,
    stream: &mut Charged,
    bytes: &mut Vec<u8>,
    mut credentials: Credentials,
    facts: &RequestFacts,
) -> Option<Outcome> {
    let mut reader = Reader {
        decoder: Decoder::new(),
        inflater: facts.deflate.map(|_| Inflater::new()),
        answers: Vec::new(),
    };
    let limit = public.live.now().auth.first_frame_timeout;
    let listening = tokio::time::timeout(limit, reader.listen(stream, bytes));
    let said = tokio::select! {
        said = listening => Some(said),
        () = public.leaving.cancelled() => None,
    };
    let said = match said {
        Some(Ok(said)) => said,
        // Part of an answer may have been taken: nothing can follow it.
        Some(Err(_)) | None if !reader.answers.is_empty() => Said::Bye,
        Some(Err(_)) => Said::Other,
        None => return leave(public, stream).await,
    };
    let token = match said {
        Said::Token(token) => token,
        Said::Other => return Some(turn_away(public)),
        Said::Bye => return None,
    };
    // Two tokens that differ, or one that no header can hold.
    let settings = public.live.now();
    if settings.rules.add_token(&mut credentials, &token).is_err() {
        return Some(turn_away(public));
    }
    tokio::select! {
        outcome = public.bootstrap.ask(&settings.limits, facts, credentials) => Some(outcome),
        () = public.leaving.cancelled() => leave(public, stream).await,
    }
}

/// Tells a client that the node leaves: it has no shard yet that would.
async fn leave(public: &Public, stream: &mut Charged) -> Option<Outcome> {
    public.rejected(HandshakeError::Leaving);
    let (mut frame, close) = (Vec::new(), Close::RESTART);
    put_close(&mut frame, CloseCode(close.code()), &close.reason());
    // Who is gone or takes nothing has heard enough.
    let _ = stream.write_all(&frame).await;
    let _ = stream.shutdown().await;
    None
}

fn turn_away(public: &Public) -> Outcome {
    public.rejected(HandshakeError::Authenticate);
    Outcome::Unauthenticated
}

/// What a client said first.
enum Said {
    Token(Token),
    /// Anything else, or nothing that can be read.
    Other,
    /// That it leaves, or it left without a word.
    Bye,
}

/// Reads frames up to the first message.
struct Reader {
    decoder: Decoder,
    /// Where compression was agreed upon.
    inflater: Option<Inflater>,
    /// What was not sent yet.
    answers: Vec<u8>,
}

impl Reader {
    /// Reads `bytes`, and more from the stream, until something was said. What follows it stays
    /// in `bytes`.
    async fn listen(&mut self, stream: &mut Charged, bytes: &mut Vec<u8>) -> Said {
        loop {
            let said = self.read(bytes);
            while !self.answers.is_empty() {
                match stream.write(&self.answers).await {
                    Ok(0) | Err(_) => return Said::Bye,
                    Ok(sent) => drop(self.answers.drain(..sent)),
                }
            }
            if let Some(said) = said {
                return said;
            }
            if !matches!(read_some(stream, bytes).await, Ok(1..)) {
                return Said::Bye;
            }
        }
    }

    /// Reads `bytes` up to the first message, or all of them. Control frames are answered.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Option<Said> {
        let Self {
            decoder,
            inflater,
            answers,
        } = self;
        let came = bytes.len();
        let mut input = Input::new(bytes);
        let said = loop {
            let event = match inflater {
                Some(inflater) => decoder.decode_deflated(&mut input, &OPTIONS, inflater),
                None => decoder.decode(&mut input, &OPTIONS),
            };
            match event {
                Ok(None) => break None,
                Ok(Some(Event::Text(text))) => break Some(said(text)),
                // Not UTF-8 is not JSON.
                Ok(Some(Event::Binary(bytes))) => {
                    break Some(said(str::from_utf8(bytes).unwrap_or_default()));
                }
                Ok(Some(Event::Ping(payload))) => put_frame(answers, Opcode::Pong, payload),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(close))) => {
                    match close {
                        Some((code, reason)) => put_close(answers, code, reason),
                        None => put_frame(answers, Opcode::Close, &[]),
                    }
                    break Some(Said::Bye);
                }
                // What follows has no meaning.
                Err(_) => break Some(Said::Other),
            }
        };
        let read = came - input.remaining();
        bytes.drain(..read);
        said
    }
}

fn said(text: &str) -> Said {
    let token = first_token(text).map(|text| Token::new(&text));
    match token {
        Some(Ok(Some(token))) => Said::Token(token),
        Some(Ok(None) | Err(_)) | None => Said::Other,
    }
}

/// Appends what can be read, as soon as something can. No buffer is held while nothing comes.
async fn read_some(stream: &mut Charged, bytes: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        let mut chunk = [0; READ_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut chunk))?;
        bytes.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    })
    .await
}
