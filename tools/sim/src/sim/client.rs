//! Clients: they connect, subscribe, read at their own pace, disconnect and reconnect.

mod attempt;
mod hearing;
mod line;
mod token;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastrand::Rng;
use ht_control::turn::{Arrival, Readiness};
use ht_core::shard::{Admission, SessionKey, Welcome};
use ht_frame::{Decoder, Inflater, Opcode, PerMessageDeflate};
use ht_proto::close::Close;
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;

use crate::api::{Bootstrap, Said};
use crate::gate::Permit;
use crate::mutant::Mutant;
use crate::oracle::Identified;
use crate::orders;
use crate::plan::Pace;
use crate::rooms::{GRANTS, ROOMS, allowed_rooms};
use crate::sim::client::token::sends_token;
use crate::sim::page::Page;
use crate::sim::tickets::Kept;
use crate::sim::{Event, Sim};
use crate::wire::{Socket, Wire};

/// A client's offer of compression.
const OFFER: Option<&[u8]> = Some(b"permessage-deflate");

/// The address of a client.
pub(super) fn address(client: usize) -> u8 {
    [0, 1, 2][client % 3]
}

/// Whether the client of a connection accepts events.
fn has_events(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// A client, connected or not.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) rng: Rng,
    pub(crate) connection: Option<usize>,
    /// Counts its attempts to connect; the last one counts.
    attempt: u64,
    is_connecting: bool,
    /// The visit that it makes.
    visit: Option<usize>,
    pace: Pace,
    /// The rooms that it wants, again after a reconnect.
    rooms: Vec<usize>,
    /// It reconnects when it was disconnected.
    pub(super) returns: bool,
    pub(super) names: u64,
    /// What it keeps, if it recovers what it missed.
    pub(super) page: Option<Page>,
    /// What lets it in again.
    pub(super) kept: Option<Kept>,
}

impl Client {
    pub(crate) fn new(seed: u64, is_page: bool) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            connection: None,
            attempt: 0,
            is_connecting: false,
            visit: None,
            pace: Pace::All,
            rooms: Vec::new(),
            returns: false,
            names: 0,
            page: is_page.then(Page::default),
            kept: is_page.then(Kept::default),
        }
    }

    /// Ends an attempt to connect. False: it is not the current one.
    pub(super) fn gives_up(&mut self, attempt: u64) -> bool {
        let is_it = self.is_connecting && self.attempt == attempt;
        if is_it {
            self.is_connecting = false;
            self.visit = None;
        }
        is_it
    }
}

/// The state of a client.
#[derive(Clone, Copy, Debug)]
enum Request {
    Subscribe(u64),
    Unsubscribe(u64),
    Ping,
}

