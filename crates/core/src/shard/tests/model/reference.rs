//! A shard beside lists of what each of its clients should receive.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use ht_frame::Opcode;
use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::subprotocol::Subprotocol;

use super::known::{Hold, Known, State};
use super::ledger::{Ledger, Missed, Published};
use super::operations::{CLIENTS, Message, NAMES, Operation, RIGHTS, ROOMS, TENANTS};
use super::page::{Left, Page};
use crate::select::Selection;
use crate::shard::tests::kit::*;
use crate::shard::{SessionKey, Settings};
use crate::stats::Stats;
use crate::who::{Facts, Who};

/// The idle limit, in ms.
pub(super) const IDLE: u64 = 60_000;

pub(super) struct Reference {
    pub(super) world: World,
    settings: Settings,
    pub(super) ledger: Ledger,
    /// What the API permits the users, by the indices of their clients.
    pub(super) rights: [usize; CLIENTS],
    /// Clients of our subprotocol that are not connected.
    left: [Option<Left>; CLIENTS],
    /// Sessions about which the API is to be asked again.
    pub(super) requested: BTreeSet<SessionKey>,
    /// All connections were closed once: the closing timeout is shorter from then on.
    leaves: bool,
    eager: bool,
    /// What an operation may spend at once; zero: no bound.
    pub(super) units: u64,
    /// Connected clients, by index.
    pub(super) clients: [Option<Known>; CLIENTS],
    /// The keys of sessions that ended.
    ended: Vec<SessionKey>,
    data: usize,
    /// The last gap; zero: there was none.
    gap: u32,
    /// Publish frames expected of all triggers so far.
    pub(super) hits: u64,
    /// Those for clients that ended before they may have been matched.
    pub(super) unsure: u64,
}

/// The first message of those that are admitted with these rights.
fn admitted(rights: usize) -> String {
    ht_proto::server::authorized(&GrantList::parse(RIGHTS[rights].0).unwrap().text)
}

/// The tenant of the client at an index.
pub(super) fn tenant_of(place: usize) -> TenantId {
    TenantId::new(u32::try_from(place % TENANTS).unwrap())
}

/// The identity of the client at an index: each tenant has the same users.
pub(super) fn who(place: usize) -> Who {
    let facts = Facts {
        user: Some((place / TENANTS).to_string().into()),
        ..Facts::default()
    };
    Who::new(facts).unwrap()
}

impl Reference {
    pub(super) fn new(settings: Settings, eager: bool, units: u64) -> Self {
        let mut world = World::with(settings.clone());
        world.outside.tickets = Some(0);
        Self {
            world,
            ledger: Ledger {
                matching: settings.matching,
                position: 0,
                published: Vec::new(),
                commands: Vec::new(),
            },
            settings,
            rights: [0; CLIENTS],
            left: Default::default(),
            requested: BTreeSet::new(),
            leaves: false,
            eager,
            units,
            clients: Default::default(),
            ended: Vec::new(),
            data: 0,
            gap: 0,
            hits: 0,
            unsure: 0,
        }
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        self.world.begin(self.units);
        match operation {
            &Operation::Open {
                client,
                room,
                offer,
                v1,
            } => {
                self.world.offer = offer;
                self.world.subprotocol = v1.then_some(Subprotocol::V1);
                self.open(client, Some(room));
            }
            &Operation::Follow(client, room, name) => {
                self.world.subprotocol = Some(Subprotocol::V1);
                self.open(client, Some(usize::MAX));
                self.say(client, &Message::Subscribe(room, name));
                self.arrive(client, usize::MAX);
            }
            &Operation::Return(client, room) => self.come_back(client, room),
            &Operation::Invalidate(whom, rights) => self.invalidate(whom, rights),
            &Operation::Permit(client, rights) => self.permit(client, rights),
            &Operation::Reply(client, outcome) => self.reply(client, outcome),
            &Operation::Refuse(client) => {
                self.world.subprotocol = None;
                self.open(client, None);
            }
            &Operation::Await(client, room) => self.await_token(client, room),
            &Operation::Answer(client, admits) => self.answer(client, admits),
            Operation::CloseUnauthenticated => self.close_unauthenticated(),
            Operation::Say(client, message) => self.say(*client, message),
            &Operation::Arrive(client, bytes) => self.arrive(client, bytes),
            &Operation::Violate(client) => self.violate(client),
            &Operation::Takes(client, room) => {
                if let Some(known) = &mut self.clients[client] {
                    known.client.takes(room);
                    known.hesitated |= room < usize::MAX;
                    self.world.writable(&known.client);
                }
            }
            &Operation::Writable(client) => {
                if let Some(known) = &self.clients[client] {
                    self.world.writable(&known.client);
                }
            }
            &Operation::Vanish(client) => {
                if let Some(known) = &mut self.clients[client] {
                    known.client.vanish();
                    known.vanished = true;
                }
            }
            &Operation::End(client) => self.end(client),
            Operation::Publish(tenant, triggers) => self.publish(*tenant, triggers),
            &Operation::Forbid(client, room) => self.forbid(client, room),
            &Operation::Late(which) => self.late(which),
            &Operation::Slice(writes_max) => {
                self.world.slice(writes_max);
                self.world.begin(self.units);
                self.world.clean_up();
            }
            &Operation::Pass(ms) => self.pass(ms),
            Operation::Gap => {
                self.gap += 1;
                self.world.shard.set_gap(self.gap);
            }
            &Operation::CloseMissed(count) => self.close_missed(count),
            Operation::CloseAll => self.close_all(),
        }
        self.settle();
        self.compare();
        self.world.check_accounts();
    }

