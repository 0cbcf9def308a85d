//! Long polls: what their clients are to be sent is gathered, and answered at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ht_proto::server::{NotRecovered, Resumption};
use ht_proto::stream::{Head, Opened, PollAnswer};

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::session::Broken;
use crate::shard::Shard;
use crate::shard::hold::State as Held;
use crate::shard::streams::Begun;
use crate::timer::NONE;
use crate::transport::{Poll, State};
use crate::world::{Turn, World};

/// The long polls that wait.
#[derive(Debug)]
pub(super) struct Polls {
    /// By when they are answered in any case.
    until: BTreeSet<(u64, SessionKey)>,
    /// Those that have something to answer with.
    ready: VecDeque<SessionKey>,
}

impl Polls {
    pub(super) const fn new() -> Self {
        Self {
            until: BTreeSet::new(),
            ready: VecDeque::new(),
        }
    }

    /// When the next one is to be answered.
    pub(super) fn deadline(&self) -> Option<u64> {
        match self.ready.is_empty() {
            true => self.until.first().map(|(until, _)| *until),
            false => Some(0),
        }
    }

    /// The next one that is to be answered.
    pub(super) fn next(&mut self, now: u64) -> Option<SessionKey> {
        let ready = self.ready.pop_front();
        ready.or_else(|| {
            let (until, key) = self.until.first().copied()?;
            (until <= now).then(|| {
                self.until.remove(&(until, key));
                key
            })
        })
    }
}

impl<P: Peer> Shard<P> {
    /// It is known what the client of a long poll missed: what it is sent is gathered from now on.
    pub(super) fn begin_poll(&mut self, id: ConnectionId, begun: Begun, until: u64) {
        let (replayed, _, refused) = begun;
        let key = self.sessions.key(id.0);
        let outboxes = Arc::clone(self.settings.bounds().all);
        let Some(stream) = self.sessions[id.index()].transport.stream_mut() else {
            return;
        };
        let State::Begin(begin) = std::mem::replace(&mut stream.state, State::Done) else {
            return;
        };
        let origin = begin.opening.origin;
        let mut poll = Poll::new(origin, until, replayed, refused, &outboxes);
        // Who begins has to know from where on, and who cannot go on has to fetch.
        let at_once = match replayed {
            Some(Ok(_) | Err(NotRecovered::Off)) => false,
            None | Some(Err(_)) => true,
        };
        poll.welcome = begin.welcome.filter(|_| at_once);
        poll.is_due = at_once;
        stream.state = State::Poll(Box::new(poll));
        self.streams.polls.until.insert((until, key));
        self.list_poll(key);
    }

    /// A long poll is not waited for any more.
    pub(super) fn forget_poll(&mut self, id: ConnectionId) {
        let key = self.sessions.key(id.0);
        if let Some(poll) = self.poll_mut(id) {
            let until = poll.until;
            self.streams.polls.until.remove(&(until, key));
        }
    }

    /// Whether a session is a long poll that takes no more publications.
    pub(in crate::shard) fn is_full_poll(&self, id: ConnectionId) -> bool {
        let stream = self.sessions.get(id.index());
        let stream = stream.and_then(|session| session.transport.stream());
        stream.is_some_and(|stream| match &stream.state {
            State::Poll(poll) => poll.is_full(),
            State::Begin(_) | State::Open | State::Done => false,
        })
    }

    /// Has a long poll answered at the end of the turn, if it has something to be answered with.
    pub(in crate::shard) fn list_poll(&mut self, key: SessionKey) {
        let id = ConnectionId(key.slot);
        if let Some(poll) = self.poll_mut(id)
            && !poll.is_listed
            && (poll.has_messages() || poll.is_due)
        {
            poll.is_listed = true;
            self.streams.polls.ready.push_back(key);
        }
    }

    /// Answers a long poll, unless it is being sent what its client missed.
    pub(super) fn poll_is_due(&mut self, key: SessionKey, turn: &mut Turn<'_, impl World<P>>) {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_open(*id)) else {
            return;
        };
        let is_catching_up = self.holds.state(key) == Held::CatchingUp;
        let pending = self.sessions[id.index()].pending;
        let is_matching = !pending.is_closed() && pending.first != NONE;
        let Some(poll) = self.poll_mut(id) else {
            return;
        };
        poll.is_listed = false;
        if !poll.is_full() && (is_catching_up || is_matching) {
            // It is listed again when it is live, or when the rest is matched.
            poll.is_due = true;
            return;
        }
        self.answer_poll(id, turn);
    }

    /// Answers a long poll that is about to end, if it has something to be answered with. Returns
    /// whether it had.
    pub(in crate::shard) fn answer_gathered(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let has_messages = self.poll_mut(id).is_some_and(|poll| poll.has_messages());
        let key = self.sessions.key(id.0);
        // Of one that is being sent what its client missed the cursor is not known.
        if !has_messages || self.holds.state(key) != Held::Live {
            return false;
        }
        self.answer_poll(id, turn);
        true
    }

    fn answer_poll(&mut self, id: ConnectionId, turn: &mut Turn<'_, impl World<P>>) {
        let end = self.poll_mut(id).and_then(|poll| poll.end());
        let cursor = end.or_else(|| self.cursor(id));
        let resumption = match cursor {
            Some(cursor) => self.resumption_now(id, cursor, turn),
            None => Resumption::default(),
        };
        self.retire(id, true, turn);
        let session = &mut self.sessions[id.index()];
        let connection = session.id;
        let Some(stream) = session.transport.stream_mut() else {
            return;
        };
        let State::Poll(poll) = std::mem::replace(&mut stream.state, State::Done) else {
            return;
        };
        let none = Resumption::default();
        let opened = poll.welcome.as_ref().map(|(welcome, resumed)| Opened {
            welcome,
            connection: &connection,
            replayed: None,
            cursor: None,
            resumed: *resumed,
            resumption: &none,
            refused: &[],
        });
        let answer = PollAnswer {
            cursor,
            replayed: poll.replayed,
            messages: poll.messages(),
            refused: &poll.refused,
            resumption: &resumption,
            opened: opened.as_ref(),
        };
        let body = answer.to_json();
        let head = Head {
            status: 200,
            content_type: "application/json",
            length: Some(body.len()),
            origin: poll.origin.as_deref(),
            cursor,
            retry_ms: None,
        };
        let mut out = Vec::with_capacity(body.len() + 512);
        head.put(&mut out);
        out.extend_from_slice(&body);
        self.send_answer(id, &out, poll.publications(), turn);
        self.shut_down_if_done(id);
    }

    /// Sends the answer to a long poll.
    fn send_answer(
        &mut self,
        id: ConnectionId,
        answer: &[u8],
        publications: u64,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        self.budget.spend(cost::write(answer.len()));
        self.stats.sent_bytes += answer.len() as u64;
        let bounds = self.settings.bounds();
        let sent = self.sessions[id.index()].send([answer], None, publications, &bounds);
        match sent {
            Ok(true) => self.stats.deliveries += publications,
            Ok(false) => {
                self.stats.queued += publications;
                self.waits(id, turn);
            }
            Err(Broken::Gone | Broken::Slow) => {
                self.stats.undelivered += publications;
                self.remove(id, turn);
            }
        }
    }
}
