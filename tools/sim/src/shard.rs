//! A shard with the environment of its thread. A turn runs the node's own code.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ht_control::backlog::{Backlog, Charge};
use ht_control::input::Input;
use ht_control::turn::{Around, Arrival, Entry, Newcomer, ShardLoop, TurnLimits};
use ht_core::command::Command;
use ht_core::recheck::Recheck;
use ht_core::shard::{Admission, SessionKey, Settings, Shard, Wave, Welcome};
use ht_proto::entry::TenantId;
use ht_proto::token::Token;

use crate::api::Want;
use crate::hasher;
use crate::outside::Outside;
use crate::wire::{self, Socket};

/// Bytes that are read at once: few, so that messages are often read in parts.
const READ: usize = 512;

/// A message to a shard; a wave has the number of its gap.
pub(crate) type SimInput = Input<(), u32>;

/// An item in the queue of connections: a beginning connection with its socket, or a response.
pub(crate) type SimArrival = Arrival<(Socket, Entry), Welcome>;

/// A shard, its inbox and its sockets.
#[derive(Debug)]
pub(crate) struct SimShard {
    pub(crate) turns: ShardLoop<Socket>,
    pub(crate) around: SimAround,
    /// When its next turn is planned.
    pub(crate) awake_at: Option<u64>,
    /// It does nothing until then.
    pub(crate) stalled_until: u64,
    /// The shards of this node were told to close everything.
    pub(crate) is_last: bool,
}

/// The environment of a shard.
#[derive(Debug)]
pub(crate) struct SimAround {
    now: u64,
    pub(crate) outside: Outside,
    inbox: Backlog<Told>,
    /// Everything that is left in it was passed over.
    has_passed_over: bool,
    /// When the last input was sent.
    told_at: u64,
    pub(crate) newcomers: VecDeque<SimArrival>,
    /// The gap up to which connections that open now are not concerned.
    pub(crate) gap: u32,
    /// The last gap of the shard.
    pub(crate) own_gap: u32,
    /// What the last turn did for a gap.
    pub(crate) wave: Option<(u32, Wave)>,
    /// Connections opened in the last turn: the connection and its key.
    pub(crate) opened: Vec<(usize, SessionKey)>,
    /// Clients to call the API about since the last turn: the connection and its session.
    pub(crate) asked: Vec<(usize, SessionKey)>,
    /// What the shard wants of the API since the last turn.
    pub(crate) wants: Vec<Want>,
    /// A planted bug: these inputs overtake earlier ones.
    haste: Option<Haste>,
}

/// Inputs that a planted bug has overtake others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Closes of a node that shuts down.
    Closes,
    Commands,
}

/// An input and when it was sent.
#[derive(Debug)]
struct Told {
    input: SimInput,
    at: u64,
}

impl Told {
    /// Whether connections are closed because the node shuts down.
    fn is_leaving(&self) -> bool {
        matches!(self.input, Input::Close { .. } | Input::Drain(_))
    }
}

impl Charge for Told {
    fn bytes(&self) -> Option<usize> {
        self.input.bytes()
    }

    fn command_bytes(&self) -> Option<usize> {
        self.input.command_bytes()
    }

    fn tenant(&self) -> Option<TenantId> {
        self.input.tenant()
    }

    fn may_pass(&self) -> bool {
        self.input.may_pass()
    }
}

impl SimShard {
    pub(crate) fn new(
        settings: Settings,
        outside: Outside,
        inbox_bytes: usize,
        haste: Option<Haste>,
    ) -> Self {
        let limits = TurnLimits {
            read: READ,
            ..TurnLimits::default()
        };
        Self {
            turns: ShardLoop::new(Shard::new(settings, hasher()), limits),
            around: SimAround {
                now: 0,
                outside,
                inbox: Backlog::new(inbox_bytes),
                has_passed_over: false,
                told_at: 0,
                newcomers: VecDeque::new(),
                gap: 0,
                own_gap: 0,
                wave: None,
                opened: Vec::new(),
                asked: Vec::new(),
                wants: Vec::new(),
                haste,
            },
            awake_at: None,
            stalled_until: 0,
            is_last: false,
        }
    }

    /// Sends a message to the shard. Returns what it misses for it.
    pub(crate) fn tell(&mut self, input: SimInput, now: u64) -> Vec<SimInput> {
        self.around.has_passed_over = false;
        let missed = self.around.inbox.push(Told { input, at: now });
        missed.into_iter().map(|told| told.input).collect()
    }

    /// Sends a command to the shard. Returns commands that do not fit; `instead` is in their place.
    pub(crate) fn command(
        &mut self,
        command: Arc<Command>,
        instead: impl Fn(&Command) -> SimInput,
        at: u64,
    ) -> Vec<SimInput> {
        self.around.has_passed_over = false;
        let instead = |last: &Told| {
            let last = last.input.command().unwrap_or(&command);
            let input = instead(last);
            Told { input, at }
        };
        let input = Input::Command(Arc::clone(&command));
        let told = Told { input, at };
        let lost = self.around.inbox.push_command(told, instead);
        lost.into_iter().map(|told| told.input).collect()
    }

    /// Does a part of everything that is due.
    pub(crate) fn turn(&mut self, now: u64) {
        self.around.now = now;
        self.turns.turn(&mut self.around);
        for key in std::mem::take(&mut self.around.outside.turned_away) {
            if let Some(peer) = self.turns.shard.peer(key) {
                peer.permit = None;
            }
        }
    }