    fn open(&mut self, place: usize, room: Option<usize>) {
        if self.clients[place].is_some() {
            return;
        }
        let now = self.world.now;
        self.be(place);
        let rights = self.rights[place];
        let is_page = room.is_some() && self.world.subprotocol.is_some();
        let (client, state, first) = match room {
            Some(room) => {
                let client = self.world.open_with(RIGHTS[rights].0, room);
                (client, State::Open, admitted(rights))
            }
            None => {
                let client = self.world.refuse(Close::NORMAL);
                let first = ht_proto::server::NOT_AUTHORIZED.to_owned();
                (client, State::Refused(now), first)
            }
        };
        let mut known = self.known(client, state, room.unwrap_or(usize::MAX));
        known.rights = rights;
        known.page = is_page.then(|| Page::new(place, None));
        known.expect(first);
        self.clients[place] = Some(known);
    }

    /// A client of our subprotocol comes back, and asks for what it missed.
    fn come_back(&mut self, place: usize, room: usize) {
        match &self.clients[place] {
            Some(known) if known.page.is_none() => return,
            // Its line breaks.
            Some(_) => self.end(place),
            None => {}
        }
        let Some(left) = self.left[place].take() else {
            return;
        };
        self.world.subprotocol = Some(Subprotocol::V1);
        self.open(place, Some(room));
        if let Some(known) = &mut self.clients[place] {
            known.page = Some(Page::new(place, Some(left)));
        }
        self.say(place, &Message::Resume);
        self.arrive(place, usize::MAX);
    }

    /// The API is asked about the client at an index, by now.
    pub(super) fn be(&mut self, place: usize) {
        self.world.tenant = tenant_of(place);
        self.world.who = Some(Arc::new(who(place)));
        self.world.asked_at = self.ledger.position;
    }

    fn known(&self, client: Client, state: State, room: usize) -> Known {
        let mut known = Known::new(client, state, room < usize::MAX, self.world.now);
        known.gap = self.gap;
        known
    }

    /// A client connects that is to send its token.
    fn await_token(&mut self, place: usize, room: usize) {
        if self.clients[place].is_none() {
            self.world.subprotocol = None;
            let client = self.world.await_token(room);
            let state = State::Awaiting(self.world.now);
            self.clients[place] = Some(self.known(client, state, room));
        }
    }

