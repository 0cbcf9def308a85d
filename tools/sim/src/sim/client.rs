//! Clients: they connect, subscribe, read at their own pace, break off and come back.

mod hearing;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;
use ht_core::grant::GrantSet;
use ht_core::registry::ConnectionId;
use ht_core::shard::{Admission, Welcome};
use ht_frame::{Decoder, Inflater, Opcode, PerMessageDeflate, put_masked_frame};
use ht_proto::close::Close;
use ht_proto::grant::GrantList;
use ht_proto::server;
use uuid::Uuid;

use crate::hasher;
use crate::mutant::Mutant;
use crate::plan::{Bootstrap, Pace};
use crate::rooms::{GRANTS, ROOMS, allowed_rooms};
use crate::sim::{Event, Sim};
use crate::wire::{Socket, Wire};

/// What a client offers about compression.
const OFFER: Option<&[u8]> = Some(b"permessage-deflate");

/// A connection whose client hung up is gone after so long, in ms, however slow its shard is.
const RELEASED: u64 = 10_000;

/// How long a client waits for the API, in ms.
const PATIENCE: u64 = 10_000;

/// A client, connected or not.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) rng: Rng,
    grants: usize,
    connection: Option<usize>,
    /// Counts its attempts to connect; the last one counts.
    attempt: u64,
    is_connecting: bool,
    pace: Pace,
    /// The rooms that it wants, again after it came back.
    rooms: Vec<usize>,
    /// It comes back when it was disconnected.
    returns: bool,
    names: u64,
}

impl Client {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            grants: 0,
            connection: None,
            attempt: 0,
            is_connecting: false,
            pace: Pace::All,
            rooms: Vec::new(),
            returns: false,
            names: 0,
        }
    }
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
enum Request {
    Subscribe(u64),
    Unsubscribe(u64),
    Ping,
}

/// One connection, from the client's side.
#[derive(Debug)]
pub(crate) struct Connection {
    client: usize,
    pub(crate) node: usize,
    pub(crate) life: usize,
    pub(crate) shard: usize,
    pub(crate) id: Option<ConnectionId>,
    pub(crate) wire: Rc<RefCell<Wire>>,
    decoder: Decoder,
    /// Where it negotiated compression.
    inflater: Option<Inflater>,
    /// Of one way, in ms.
    latency: u64,
    /// What is on its way to the shard.
    sent: VecDeque<Vec<u8>>,
    requests: VecDeque<Request>,
    /// Names of the subscriptions and their rooms.
    names: Vec<(u64, usize)>,
    last: Option<(u64, usize)>,
    is_welcome: bool,
    is_reading: bool,
    /// Nobody speaks on it any more.
    is_over: bool,
    /// The close frame that came, by its reason.
    close: Option<String>,
    /// When the shard let it go.
    shut_at: Option<u64>,
}

impl Sim {
    pub(crate) fn connect(&mut self, index: usize, node: usize, bootstrap: Bootstrap) {
        let client = &mut self.clients[index];
        if client.connection.is_some() || client.is_connecting {
            return;
        }
        client.is_connecting = true;
        client.attempt += 1;
        let attempt = client.attempt;
        let (after, admitted) = match bootstrap {
            Bootstrap::Admits(ms) => (ms, Some(true)),
            Bootstrap::Fails(ms) => (ms, Some(false)),
            Bootstrap::Hangs => (PATIENCE, None),
        };
        let event = Event::Answered {
            client: index,
            attempt,
            node,
            admitted,
        };
        self.events.after(after, event);
    }

    pub(crate) fn connect_as(
        &mut self,
        index: usize,
        node: usize,
        grants: usize,
        bootstrap: Bootstrap,
    ) {
        let client = &mut self.clients[index];
        if client.connection.is_none() && !client.is_connecting {
            client.grants = grants;
            client.returns = true;
            self.connect(index, node, bootstrap);
        }
    }