    /// When the next turn is to be.
    pub(crate) fn due(&mut self, now: u64) -> Option<u64> {
        let around = &self.around;
        let has_input = !around.inbox.is_empty() || !around.newcomers.is_empty();
        if self.turns.has_work() || has_input {
            return Some(now + 1);
        }
        self.turns.shard.deadline().map(|at| at.max(now) + 1)
    }

    /// The socket of a connection is ready for something. False: there is no such connection.
    pub(crate) fn notify(
        &mut self,
        key: SessionKey,
        number: usize,
        note: impl FnOnce(&mut Socket),
    ) -> bool {
        let peer = self.turns.shard.peer(key);
        peer.is_some_and(|peer| peer.number == number) && self.turns.notify(key, note)
    }
}

impl SimAround {
    /// The connections that hold permits: those in the queue, those that are to send a token, and
    /// those that are open.
    pub(crate) fn holders(&self) -> impl Iterator<Item = usize> {
        let Outside {
            connected,
            applicants,
            entering,
            ..
        } = &self.outside;
        let entering = entering.iter();
        let entering = entering.filter(|(_, wire)| !wire.borrow().is_released);
        let newcomers = self.newcomers.iter().filter_map(waiting);
        newcomers
            .chain(applicants.values().copied())
            .chain(entering.map(|(number, _)| *number))
            .chain(connected.iter().copied())
    }
}

impl SimAround {
    /// A client that is not admitted releases its permit.
    fn settle(&mut self, welcome: &Welcome, socket: &mut Socket) {
        if !matches!(welcome.admission, Admission::Admitted(_)) {
            socket.permit = None;
        } else if welcome.invalidated_at.is_some() {
            let wire = Rc::clone(&socket.wire);
            self.outside.entering.insert(socket.number, wire);
        }
    }
}

impl Around<Socket> for SimAround {
    type World = Outside;
    type Connection = (Socket, Entry);
    type Answer = Welcome;
    type Probe = ();
    type Wave = u32;

    fn now(&self) -> u64 {
        self.now
    }

    fn world(&mut self) -> &mut Outside {
        &mut self.outside
    }

    fn handed(&self) -> u64 {
        self.outside.interest.handed()
    }

    fn has_input(&self) -> bool {
        !self.inbox.is_empty()
    }

    fn next_input(
        &mut self,
        is_full: impl Fn(TenantId) -> bool,
        has_others: bool,
    ) -> Option<SimInput> {
        if let Some(haste) = self.haste {
            let mut inputs: Vec<_> = std::iter::from_fn(|| self.inbox.pop()).collect();
            inputs.sort_by_key(|told| match haste {
                Haste::Closes => !told.is_leaving(),
                Haste::Commands => told.input.command().is_none(),
            });
            for input in inputs {
                let missed = self.inbox.push(input);
                assert!(missed.is_empty(), "they had room before");
            }
        }
        let told = self.inbox.pop_unless(is_full, has_others);
        self.has_passed_over = told.is_none() && !self.inbox.is_empty();
        let told = told?;
        self.told_at = told.at;
        Some(told.input)
    }

    fn passed_over(&self) -> Option<Vec<TenantId>> {
        self.has_passed_over.then(|| self.inbox.tenants().collect())
    }

    fn next_arrival(&mut self) -> Option<SimArrival> {
        self.newcomers.pop_front()
    }

    fn welcome((_, entry): &mut (Socket, Entry)) -> Option<&mut Welcome> {
        match entry {
            Entry::Welcome(welcome) => Some(welcome),
            Entry::AwaitsToken(_) => None,
        }
    }

    fn answer(welcome: &mut Welcome) -> &mut Welcome {
        welcome
    }

    fn admit(
        &mut self,
        (mut socket, entry): (Socket, Entry),
        key: SessionKey,
    ) -> Option<Newcomer<Socket>> {
        match &entry {
            Entry::Welcome(welcome) => self.settle(welcome, &mut socket),
            Entry::AwaitsToken(_) => {
                self.outside.applicants.insert(key, socket.number);
            }
        }
        self.opened.push((socket.number, key));
        Some(Newcomer {
            socket,
            entry,
            early: Vec::new(),
        })
    }

    fn ask(&mut self, key: SessionKey, token: Token, peer: &Socket) -> bool {
        let own = wire::token(peer.number);
        assert_eq!(token.as_bytes(), own.as_bytes(), "another client's token");
        self.asked.push((peer.number, key));
        true
    }

    fn recheck(&mut self, recheck: Recheck, socket: &Socket) {
        self.wants.push(Want::Answer(recheck, socket.number));
    }

    fn cancel_recheck(&mut self, key: SessionKey) {
        self.wants.push(Want::Nothing(key));
    }

    fn last_gap(&self) -> u32 {
        self.gap
    }

    fn own_gap(&self) -> u32 {
        self.own_gap
    }

    fn answered(&mut self, welcome: Welcome, socket: &mut Socket) -> Welcome {
        self.settle(&welcome, socket);
        welcome
    }

    fn probed(&mut self, (): ()) {}

    fn wave_done(&mut self, number: u32, wave: Wave) {
        self.wave = Some((number, wave));
    }

    fn closes(&mut self) {
        self.outside.leaving = Some(self.told_at);
    }

    fn input_done(&mut self) {
        self.outside.leaving = None;
    }
}

/// The connection in the queue, if it holds a permit.
fn waiting(arrival: &SimArrival) -> Option<usize> {
    match arrival {
        Arrival::Connection((socket, _)) if socket.permit.is_some() => Some(socket.number),
        Arrival::Connection(_) | Arrival::To(..) => None,
    }
}
