//! A shard and what its thread does in a turn, as the server's own: sockets, inbox, deadlines.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ht_control::backlog::{Backlog, Charge};
use ht_core::budget::Phase;
use ht_core::publication::Publication;
use ht_core::shard::{Admission, SessionKey, Settings, Shard, Wave, Welcome};
use ht_core::world::Turn;
use ht_proto::close::Close;

use crate::hasher;
use crate::outside::Outside;
use crate::wire::Socket;

/// Reads of one connection before the others have their turn.
const READS: usize = 8;

/// Bytes that are read at once: few, so that messages are often read in parts.
const READ: usize = 512;

/// Writes of a fan-out before the others have their turn.
const WRITES: usize = 256;

/// Batches that are taken before the others have their turn.
const INPUTS: usize = 256;

/// What a shard may be told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Publications, and what they are charged with.
    Publish(Arc<[Publication]>, usize),
    Close {
        count: usize,
        close: Close,
        /// When it was said.
        at: u64,
    },
    CloseMissed {
        number: u32,
        count: usize,
        close: Close,
    },
    /// Everything is closed, and when that was said.
    Drain(Close, u64),
}

impl Charge for Input {
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Publish(_, bytes) => Some(*bytes),
            Self::Close { .. } | Self::CloseMissed { .. } | Self::Drain(..) => None,
        }
    }
}

/// A shard, its inbox and its sockets.
#[derive(Debug)]
pub(crate) struct SimShard {
    pub(crate) shard: Shard<Socket>,
    pub(crate) outside: Outside,
    pub(crate) inbox: Backlog<Input>,
    pub(crate) newcomers: VecDeque<(Socket, Welcome)>,
    ready: VecDeque<SessionKey>,
    pub(crate) draining: bool,
    /// When its next turn is planned.
    pub(crate) awake_at: Option<u64>,
    /// It does nothing until then.
    pub(crate) stalled_until: u64,
    /// The gap up to which connections that open now are not concerned.
    pub(crate) gap: u32,
    /// What the last turn did for a gap.
    pub(crate) wave: Option<(u32, Wave)>,
    /// What opened in the last turn: the connection and its id.
    pub(crate) opened: Vec<(usize, SessionKey)>,
    /// What the last turn closed before the node leaves: the connection and when that was said.
    pub(crate) left: Vec<(usize, u64)>,
    /// A planted bug: what closes connections overtakes what was published before.
    is_hasty: bool,
}

impl SimShard {
    pub(crate) fn new(
        settings: Settings,
        outside: Outside,
        inbox_bytes: usize,
        is_hasty: bool,
    ) -> Self {
        Self {
            shard: Shard::new(settings, hasher()),
            outside,
            inbox: Backlog::new(inbox_bytes),
            newcomers: VecDeque::new(),
            ready: VecDeque::new(),
            draining: false,
            awake_at: None,
            stalled_until: 0,
            gap: 0,
            wave: None,
            opened: Vec::new(),
            left: Vec::new(),
            is_hasty,
        }
    }

    /// Does a part of everything that is due.
    pub(crate) fn turn(&mut self, now: u64) {
        self.shard.begin(Phase::Sockets);
        self.serve_sockets(now);
        self.shard.begin(Phase::Resume);
        while self.shard.is_behind() && !self.shard.budget().is_spent() {
            if let Some(id) = self.shard.resume(&mut Turn::new(now, &mut self.outside)) {
                self.queue(id);
            }
        }
        self.shard.begin(Phase::Newcomers);
        self.take_newcomers(now);
        self.shard.begin(Phase::Deliveries);
        self.take_inputs(now);
        let turn = &mut Turn::new(now, &mut self.outside);
        self.shard.fan_out(WRITES, turn);
        self.shard.begin(Phase::CleanUp);
        self.shard.clean_up(turn);
        self.shard.begin(Phase::Tick);
        self.shard.tick(turn);
    }

    /// When the next turn is to be.
    pub(crate) fn due(&mut self, now: u64) -> Option<u64> {
        let has_input = !self.inbox.is_empty() || !self.newcomers.is_empty();
        if self.shard.has_work() || !self.ready.is_empty() || has_input {
            return Some(now + 1);
        }
        self.shard.deadline().map(|at| at.max(now) + 1)
    }