    /// The API said who the client is; none: it said nothing for too long.
    pub(crate) fn answered(
        &mut self,
        index: usize,
        attempt: u64,
        node: usize,
        admitted: Option<bool>,
    ) {
        let client = &mut self.clients[index];
        if client.attempt != attempt {
            return;
        }
        client.is_connecting = false;
        let to = &self.nodes[node];
        let Some(admitted) = admitted.filter(|_| to.is_up && to.draining.is_none()) else {
            return self.come_back(index, 500);
        };
        let number = self.connections.len();
        let client = &mut self.clients[index];
        client.connection = Some(number);
        let capacity = [300, 5_000, 200_000][client.rng.usize(0..3)];
        let capacity = if self.is_calm { usize::MAX } else { capacity };
        let wire = Rc::new(RefCell::new(Wire::new(capacity)));
        let grants = GRANTS[client.grants];
        let latency = client.rng.u64(1..80);
        let deflate = [None, OFFER][client.rng.usize(0..2)];
        let deflate = deflate.and_then(|offer| PerMessageDeflate::negotiate([offer]));
        let shard = to.idlest();
        self.connections.push(Connection {
            client: index,
            node,
            life: to.life,
            shard,
            id: None,
            wire: Rc::clone(&wire),
            decoder: Decoder::new(),
            inflater: deflate.map(|_| Inflater::new()),
            latency,
            sent: VecDeque::new(),
            requests: VecDeque::new(),
            names: Vec::new(),
            last: None,
            is_welcome: false,
            is_reading: false,
            is_over: false,
            close: None,
            shut_at: None,
        });
        if admitted {
            self.oracle.opens(number, (to.life, shard), grants);
        }
        let socket = Socket {
            number,
            client: index,
            wire,
            touched: Rc::clone(&self.touched),
            unread: false,
            writable: false,
            queued: false,
        };
        let welcome = Welcome {
            deflate,
            ..self.welcome(number, grants, admitted)
        };
        self.nodes[node].shards[shard]
            .newcomers
            .push_back((socket, welcome));
        self.wake(node, shard, self.events.now + 1);
        self.note(|| format!("client {index} opens connection {number} to node {node}"));
    }

    fn welcome(&self, number: usize, grants: &'static [usize], admitted: bool) -> Welcome {
        let text = allowed_rooms(grants);
        let wider = allowed_rooms(GRANTS[3]);
        let given = match self.plan.mutant {
            Some(Mutant::WiderGrants) => &wider,
            _ => &text,
        };
        let list = GrantList::parse(given).expect("a list of ours");
        let set = GrantSet::new(list.rooms, hasher());
        let (message, admission) = if admitted {
            let message = server::authorized(&text);
            (message, Admission::Admitted(Arc::new(set)))
        } else {
            let message = server::NOT_AUTHORIZED.to_owned();
            (message, Admission::Refused(Close::BACKEND))
        };
        Welcome {
            id: Uuid::from_u128(number as u128),
            message: message.into(),
            admission,
            deflate: None,
            subprotocol: None,
        }
    }

    /// The client tries again after a while, if it wants to.
    fn come_back(&mut self, index: usize, within: u64) {
        let client = &mut self.clients[index];
        if client.returns {
            let attempt = client.attempt;
            let after = 1 + client.rng.u64(0..=within);
            let client = index;
            self.events.after(after, Event::Return { client, attempt });
        }
    }

    pub(crate) fn returned(&mut self, index: usize, attempt: u64) {
        let client = &mut self.clients[index];
        if client.returns && client.attempt == attempt {
            let node = client.rng.usize(0..self.nodes.len());
            self.connect(index, node, Bootstrap::Admits(10));
        }
    }

    pub(crate) fn subscribe(&mut self, index: usize, room: usize) {
        self.clients[index].rooms.push(room);
        self.ask_for(index, room);
    }

