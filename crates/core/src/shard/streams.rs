//! Sessions over HTTP: event streams, and long polls.
//!
//! A stream is a session whose client has said everything at once. It is admitted as any other, its
//! subscriptions are registered, and it is sent what it missed, as after a `resume`
//! ([`crate::shard::resume`]); the head of the response goes out with its first message. A long poll
//! is the same, but what it is sent is gathered, and the connection ends with it.

mod polls;

use std::sync::Arc;

use bytes::Bytes;
use ht_frame::Input;
use ht_proto::client::RequestId;
use ht_proto::close::{Advice, Close};
use ht_proto::cursor::Cursor;
use ht_proto::server::{NotRecovered, Refused, Resumption};
use ht_proto::stream::{self, Format, Opened, Start, put_event, put_quiet, put_retry, retry_ms};

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::keepalive::Keepalive;
use crate::peer::Peer;
use crate::session::Stage;
use crate::sessions::Sessions;
use crate::shard::Shard;
use crate::shard::behind::{Behind, Paused};
use crate::shard::messages::Flow;
use crate::shard::replay::Registering;
use crate::shard::streams::polls::Polls;
use crate::stream::Kind;
use crate::timer::Queue;
use crate::transport::{Begin, Poll, State};
use crate::world::{Turn, World};

/// Interval of the heartbeats of a stream, in ms: shorter than what proxies accept of silence.
const HEARTBEAT: u64 = 20_000;

/// Bytes that a client may send after its request, which mean nothing. Some send a line break.
const STRAY: u16 = 1_024;

/// Within this span clients come back whose stream is as old as one may be, in ms.
const RENEWED: Close = Close::MAX_AGE.within(2_000);

/// What a client is told when its stream begins: whether it is sent what it missed, if it asked for
/// that, the cursor that it keeps, and the subscriptions that were refused.
type Begun = (
    Option<Result<usize, NotRecovered>>,
    Option<Cursor>,
    Vec<Refused>,
);

/// The sessions over HTTP.
#[derive(Debug)]
pub(super) struct Streams {
    /// The admitted ones, by when they were.
    open: Queue,
    /// Those that are streams, by their last heartbeat.
    heartbeats: Keepalive,
    polls: Polls,
}

impl Streams {
    /// A stream ends after `max_age` in ms; zero: never.
    pub(super) const fn new(max_age: u64) -> Self {
        Self {
            open: Queue::new(max_age),
            heartbeats: Keepalive::new(HEARTBEAT, 0),
            polls: Polls::new(),
        }
    }

    /// Changes that, also of open ones.
    pub(super) const fn set_max_age(&mut self, max_age: u64) {
        self.open.set_limit(max_age);
    }

    /// The admitted session that has been here for longest.
    pub(super) fn first(&self) -> Option<u32> {
        self.open.first()
    }

    /// When [`Shard::tick_streams`] is due.
    pub(super) fn deadline<P>(&mut self, sessions: &mut Sessions<P>) -> Option<u64> {
        let oldest = self.open.deadline(sessions);
        let moments = oldest.into_iter().chain(self.heartbeats.deadline());
        moments.chain(self.polls.deadline()).min()
    }
}

impl<P: Peer> Shard<P> {
    /// Whether a session is over HTTP.
    #[inline]
    pub(super) fn is_stream(&self, id: ConnectionId) -> bool {
        let session = self.sessions.get(id.index());
        session.is_some_and(|session| session.transport.stream().is_some())
    }

    /// A session over HTTP is admitted.
    pub(super) fn enter_stream(&mut self, id: ConnectionId, now: u64) {
        self.streams.open.push(&mut self.sessions, id.0, now);
        if self.is_poll(id) {
            self.stats.polls += 1;
        } else {
            self.stats.streams += 1;
            self.streams.heartbeats.enter(id.0, now);
        }
    }

    /// A session over HTTP is not admitted any more.
    pub(super) fn leave_stream(&mut self, id: ConnectionId) {
        self.streams.open.remove(&mut self.sessions, id.0);
        if self.is_poll(id) {
            self.stats.polls -= 1;
            self.forget_poll(id);
        } else {
            self.stats.streams -= 1;
            self.streams.heartbeats.leave(id.0);
        }
    }