    /// The socket of a connection is ready for something. False: there is no such connection.
    pub(crate) fn notify(
        &mut self,
        id: SessionKey,
        number: usize,
        note: impl FnOnce(&mut Socket),
    ) -> bool {
        let Some(peer) = self.shard.peer(id).filter(|peer| peer.number == number) else {
            return false;
        };
        note(peer);
        self.queue(id);
        true
    }

    fn queue(&mut self, id: SessionKey) {
        if let Some(peer) = self.shard.peer(id)
            && !std::mem::replace(&mut peer.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    fn serve_sockets(&mut self, now: u64) {
        for _ in 0..self.ready.len() {
            if self.shard.budget().is_spent() {
                return;
            }
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(peer) = self.shard.peer(id) else {
                continue;
            };
            peer.queued = false;
            if std::mem::take(&mut peer.writable) {
                let turn = &mut Turn::new(now, &mut self.outside);
                self.shard.writable(id, turn);
            }
            self.read(id, now);
        }
    }

    fn read(&mut self, id: SessionKey, now: u64) {
        for _ in 0..READS {
            let may_read = self.shard.may_read(id);
            let Some(peer) = self.shard.peer(id) else {
                return;
            };
            if !peer.unread || !may_read {
                return;
            }
            let mut wire = peer.wire.borrow_mut();
            let len = wire.to_server.len().min(READ);
            let mut bytes: Vec<_> = wire.to_server.drain(..len).collect();
            let (is_cut, is_empty) = (wire.is_cut, wire.to_server.is_empty());
            drop(wire);
            peer.unread = is_cut || !is_empty;
            if bytes.is_empty() {
                if is_cut {
                    self.shard.gone(id, &mut Turn::new(now, &mut self.outside));
                }
                return;
            }
            // What was published before the client wrote is delivered before it is answered.
            self.take_inputs(now);
            let turn = &mut Turn::new(now, &mut self.outside);
            self.shard.receive(id, &mut bytes, turn);
            if self.shard.budget().is_spent() {
                break;
            }
        }
        if self.shard.peer(id).is_some_and(|peer| peer.unread) {
            self.queue(id);
        }
    }

    fn take_newcomers(&mut self, now: u64) {
        while let Some((mut socket, welcome)) = self.newcomers.pop_front() {
            // Who comes while everything is closed is let go.
            if self.draining {
                continue;
            }
            let number = socket.number;
            if !matches!(welcome.admission, Admission::Admitted(_)) {
                socket.permit = None;
            }
            self.shard.set_gap(self.gap);
            let turn = &mut Turn::new(now, &mut self.outside);
            let id = self.shard.open(socket, welcome, turn);
            self.opened.push((number, id));
        }
    }

    fn take_inputs(&mut self, now: u64) {
        while self.shard.backlog() < INPUTS {
            let Some(input) = self.next_input() else {
                return;
            };
            match input {
                Input::Publish(batch, _) => self.shard.publish(batch),
                Input::Close { count, close, at } => {
                    let before = self.outside.connected.clone();
                    let turn = &mut Turn::new(now, &mut self.outside);
                    self.shard.close_some(count, close, turn);
                    self.note_left(&before, at);
                }
                Input::CloseMissed {
                    number,
                    count,
                    close,
                } => {
                    let turn = &mut Turn::new(now, &mut self.outside);
                    let wave = self.shard.close_missed(number, count, close, turn);
                    self.wave = Some((number, wave));
                }
                Input::Drain(close, at) => {
                    self.take_newcomers(now);
                    self.draining = true;
                    self.shard.begin_unlimited();
                    let before = self.outside.connected.clone();
                    let turn = &mut Turn::new(now, &mut self.outside);
                    self.shard.fan_out(usize::MAX, turn);
                    self.shard.close_all(close, turn);
                    self.note_left(&before, at);
                }
            }
        }
    }

    fn next_input(&mut self) -> Option<Input> {
        if !self.is_hasty {
            return self.inbox.pop();
        }
        let mut inputs: Vec<_> = std::iter::from_fn(|| self.inbox.pop()).collect();
        inputs.sort_by_key(|input| !matches!(input, Input::Close { .. } | Input::Drain(..)));
        let mut inputs = inputs.into_iter();
        let first = inputs.next();
        for input in inputs {
            assert!(self.inbox.push(input).is_empty(), "they had room before");
        }
        first
    }

    /// Notes which connections are not connected any more.
    fn note_left(&mut self, before: &BTreeSet<usize>, at: u64) {
        let left = before.difference(&self.outside.connected);
        self.left.extend(left.map(|&number| (number, at)));
    }
}
