//! The state of a session over HTTP, and the framing of what it is sent.

use std::sync::Arc;

use bytes::Bytes;
use ht_proto::close::Advice;
use ht_proto::cursor::Cursor;
use ht_proto::server::{NotRecovered, Refused};
use ht_proto::stream::{
    self, Format, Head, put_event, put_message, put_refusal, put_retry, retry_ms,
};

use crate::outbox::Outboxes;
use crate::stream::{Kind, Opening};
use crate::transport::TicketState;

/// Messages of the answer to a long poll at most.
const MESSAGES: usize = 1_000;

/// Bytes of them. A message that is longer is the only one.
const BYTES: usize = 1 << 20;

/// What HTTP adds to a session.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) format: Format,
    /// The client is a browser's `EventSource` without code of ours.
    pub(crate) is_plain: bool,
    /// Whether the client may be let in again without a call to the API.
    pub(crate) ticket: TicketState,
    /// Bytes that its client sent after its request.
    pub(crate) stray: u16,
    pub(crate) state: State,
}

/// How far a session over HTTP is.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing was sent, not even the head of the response.
    Begin(Box<Begin>),
    /// The first message of the stream was sent.
    Open,
    /// The answer to a long poll is gathered.
    Poll(Box<Poll>),
    /// The whole answer was sent.
    Done,
}

/// A session whose response has not begun.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) opening: Opening,
    /// What it is sent first, once it is admitted, and whether its ticket let it in.
    pub(crate) welcome: Option<(Bytes, bool)>,
    /// Its subscriptions are being registered, and what it missed is counted.
    pub(crate) is_subscribing: bool,
}

/// A long poll that was not answered yet.
#[derive(Debug)]
pub(crate) struct Poll {
    /// The origin of the page that may read the answer.
    pub(crate) origin: Option<Box<str>>,
    /// When it is answered in any case, in ms.
    pub(crate) until: u64,
    /// That moment has come.
    pub(crate) is_due: bool,
    /// It is listed to be answered.
    pub(crate) is_listed: bool,
    /// Whether it is sent what it missed; none: it asked for none.
    pub(crate) replayed: Option<Result<usize, NotRecovered>>,
    pub(crate) refused: Vec<Refused>,
    /// As in [`Begin`], for a client that begins anew.
    pub(crate) welcome: Option<(Bytes, bool)>,
    messages: Vec<u8>,
    /// Publications among them.
    publications: usize,
    /// The cursor of a client that was sent them, if the last one has one.
    cursor: Option<Cursor>,
    /// What follows is left to the next poll.
    is_full: bool,
    /// Where the memory of the messages is counted.
    outboxes: Arc<Outboxes>,
    counted: usize,
}

impl EventStream {
    /// A session that begins with this request.
    pub(crate) fn new(opening: Opening) -> Self {
        Self {
            format: match opening.kind {
                Kind::Stream(format) => format,
                Kind::Poll { .. } => Format::Lines,
            },
            is_plain: opening.is_plain,
            ticket: match opening.is_plain {
                true => TicketState::Never,
                false => TicketState::Due,
            },
            stray: 0,
            state: State::Begin(Box::new(Begin {
                opening,
                welcome: None,
                is_subscribing: false,
            })),
        }
    }

    /// Bytes that are kept of its client's request.
    pub(crate) fn kept_bytes(&self) -> usize {
        match &self.state {
            State::Begin(begin) => begin.opening.bytes,
            State::Open | State::Poll(_) | State::Done => 0,
        }
    }

    /// Whether it is answered once.
    pub(crate) fn is_poll(&self) -> bool {
        match &self.state {
            State::Begin(begin) => matches!(begin.opening.kind, Kind::Poll { .. }),
            State::Poll(_) => true,
            State::Open | State::Done => false,
        }
    }

    /// The long poll, if it is one that waits.
    pub(crate) fn poll_mut(&mut self) -> Option<&mut Poll> {
        match &mut self.state {
            State::Poll(poll) => Some(poll),
            State::Begin(_) | State::Open | State::Done => None,
        }
    }

    /// Appends a message with a type, framed. `cursor`: of a client that was sent it.
    pub(crate) fn put_event(&self, out: &mut Vec<u8>, message: &[u8], cursor: Option<Cursor>) {
        match &self.state {
            State::Open => put_event(out, self.format, message, cursor),
            State::Poll(_) => put_message(out, &[message]),
            // Nothing is sent before the first message, which says all that it would, and nothing
            // after the last one.
            State::Begin(_) | State::Done => {}
        }
    }