    fn is_poll(&self, id: ConnectionId) -> bool {
        let stream = self.sessions[id.index()].transport.stream();
        stream.is_some_and(|stream| stream.is_poll())
    }

    fn begin_mut(&mut self, id: ConnectionId) -> Option<&mut Begin> {
        let stream = self.sessions[id.index()].transport.stream_mut()?;
        match &mut stream.state {
            State::Begin(begin) => Some(begin),
            State::Open | State::Poll(_) | State::Done => None,
        }
    }

    /// A session is admitted: it begins, with this message. `resumed`: its ticket let it in.
    pub(super) fn greet_stream(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        resumed: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let welcome = Bytes::copy_from_slice(message);
        if let Some(begin) = self.begin_mut(id) {
            begin.welcome = Some((welcome, resumed));
        }
        self.subscribe_stream(id, turn);
        self.settle(self.sessions.key(id.0), false, turn);
    }

    /// A session that was held goes on.
    pub(super) fn stream_is_live(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        self.subscribe_stream(id, turn);
        self.list_poll(self.sessions.key(id.0));
    }

    /// Registers the subscriptions of a session that was admitted, unless that has begun. Nothing is
    /// sent before it is known what the client missed.
    fn subscribe_stream(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        if self.sessions[id.index()].is_held() {
            // It goes on when it is live.
            return;
        }
        let begin = self.begin_mut(id);
        let Some(begin) = begin.filter(|begin| begin.welcome.is_some() && !begin.is_subscribing)
        else {
            return;
        };
        let cursors: Vec<_> = begin.opening.request.cursors().collect();
        if self.waits_for_log(id, cursors.into_iter(), turn.now) {
            return;
        }
        let Some(begin) = self.begin_mut(id) else {
            return;
        };
        begin.is_subscribing = true;
        begin.opening.bytes = 0;
        let request = std::mem::take(&mut begin.opening.request);
        let cursor = match request.start {
            Start::After(cursor) => Some(cursor),
            Start::Now | Start::Unknown => None,
        };
        let (is_resume, name) = (true, RequestId::from(0));
        let key = self.begin_replay(id, name, cursor, (false, is_resume), turn.now);
        if request.start == Start::Unknown
            && let Some(replay) = self.holds.replay_mut(key)
        {
            replay.is_new = false;
            replay.fail(NotRecovered::Epoch);
        }
        let Stage::Open { grants, .. } = &self.sessions[id.index()].stage else {
            return;
        };
        let registering = Registering {
            rest: request.subscriptions.into_iter(),
            cursor,
            grants: Arc::clone(grants),
        };
        if let Flow::Pause(paused) = self.register(id, registering, turn) {
            self.keep_behind(Behind::paused(key, paused));
        }
    }