    fn ask_for(&mut self, index: usize, room: usize) {
        let client = &mut self.clients[index];
        let Some(number) = client.connection else {
            return;
        };
        if !self.connections[number].is_welcome {
            return;
        }
        client.names += 1;
        let name = client.names;
        let connection = &mut self.connections[number];
        connection.names.push((name, room));
        connection.requests.push_back(Request::Subscribe(name));
        self.oracle.asks(number, name, room, self.events.now);
        let room = ROOMS[room].json();
        let text = format!(r#"{{"type":"subscribe","room":{room},"requestId":{name}}}"#);
        self.say(number, Opcode::Text, text.as_bytes());
    }

    pub(crate) fn unsubscribe(&mut self, index: usize, which: usize) {
        let client = &mut self.clients[index];
        let Some(number) = client.connection else {
            return;
        };
        let connection = &mut self.connections[number];
        if connection.names.is_empty() {
            return;
        }
        let which = which % connection.names.len();
        let (name, room) = connection.names.remove(which);
        connection.requests.push_back(Request::Unsubscribe(name));
        if let Some(at) = client.rooms.iter().position(|&own| own == room) {
            client.rooms.remove(at);
        }
        self.oracle.ends_subscription(number, name, self.events.now);
        let text = format!(r#"{{"type":"unsubscribe","requestId":{name}}}"#);
        self.say(number, Opcode::Text, text.as_bytes());
    }

    pub(crate) fn ping(&mut self, index: usize) {
        if let Some(number) = self.clients[index].connection
            && self.connections[number].is_welcome
        {
            self.connections[number].requests.push_back(Request::Ping);
            self.say(number, Opcode::Text, b"ping");
        }
    }

    pub(crate) fn pace(&mut self, index: usize, pace: Pace) {
        let client = &mut self.clients[index];
        client.pace = pace;
        if let Some(number) = client.connection {
            self.look(number);
        }
    }

    /// The client ends its connection politely.
    pub(crate) fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.returns = false;
        if let Some(number) = client.connection {
            self.say(number, Opcode::Close, &1000u16.to_be_bytes());
        }
    }

    /// The line breaks.
    pub(crate) fn cut(&mut self, index: usize, silent: bool) {
        let client = &mut self.clients[index];
        client.returns = false;
        if let Some(number) = client.connection {
            self.over(number);
            if !silent {
                self.hang_up(number);
            }
        }
    }

    /// The shard learns that the client is not there any more.
    fn hang_up(&mut self, number: usize) {
        let latency = self.connections[number].latency;
        if self.plan.mutant != Some(Mutant::LeakedConnection) {
            self.events.after(latency, Event::HungUp(number));
        }
        self.events.after(RELEASED, Event::Released(number));
    }

    pub(crate) fn hung_up(&mut self, number: usize) {
        self.connections[number].wire.borrow_mut().is_cut = true;
        self.notify(number, |socket| {
            socket.unread = true;
            socket.writable = true;
        });
    }

    /// The shard has let a connection go whose client hung up.
    pub(crate) fn check_released(&mut self, number: usize) {
        let wire = &self.connections[number].wire;
        if !wire.borrow().is_released {
            self.oracle
                .violation(|| format!("connection {number} is still there, its client is not"));
        }
    }

    fn say(&mut self, number: usize, opcode: Opcode, payload: &[u8]) {
        let connection = &mut self.connections[number];
        if connection.is_over {
            return;
        }
        let mut bytes = Vec::new();
        put_masked_frame(&mut bytes, opcode, payload, [1, 2, 3, 4]);
        connection.sent.push_back(bytes);
        let latency = connection.latency;
        self.events.after(latency, Event::Arrived(number));
    }

    /// What a client sent has arrived.
    pub(crate) fn arrived(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let bytes = connection.sent.pop_front().unwrap_or_default();
        connection.wire.borrow_mut().to_server.extend(bytes);
        self.notify(number, |socket| socket.unread = true);
    }
}