    /// The API has answered about a client's token; for others there was no query.
    fn answer(&mut self, place: usize, admits: bool) {
        self.be(place);
        let rights = self.rights[place];
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        let (key, now) = (known.client.id, self.world.now);
        if admits {
            let admission = self.world.admission(RIGHTS[rights].0);
            self.world.answer(key, admission);
        } else {
            let refusal = self.world.refusal(Close::NORMAL);
            self.world.answer(key, refusal);
        }
        self.world.resume(self.units);
        if known.state == State::Asked {
            known.gap = self.gap;
            known.rights = rights;
            let ledger = &self.ledger;
            match admits {
                true => known.answered(admitted(rights), State::Open, now, ledger),
                false => {
                    let first = ht_proto::server::NOT_AUTHORIZED.to_owned();
                    known.answered(first, State::Refused(now), now, ledger);
                }
            }
        }
    }

    fn close_unauthenticated(&mut self) {
        while self.world.shard.has_unauthenticated() {
            self.world.begin(self.units);
            let turn = &mut Turn::new(self.world.now, &mut self.world.outside);
            let shard = &mut self.world.shard;
            shard.close_unauthenticated(Close::RESTART, turn);
        }
        for place in 0..CLIENTS {
            let Some(known) = &mut self.clients[place] else {
                continue;
            };
            if matches!(known.state, State::Awaiting(_) | State::Asked) {
                known.expect("close 1012 restart");
                known.leave(State::Closing(self.world.now));
                if !self.world.is_there(&known.client) {
                    self.bury(place);
                }
            }
        }
    }

    /// Ends a client that was refused. Its further input would be ignored.
    fn end_turned_away(&mut self, place: usize) {
        let known = self.clients[place].as_ref();
        if known.is_some_and(|known| known.state == State::TurnedAway) {
            self.end(place);
        }
    }