    /// Ignores what a client sends after its request, and continues with what is left of it.
    pub(super) fn on_stray(
        &mut self,
        id: ConnectionId,
        input: &mut Input<'_>,
        paused: Option<Paused>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Option<Paused> {
        let bytes = u16::try_from(input.remaining()).unwrap_or(u16::MAX);
        input.skip();
        let stream = self.sessions[id.index()].transport.stream_mut()?;
        stream.stray = stream.stray.saturating_add(bytes);
        if stream.stray > STRAY {
            self.stats.violations += 1;
            self.remove(id, turn);
            return None;
        }
        match self.go_on(id, paused?, &mut Vec::new(), turn) {
            Flow::Pause(paused) => Some(paused),
            Flow::Continue | Flow::Stop(_) | Flow::Ask(_) | Flow::TurnAway => None,
        }
    }

    /// It is known what a client missed: its stream begins.
    pub(super) fn open_stream(
        &mut self,
        id: ConnectionId,
        begun: Begun,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let Some(begin) = self.begin_mut(id) else {
            return;
        };
        if let Kind::Poll { wait_ms } = begin.opening.kind {
            return self.begin_poll(id, begun, turn.now.saturating_add(wait_ms));
        }
        let (replayed, cursor, refused) = begun;
        let resumption = match cursor {
            Some(cursor) => self.resumption_now(id, cursor, turn),
            None => Resumption::default(),
        };
        let session = &mut self.sessions[id.index()];
        let (connection, random) = (session.id, session.random());
        let Some(stream) = session.transport.stream_mut() else {
            return;
        };
        let State::Begin(begin) = std::mem::replace(&mut stream.state, State::Open) else {
            return;
        };
        let (welcome, resumed) = begin.welcome.unwrap_or_default();
        let opened = Opened {
            welcome: &welcome,
            connection: &connection,
            replayed,
            cursor: cursor.filter(|_| stream.format == Format::Lines),
            resumed,
            resumption: &resumption,
            refused: &refused,
        };
        let mut out = Vec::with_capacity(welcome.len() + 1_024);
        stream
            .head(begin.opening.origin.as_deref(), cursor)
            .put(&mut out);
        if stream.format == Format::Events {
            // A node that is killed says nothing any more: this spreads its clients.
            put_retry(&mut out, retry_ms(None, Advice::Soon, random));
        }
        put_event(&mut out, stream.format, &opened.to_json(), cursor);
        self.budget.spend(cost::write(out.len()));
        self.send(id, &out, turn);
    }

    /// Sends framed messages that are not publications; those of a long poll are gathered.
    pub(super) fn send_or_gather(
        &mut self,
        id: ConnectionId,
        messages: &[u8],
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        if let Some(poll) = self.poll_mut(id) {
            poll.add(messages);
            self.list_poll(self.sessions.key(id.0));
        } else if !messages.is_empty() {
            self.send(id, messages, turn);
        }
    }

    /// Does one thing that is due for sessions over HTTP. Returns whether there was one.
    pub(super) fn tick_streams(&mut self, turn: &mut Turn<'_, impl World<P>>) -> bool {
        if let Some(key) = self.streams.polls.next(turn.now) {
            self.poll_is_due(key, turn);
        } else if let Some(id) = self.streams.open.expired(&mut self.sessions, turn.now) {
            self.leave(ConnectionId(id), RENEWED, turn);
        } else if let Some(id) = self.streams.heartbeats.silent(turn.now) {
            self.streams.heartbeats.heard(id, turn.now);
            self.beat(ConnectionId(id), turn);
        } else {
            return false;
        }
        true
    }

    /// Sends a heartbeat, which moves the client's cursor, or ends a stream that is old: proxies would
    /// end it in the middle of an event, and many at once.
    fn beat(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let max_age = self.settings.streams.max_age;
        let session = &self.sessions[id.index()];
        let early = session.random() % (max_age / 10 + 1);
        let age = turn.now.saturating_sub(session.link.since);
        if max_age != 0 && age >= max_age - early {
            return self.leave(id, RENEWED, turn);
        }
        let is_open = session
            .transport
            .stream()
            .is_some_and(|stream| matches!(stream.state, State::Open));
        if !is_open || session.waiting() > 0 {
            // It is sent one after what is queued for it.
            return;
        }
        let cursor = self.cursor(id);
        let resumption = self.resumption_of_ping(id, turn);
        let mut out = std::mem::take(&mut self.scratch);
        if let Some(stream) = self.sessions[id.index()].transport.stream() {
            if stream.is_plain && stream.format == Format::Events {
                put_quiet(&mut out, cursor);
            } else {
                let told = cursor.filter(|_| stream.format == Format::Lines);
                let ping = stream::ping(told, &resumption);
                put_event(&mut out, stream.format, &ping, cursor);
            }
        }
        self.budget.spend(cost::write(out.len()));
        self.send(id, &out, turn);
        self.recycle(out);
    }

    fn poll_mut(&mut self, id: ConnectionId) -> Option<&mut Poll> {
        let session = self.sessions.get_mut(id.index())?;
        session.transport.stream_mut()?.poll_mut()
    }
}