    /// Appends the end: the last message, or a response that says the same where none has begun.
    pub(crate) fn put_close(&self, out: &mut Vec<u8>, code: u16, reason: &str, random: u64) {
        let origin = match &self.state {
            State::Begin(begin) => begin.opening.origin.as_deref(),
            State::Poll(poll) => poll.origin.as_deref(),
            State::Open => return self.put_last(out, code, reason, random),
            State::Done => return,
        };
        let advice = Advice::of(code);
        if self.is_plain && matches!(advice, Advice::Soon | Advice::Later) {
            // A browser's EventSource never comes back after another status.
            self.head(origin, None).put(out);
            self.put_last(out, code, reason, random);
        } else {
            put_refusal(out, (code, reason), origin, random);
        }
    }

    fn put_last(&self, out: &mut Vec<u8>, code: u16, reason: &str, random: u64) {
        if self.format == Format::Events {
            let (_, within) = stream::split_reason(reason);
            put_retry(out, retry_ms(within, Advice::of(code), random));
        }
        put_event(out, self.format, &stream::close(code, reason), None);
    }

    /// The head of a stream.
    pub(crate) fn head<'a>(&self, origin: Option<&'a str>, cursor: Option<Cursor>) -> Head<'a> {
        Head {
            status: 200,
            content_type: self.format.content_type(),
            length: None,
            origin,
            cursor,
            retry_ms: None,
        }
    }
}

impl Poll {
    /// One that is answered at `until` at the latest, in ms.
    pub(crate) fn new(
        origin: Option<Box<str>>,
        until: u64,
        replayed: Option<Result<usize, NotRecovered>>,
        refused: Vec<Refused>,
        outboxes: &Arc<Outboxes>,
    ) -> Self {
        Self {
            origin,
            until,
            is_due: false,
            is_listed: false,
            replayed,
            refused,
            welcome: None,
            messages: Vec::new(),
            publications: 0,
            cursor: None,
            is_full: false,
            outboxes: Arc::clone(outboxes),
            counted: 0,
        }
    }

    /// Adds a publication, in parts, with the cursor of a client that was sent it. What does not fit
    /// is left to the next poll, together with all that follows.
    pub(crate) fn publish(&mut self, parts: [&[u8]; 2], cursor: Option<Cursor>) {
        let bytes = self.messages.len() + parts[0].len() + parts[1].len();
        let is_much = self.publications >= MESSAGES || bytes > BYTES;
        // The answer ends where the next one can begin.
        self.is_full |= is_much && self.cursor.is_some();
        if self.is_full {
            return;
        }
        put_message(&mut self.messages, &parts);
        self.publications += 1;
        self.cursor = cursor;
        self.count();
    }

    /// Adds messages that [`EventStream::put_event`] framed.
    pub(crate) fn add(&mut self, messages: &[u8]) {
        self.messages.extend_from_slice(messages);
        self.count();
    }

    /// The messages so far.
    pub(crate) fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// Publications among them.
    pub(crate) fn publications(&self) -> u64 {
        self.publications as u64
    }

    /// Where the next poll begins, if this one ends before the session does.
    pub(crate) fn end(&self) -> Option<Cursor> {
        self.cursor.filter(|_| self.is_full)
    }

    /// Whether there is something to answer with.
    pub(crate) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether it takes no more publications.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    fn count(&mut self) {
        let holds = self.messages.capacity();
        self.outboxes.add(holds - self.counted);
        self.counted = holds;
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.outboxes.subtract(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll() -> Poll {
        Poll::new(None, 0, None, Vec::new(), &Arc::default())
    }

    fn cursor(position: usize) -> Option<Cursor> {
        format!("k3f9ab-{position}-aB3x").parse().ok()
    }

    #[test]
    fn an_answer_ends_where_the_next_one_can_begin() {
        let mut all = poll();
        for position in 0..2_000 {
            // Every second message is one of two that no cursor tells apart.
            let cursor = cursor(position).filter(|_| position % 2 == 1);
            all.publish([b"{}", b""], cursor);
        }
        assert_eq!(all.publications(), 1_000);
        assert_eq!(all.end(), cursor(999));
        let mut odd = poll();
        odd.publish([b"{}", b""], cursor(0));
        for position in 1..1_500 {
            odd.publish([b"{}", b""], cursor(position).filter(|_| position == 1_200));
        }
        assert_eq!((odd.publications(), odd.end()), (1_201, cursor(1_200)));
    }

    #[test]
    fn a_message_of_any_length_is_answered() {
        let long = vec![b'x'; 2 * BYTES];
        let mut poll = poll();
        poll.publish([&long, b""], cursor(0));
        assert!(!poll.is_full());
        poll.publish([b"{}", b""], cursor(1));
        assert!(poll.is_full());
        assert_eq!((poll.publications(), poll.end()), (1, cursor(0)));
        let outboxes = Arc::clone(&poll.outboxes);
        assert!(outboxes.bytes() >= long.len());
        drop(poll);
        assert_eq!(outboxes.bytes(), 0);
    }
}