    fn say(&mut self, place: usize, message: &Message) {
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        let either = if known.client.may_compress() {
            masked_deflated
        } else {
            masked
        };
        let frame = match message {
            Message::Ping => masked(Opcode::Text, b"ping"),
            Message::JsonPing => either(Opcode::Text, br#"{"type": "ping", "requestId": "p"}"#),
            Message::Resume => either(Opcode::Text, known.resumption().as_bytes()),
            Message::Authenticate => either(
                Opcode::Text,
                br#"{"type": "authenticate", "token": "right"}"#,
            ),
            &Message::Subscribe(room, name) => {
                either(Opcode::Text, subscribe(ROOMS[room], NAMES[name]).as_bytes())
            }
            &Message::Unsubscribe(name) => {
                either(Opcode::Binary, unsubscribe(NAMES[name]).as_bytes())
            }
            Message::Rubbish => masked(Opcode::Text, b"rubbish"),
            Message::ControlPing => masked(Opcode::Ping, b"payload"),
            Message::Close => masked(Opcode::Close, &4000u16.to_be_bytes()),
        };
        known.written.extend(frame);
        known.messages.push((message.clone(), known.written.len()));
    }

    fn arrive(&mut self, place: usize, bytes: usize) {
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        let bytes = bytes.min(known.written.len());
        let arrived: Vec<_> = known.written.drain(..bytes).collect();
        let whole = known.messages.iter().take_while(|(_, end)| *end <= bytes);
        let whole = whole.count();
        let messages: Vec<_> = known.messages.drain(..whole).collect();
        known.messages.iter_mut().for_each(|(_, end)| *end -= bytes);
        self.world.receive(&known.client, &arrived);
        self.world.resume(self.units);
        let now = self.world.now;
        let awaited = matches!(known.state, State::Awaiting(_));
        for (message, _) in messages {
            known.on_message(&message, now, &self.ledger);
        }
        let key = known.client.id;
        let expected = awaited && known.state == State::Asked;
        let asked = self.outputs();
        let Some(known) = &self.clients[place] else {
            return;
        };
        assert!(asked.iter().all(|&asked| expected && asked == key));
        assert!(asked.len() == usize::from(expected) || known.vanished || known.hesitated);
        self.end_turned_away(place);
    }

    fn violate(&mut self, place: usize) {
        self.arrive(place, usize::MAX);
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        if known.state == State::Asked {
            // Its violation is detected after the answer: until then it only counts as
            // disconnected.
            return self.end(place);
        }
        self.world.receive(&known.client, b"\x81\x00");
        self.world.resume(self.units);
        match known.state {
            State::Awaiting(_) => {
                known.turned_away();
                return self.end_turned_away(place);
            }
            State::Open | State::Refused(_) => {
                known.expect("close 1002 frame-not-masked");
            }
            State::Closing(_) => {}
            State::Asked | State::TurnedAway | State::Deaf(_) => return,
        }
        known.leave(State::Deaf(self.world.now));
    }

    /// A client's subscriptions to a room are dropped, after their earlier publications.
    fn forbid(&mut self, place: usize, room: usize) {
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        let of = crate::shard::tests::kit::room(ROOMS[room]);
        self.world.retain(known.client.id, |room, _| *room != of);
        known.subscriptions.retain(|&(own, _)| own != room);
    }

    /// Calls for a session that has ended change nothing, whichever session has its slot now.
    fn late(&mut self, which: usize) {
        let Some(&key) = self.ended.iter().rev().nth(which) else {
            return;
        };
        let turn = &mut Turn::new(self.world.now, &mut self.world.outside);
        let shard = &mut self.world.shard;
        shard.gone(key, turn);
        shard.writable(key, turn);
        shard.receive(key, &mut masked(Opcode::Text, b"ping"), turn);
        shard.retain(key, |_, _| false, turn);
        shard.abandon(key, turn);
        self.world.asked_at = self.ledger.position;
        let admission = self.world.admission(RIGHTS[0].0);
        self.world.answer(key, admission);
        let shard = &self.world.shard;
        assert!(!shard.may_read(key) && shard.who(key).is_none());
    }

    /// The shard is notified that the client has disconnected.
    fn end(&mut self, place: usize) {
        if let Some(known) = &self.clients[place] {
            self.world.gone(&known.client);
            assert!(!self.world.is_there(&known.client));
            self.bury(place);
        }
    }

    /// The client is no longer connected.
    fn bury(&mut self, place: usize) {
        if let Some(mut known) = self.clients[place].take() {
            known.check(false);
            self.ended.push(known.client.id);
            if !self.eager {
                self.unsure += known.hits;
            }
            self.left[place] = known.into_left();
        }
    }

    fn publish(&mut self, tenant: usize, triggers: &[(Vec<usize>, usize)]) {
        self.world.tenant = tenant_of(tenant);
        let mut batch = Vec::new();
        for (rooms, length) in triggers {
            self.data += 1;
            let data = format!("\"{}{}\"", self.data, "x".repeat(*length));
            let rooms_text: Vec<_> = rooms.iter().map(|&room| ROOMS[room]).collect();
            self.ledger.position += 1;
            let published = Rc::new(Published {
                position: self.ledger.position,
                tenant,
                rooms: rooms.clone(),
                data: data.clone(),
            });
            self.ledger.published.push(Rc::clone(&published));
            let clients = self.clients.iter_mut().skip(tenant).step_by(TENANTS);
            for known in clients.flatten() {
                if known.hold != Hold::Live {
                    let missed = Missed::Publication(Rc::clone(&published));
                    known.missed.push_back(missed);
                    continue;
                }
                let mut groups = self.ledger.groups(&known.subscriptions, rooms);
                if known.page.is_some() {
                    // In the order of their parts.
                    groups = vec![groups.concat()];
                }
                for names in groups {
                    self.hits += known.expect_publication(&published, &names);
                }
            }
            batch.push((rooms_text, data));
        }
        let batch: Vec<_> = batch
            .iter()
            .map(|(rooms, data)| (&rooms[..], &data[..]))
            .collect();
        self.world.publish_all(&batch);
        assert_eq!(self.world.outside.position, self.ledger.position);
        self.world.shard.handed(self.ledger.position);
        if self.eager {
            // Any request causes earlier publications of its tenant to be matched.
            self.world.shard.gather_all();
            assert_eq!(self.world.shard.backlog(), 0);
        }
    }

    fn pass(&mut self, ms: u64) {
        // All due work is expected to be done.
        self.world.begin(0);
        self.world.pass(ms);
        let now = self.world.now;
        let slack = self.slack();
        for place in 0..CLIENTS {
            let Some(known) = &mut self.clients[place] else {
                continue;
            };
            match known.state {
                State::Awaiting(since) if since + FIRST_FRAME_TIMEOUT <= now => {
                    // After part of a reply nothing can follow, and the refusal itself may have
                    // been too much: what was received is then a part of it.
                    known.turned_away();
                    if self.world.is_there(&known.client) {
                        self.end_turned_away(place);
                    } else {
                        assert!(known.vanished || known.hesitated);
                        self.bury(place);
                    }
                }
                State::Open if known.last_message + IDLE <= now => {
                    known.expect("close 1000 idle");
                    known.leave(State::Closing(now));
                }
                State::Refused(since) if since + 100 <= now => {
                    known.expect("close 1000");
                    known.leave(State::Closing(now));
                }
                State::Closing(since) | State::Deaf(since) if since + 3_000 + slack <= now => {
                    assert!(!self.world.is_there(&known.client));
                    self.bury(place);
                }
                State::Awaiting(_)
                | State::Asked
                | State::TurnedAway
                | State::Open
                | State::Refused(_)
                | State::Closing(_)
                | State::Deaf(_) => {}
            }
        }
    }

    /// How much later than after the closing timeout a connection may end, in ms: during shutdown
    /// those that accept nothing are looked at once a second.
    fn slack(&self) -> u64 {
        if self.leaves { 1_000 } else { 0 }
    }

    fn close_missed(&mut self, count: usize) {
        let now = self.world.now;
        loop {
            self.world.begin(self.units);
            let outside = &mut self.world.outside;
            let shard = &mut self.world.shard;
            let gap = crate::shard::Gap {
                number: self.gap,
                tenant: None,
                upto: 0,
                cause: ht_proto::server::GapCause::Broker,
                close: Some(Close::GAP),
            };
            let wave = shard.close_missed(&gap, count, &mut Turn::new(now, outside));
            assert!(wave.closed <= count && wave.told == 0);
            if wave.finished {
                break;
            }
        }
        for known in self.clients.iter_mut().flatten() {
            if known.state == State::Open && known.gap < self.gap {
                known.expect("close 1012 gap");
                known.leave(State::Closing(now));
            }
        }
    }

    fn close_all(&mut self) {
        self.leaves = true;
        let now = self.world.now;
        let outside = &mut self.world.outside;
        self.world
            .shard
            .close_all(Close::RESTART, &mut Turn::new(now, outside));
        for known in self.clients.iter_mut().flatten() {
            if matches!(
                known.state,
                State::Awaiting(_) | State::Asked | State::Open | State::Refused(_)
            ) {
                known.expect("close 1012 restart");
                known.leave(State::Closing(now));
            }
        }
    }

    /// Compares all observable state, and records which clients were found disconnected or evicted.
    pub(super) fn compare(&mut self) {
        let bounded = self.is_bounded();
        for place in 0..CLIENTS {
            if let Some(known) = &mut self.clients[place] {
                known.check(false);
                if !self.world.is_there(&known.client) {
                    let left = |since| self.leaves && since + 1_000 <= self.world.now;
                    let left = matches!(known.state, State::Closing(since) | State::Deaf(since) if left(since));
                    assert!(known.vanished || left || (known.hesitated && bounded));
                    self.bury(place);
                }
            }
        }
        let there = || self.clients.iter().flatten();
        let open = there().filter(|known| known.state == State::Open);
        let open: BTreeSet<_> = open.map(|known| known.client.number).collect();
        let places = self.clients.iter().enumerate();
        let rooms = places.filter_map(|(place, known)| Some((place % TENANTS, known.as_ref()?)));
        let rooms = rooms.flat_map(|(tenant, known)| {
            let rooms = known.subscriptions.iter();
            rooms.map(move |&(room, _)| (tenant, room))
        });
        let rooms: BTreeSet<_> = rooms.collect();
        let subscriptions: usize = there().map(|known| known.subscriptions.len()).sum();
        let stats = self.world.shard.stats();
        assert_eq!(stats.connections, open.len() as u64);
        let held = there().filter(|known| known.hold != Hold::Live);
        assert_eq!(stats.connections_held, held.count() as u64);
        assert_eq!(self.world.shard.len(), there().count());
        assert_eq!(self.world.outside.rooms.len() as u64, stats.rooms);
        if self.world.shard.has_clean_up() {
            assert!(stats.rooms >= rooms.len() as u64);
            assert!(stats.subscriptions > subscriptions as u64);
        } else {
            assert_eq!(stats.rooms, rooms.len() as u64);
            assert_eq!(stats.subscriptions, subscriptions as u64);
        }
        let connected: BTreeSet<_> = self.world.outside.connected.iter().copied().collect();
        assert_eq!(connected, open);
        self.count(false);
        self.compare_selections();
        for &key in &self.ended {
            assert!(
                self.world.shard.peer(key).is_none(),
                "the successor of {key:?}"
            );
        }
    }

    /// Compares the sessions found by their names, one by one and all of a tenant.
    fn compare_selections(&mut self) {
        self.world.begin(0);
        for place in 0..CLIENTS {
            let of = |selection: Selection| Selection {
                tenant: tenant_of(place),
                ..selection
            };
            let user = of(Selection {
                users: vec![who(place).user().unwrap().into()],
                ..Selection::default()
            });
            let everyone = of(Selection {
                everyone: true,
                ..Selection::default()
            });
            let open = |place: usize| {
                let known = self.clients[place].as_ref();
                let known = known.filter(|known| known.state == State::Open);
                known.map(|known| known.client.id)
            };
            let one: Vec<_> = open(place).into_iter().collect();
            let others = (0..CLIENTS).filter(|other| other % TENANTS == place % TENANTS);
            let all: BTreeSet<_> = others.filter_map(open).collect();
            assert_eq!(self.world.search(user), one);
            assert_eq!(
                self.world
                    .search(everyone)
                    .into_iter()
                    .collect::<BTreeSet<_>>(),
                all
            );
        }
    }

    /// Whether any client may be evicted.
    fn is_bounded(&self) -> bool {
        let Settings {
            limits,
            outbox_age,
            outboxes,
            ..
        } = &self.settings;
        limits.outbox_bytes != 0 || *outbox_age != 0 || outboxes.limit() != 0
    }

    /// Whether every hit is accounted for; `delivered`: none is in flight.
    fn count(&self, delivered: bool) {
        let stats = self.world.shard.stats();
        let counted = stats.deliveries + stats.undelivered + stats.queued;
        assert!(counted <= self.hits);
        assert!(stats.deflated <= self.data as u64, "each at most once");
        assert!(!delivered || counted + self.unsure >= self.hits);
    }

    /// Lets every client accept everything, then ends all.
    /// Returns what the shard had counted then.
    pub(super) fn finish(mut self) -> Stats {
        self.answer_all();
        self.world.begin(0);
        self.world.deliver();
        self.world.clean_up();
        assert!(!self.world.shard.has_work());
        self.compare();
        self.count(true);
        for place in 0..CLIENTS {
            if let Some(known) = &mut self.clients[place] {
                known.client.takes(usize::MAX);
                self.world.writable(&known.client);
                known.check(!known.vanished);
            }
        }
        self.compare();
        self.count(true);
        if self.clients.iter().flatten().all(|known| !known.vanished) {
            assert_eq!(self.world.stats().queued, 0);
        }
        let stats = self.world.stats().clone();
        for place in 0..CLIENTS {
            self.end(place);
        }
        self.compare();
        self.count(true);
        assert!(self.world.shard.is_empty() && self.world.shard.deadline().is_none());
        assert_eq!(self.world.stats().queued, 0);
        assert_eq!(self.settings.outboxes.bytes(), 0);
        assert_eq!(self.settings.accounts.total(), 0);
        assert!(self.world.outside.held.is_empty());
        assert!(self.world.outside.first_frames.is_empty());
        stats
    }
}