/// One connection, from the client's side.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: usize,
    pub(crate) node: usize,
    pub(crate) life: usize,
    pub(crate) shard: usize,
    pub(crate) id: Option<SessionKey>,
    pub(crate) wire: Rc<RefCell<Wire>>,
    decoder: Decoder,
    /// Where it negotiated compression.
    inflater: Option<Inflater>,
    is_admitted: bool,
    /// Of one way, in ms.
    latency: u64,
    /// Data in flight to the shard.
    sent: VecDeque<Vec<u8>>,
    requests: VecDeque<Request>,
    /// Names of the subscriptions and their rooms.
    names: Vec<(u64, usize)>,
    last: Option<(u64, usize)>,
    pub(super) is_welcome: bool,
    is_reading: bool,
    /// Neither side sends on it any more.
    is_over: bool,
    /// The close frame that arrived, by its reason.
    close: Option<String>,
    /// When the shard dropped it.
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
        let who = Some((index, client.attempt));
        let brings = (address(index), self.account(index));
        let visit = self.visit(who, node, brings, bootstrap);
        if self.clients[index].is_connecting {
            self.clients[index].visit = Some(visit);
        }
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
            client.returns = true;
            let account = self.account(index);
            self.rights[account] = grants;
            self.connect(index, node, bootstrap);
        }
    }

    /// The API identified the client.
    pub(super) fn answered(
        &mut self,
        index: usize,
        attempt: u64,
        node: usize,
        (admitted, said): (bool, Said),
        mut permit: Permit,
    ) {
        if !self.clients[index].gives_up(attempt) {
            return;
        }
        if admitted && !self.signs_in(index, node, &mut permit) {
            return self.come_back(index, 500);
        }
        let to = &self.nodes[node];
        let number = self.connections.len();
        let client = &mut self.clients[index];
        client.connection = Some(number);
        let capacity = [300, 5_000, 200_000][client.rng.usize(0..3)];
        let capacity = if self.is_calm { usize::MAX } else { capacity };
        let wire = Rc::new(RefCell::new(Wire::new(capacity)));
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
            is_admitted: admitted,
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
        if admitted && !sends_token(number, said) {
            self.opens(number, said);
        }
        let socket = Socket {
            number,
            client: index,
            wire,
            touched: Rc::clone(&self.touched),
            readiness: Readiness::default(),
            permit: Some(permit),
        };
        let welcome = Welcome {
            deflate,
            ..self.welcome(number, said, admitted)
        };
        let entry = self.entry(number, said, welcome);
        self.nodes[node].shards[shard]
            .around
            .newcomers
            .push_back(Arrival::Connection((socket, entry)));
        self.wake(node, shard, self.events.now + 1);
        self.note(|| format!("client {index} opens connection {number} to node {node}"));
    }

    /// The API identified the client of a connection, which opens now.
    fn opens(&mut self, number: usize, said: Said) {
        let Connection {
            client,
            life,
            shard,
            ..
        } = self.connections[number];
        let identified = Identified {
            client,
            tenant: self.plan.shape.tenant(client),
            grants: said
                .grants
                .unwrap_or_else(|| self.granted(self.account(client))),
            asked_at: said.asked_at,
            asked: said.asked,
            resumed: said.resumed,
            events: has_events(number) || self.is_page(client),
        };
        self.oracle.opens(number, (life, shard), identified);
    }

    fn welcome(&mut self, number: usize, said: Said, admitted: bool) -> Welcome {
        let Connection { client, node, .. } = self.connections[number];
        let grants = said
            .grants
            .unwrap_or_else(|| self.granted(self.account(client)));
        let given = match self.plan.mutant {
            Some(Mutant::WiderGrants) => 3,
            _ => grants,
        };
        let asked_at = match self.plan.mutant {
            Some(Mutant::UncheckedNewcomer) => self.nodes[node].last_command,
            _ => said.asked_at,
        };
        let tenant = self.plan.shape.tenant(client);
        let (message, admission) = if admitted {
            let message = server::authorized(&allowed_rooms(GRANTS[grants]));
            (
                message,
                Admission::Admitted(self.identities.grants(tenant, given)),
            )
        } else {
            let message = server::NOT_AUTHORIZED.to_owned();
            (message, Admission::Refused(Close::BACKEND))
        };
        let has_events = has_events(number) || self.is_page(client);
        Welcome {
            id: orders::id(number),
            message: message.into(),
            admission,
            who: self.identities.who(client, grants).filter(|_| admitted),
            asked_at,
            gap: said.gap,
            invalidated_at: None,
            resumed: said.resumed.map(orders::id),
            expires_in: None,
            has_token: false,
            events: has_events,
            deflate: None,
            subprotocol: has_events.then_some(Subprotocol::V1),
            stream: None,
        }
    }

    /// The account of a client.
    pub(super) fn account(&self, client: usize) -> usize {
        orders::account(client, self.plan.shape.tenant(client))
    }

    /// The client tries again after a while, if it wants to.
    pub(super) fn come_back(&mut self, index: usize, within: u64) {
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
}
