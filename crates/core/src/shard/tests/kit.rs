//! A shard and its environment: clients that send and receive lines, and a clock set by the test.

mod outside;
mod rechecks;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ht_frame::{
    DecodeOptions, Decoder, DeflatedFrame, Event, Inflater, Input, Opcode, PerMessageDeflate, Role,
    put_masked_frame,
};
use ht_proto::close::Close;
use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, TenantId};
use ht_proto::grant::GrantList;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::server::{authorized, permissions};
use ht_proto::subprotocol::Subprotocol;
use ht_proto::token::Token;
use uuid::Uuid;

use crate::Hasher;
use crate::account::Kind;
use crate::command::{Action, Command, Permit};
use crate::connection::ConnectionId;
use crate::grant::GrantSet;
use crate::index::Matching;
use crate::limits::Limits;
use crate::peer::{Eviction, Peer};
use crate::publication::{Logged, Publication};
use crate::select::Selection;
use crate::session::Stage;
use crate::shard::{
    Admission, Compression, Handshake, KeepaliveSettings, Output, PermissionSettings,
    RecoverySettings, SessionKey, Settings, Shard, StreamSettings, Welcome,
};
use crate::stats::Stats;
use crate::stream::Opening;
use crate::who::Who;
use crate::window::{Beginning, Concerns, Item, Kept, Reader, Window, WindowLimits};

pub(super) use self::outside::{FakePeer, Outside, Told, Wire};
pub(super) use self::rechecks::{Request, invalidate, recheck_settings};
pub(super) use crate::world::Turn;

/// A client at the peer's end.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: SessionKey,
    pub(super) number: u128,
    pub(super) wire: Rc<RefCell<Wire>>,
    decoder: Decoder,
    /// Where it negotiated compression.
    inflater: Option<Inflater>,
}

impl Client {
    /// Frames received since the last call, a line each, without cursors and features.
    pub(super) fn hears(&mut self) -> Vec<String> {
        let lines = self.hears_all().into_iter();
        lines.map(|line| without_cursor(&line)).collect()
    }

    /// Bytes received since the last call, of a client over HTTP.
    pub(super) fn reads(&self) -> String {
        let bytes = std::mem::take(&mut self.wire.borrow_mut().bytes);
        String::from_utf8(bytes).unwrap()
    }

    /// Frames received since the last call, a line each.
    pub(super) fn hears_all(&mut self) -> Vec<String> {
        let mut bytes = std::mem::take(&mut self.wire.borrow_mut().bytes);
        let mut input = Input::new(&mut bytes);
        let options = DecodeOptions {
            role: Role::Client,
            message_bytes_max: usize::MAX,
        };
        let mut lines = Vec::new();
        loop {
            let event = match &mut self.inflater {
                Some(inflater) => self.decoder.decode_deflated(&mut input, &options, inflater),
                None => self.decoder.decode(&mut input, &options),
            };
            let Some(event) = event.unwrap() else { break };
            lines.push(match event {
                Event::Text(text) => text.into(),
                Event::Binary(bytes) => format!("binary {bytes:?}"),
                Event::Ping(payload) => format!("control ping {}", payload.escape_ascii()),
                Event::Pong(payload) => format!("control pong {}", payload.escape_ascii()),
                Event::Close(Some((code, reason))) => {
                    format!("close {code} {reason}").trim_end().into()
                }
                Event::Close(None) => "close".into(),
            });
        }
        lines
    }

    /// Whether it may send compressed messages.
    pub(super) fn may_compress(&self) -> bool {
        self.inflater.is_some()
    }

    /// Whether the last frame was received whole.
    pub(super) fn is_between_frames(&self) -> bool {
        self.decoder.is_idle()
    }

    /// From now on so many bytes fit.
    pub(super) fn takes(&self, room: usize) {
        self.wire.borrow_mut().room = room;
    }

    pub(super) fn vanish(&self) {
        self.wire.borrow_mut().gone = true;
    }

    pub(super) fn writes(&self) -> usize {
        self.wire.borrow().writes
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.wire.borrow().shutdown
    }
}

/// A shard and its environment.
pub(super) struct World {
    pub(super) shard: Shard<FakePeer>,
    pub(super) settings: Settings,
    pub(super) outside: Outside,
    pub(super) now: u64,
    /// What clients offer when they connect.
    pub(super) offer: Option<&'static str>,
    /// The subprotocol selected for clients when they connect.
    pub(super) subprotocol: Option<Subprotocol>,
    /// The number of the address from which clients connect.
    pub(super) address: u32,
    /// The tenant of clients that connect and of published triggers.
    pub(super) tenant: TenantId,
    /// The position at which the API was queried about connecting clients.
    /// The last gap before the API was queried about connecting clients: after all, if nothing
    /// else is said.
    pub(super) answer_gap: u32,
    pub(super) asked_at: u64,
    /// Whether clients that connect accept events.
    pub(super) events: bool,
    /// The identity of connecting clients.
    pub(super) who: Option<Arc<Who>>,
    /// How long the API's answers hold, in ms.
    pub(super) expires_in: Option<u64>,
    /// Whether connecting clients have a token that they can replace.
    pub(super) has_token: bool,
    /// What was published.
    pub(super) window: Window<Logged>,
    opened: u128,
}

/// How long a client has to send its token, in ms.
pub(super) const FIRST_FRAME_TIMEOUT: u64 = 10_000;

pub(super) fn settings() -> Settings {
    Settings {
        matching: Matching::Wildcard,
        limits: Limits::default(),
        first_frame_timeout: FIRST_FRAME_TIMEOUT,
        idle_timeout: 300_000,
        outbox_age: 0,
        outboxes: Arc::default(),
        accounts: Arc::default(),
        keepalive: KeepaliveSettings::default(),
        status_clients: true,
        compression: Compression::default(),
        permissions: PermissionSettings::default(),
        recovery: RecoverySettings::default(),
        streams: StreamSettings::default(),
        window: Reader::default(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self::with_window(settings, WindowLimits::default())
    }

    pub(super) fn with_window(mut settings: Settings, limits: WindowLimits) -> Self {
        let window = Window::new(limits, Beginning::of(Epoch::from_random(0)));
        settings.window = window.reader();
        Self {
            shard: Shard::new(settings.clone(), Hasher::fixed()),
            settings,
            outside: Outside {
                log: Rc::default(),
                rooms: HashSet::new(),
                connected: HashSet::new(),
                clients: HashMap::new(),
                position: 0,
                carried_out: Vec::new(),
                tokens: Vec::new(),
                held: HashMap::new(),
                hold_max: 0,
                first_frames: HashMap::new(),
                first_frame_bytes_max: usize::MAX,
                tickets: None,
                proofs: Vec::new(),
            },
            now: 1_000,
            offer: None,
            subprotocol: None,
            address: u32::MAX,
            tenant: TenantId::MAIN,
            answer_gap: u32::MAX,
            asked_at: 0,
            events: false,
            who: None,
            expires_in: None,
            has_token: false,
            window,
            opened: 0,
        }
    }

    pub(super) fn connect(&mut self, message: String, admission: Admission, room: usize) -> Client {
        self.connect_over((message, admission), None, room)
    }

    /// The same over HTTP, with this request.
    pub(super) fn connect_over(
        &mut self,
        (message, admission): (String, Admission),
        opening: Option<Opening>,
        room: usize,
    ) -> Client {
        let (peer, wire) = self.peer(room);
        let number = peer.number;
        let mut welcome = self.welcome(number, message, admission);
        welcome.stream = opening.map(Box::new);
        self.shard.catch_up(&mut welcome);
        let expected = self.shard.next_key();
        let turn = &mut Turn::new(self.now, &mut self.outside);
        let id = self.shard.open(peer, welcome, turn);
        assert_eq!(id, expected);
        self.client(id, number, wire)
    }

    fn welcome(&self, number: u128, message: String, admission: Admission) -> Welcome {
        let Handshake {
            id,
            deflate,
            subprotocol,
            events,
        } = self.handshake(number);
        Welcome {
            id,
            message: message.into(),
            admission,
            who: self.who.clone(),
            asked_at: self.asked_at,
            gap: self.answer_gap,
            expires_in: self.expires_in,
            has_token: self.has_token,
            invalidated_at: None,
            resumed: None,
            events,
            deflate,
            subprotocol,
            stream: None,
        }
    }

    /// A client that is to send its token; it accepts `room` bytes at first.
    pub(super) fn await_token(&mut self, room: usize) -> Client {
        let (peer, wire) = self.peer(room);
        let number = peer.number;
        let handshake = self.handshake(number);
        let key = self.shard.next_key();
        self.outside.first_frames.insert(key, 0);
        let turn = &mut Turn::new(self.now, &mut self.outside);
        assert_eq!(self.shard.await_token(peer, handshake, turn), key);
        self.client(key, number, wire)
    }

    fn peer(&mut self, room: usize) -> (FakePeer, Rc<RefCell<Wire>>) {
        let wire = Rc::new(RefCell::new(Wire {
            bytes: Vec::new(),
            room,
            gone: false,
            shutdown: false,
            writes: 0,
            vectored: 0,
        }));
        let number = self.opened;
        self.opened += 1;
        let peer = FakePeer {
            number,
            address: self.address,
            kept: usize::try_from(number % 3).unwrap() * 300,
            log: Rc::clone(&self.outside.log),
            wire: Rc::clone(&wire),
        };
        (peer, wire)
    }

    fn handshake(&self, number: u128) -> Handshake {
        Handshake {
            id: Uuid::from_u128(number),
            deflate: self.offer.map(|offer| {
                PerMessageDeflate::negotiate([offer.as_bytes()]).expect("a good offer")
            }),
            subprotocol: self.subprotocol,
            events: self.events,
        }
    }

    fn client(&self, id: SessionKey, number: u128, wire: Rc<RefCell<Wire>>) -> Client {
        Client {
            id,
            number,
            wire,
            decoder: Decoder::new(),
            inflater: self.offer.map(|_| Inflater::new()),
        }
    }

    /// The API's answer for a client that it admits with these grants.
    pub(super) fn admission(&self, grants: &str) -> Welcome {
        let list = GrantList::parse(grants).unwrap();
        let grants = GrantSet::new(self.tenant, list.rooms, Hasher::default());
        let admission = Admission::Admitted(Arc::new(grants));
        self.welcome(0, authorized(&list.text), admission)
    }

    /// The API's answer for a client that it refuses.
    pub(super) fn refusal(&self, close: Close) -> Welcome {
        let message = ht_proto::server::NOT_AUTHORIZED.into();
        self.welcome(0, message, Admission::Refused(close))
    }

    pub(super) fn answer(&mut self, key: SessionKey, mut welcome: Welcome) {
        self.shard.catch_up(&mut welcome);
        let turn = &mut Turn::new(self.now, &mut self.outside);
        self.shard.answer(key, welcome, turn);
    }

    /// The sessions with a requested API query, each with its token.
    pub(super) fn asked(&mut self) -> Vec<(SessionKey, Token)> {
        let outputs = std::iter::from_fn(|| self.shard.poll_output());
        outputs
            .filter_map(|output| match output {
                Output::Ask { key, token } => Some((key, token)),
                Output::Recheck(_) | Output::CancelRecheck(_) => None,
            })
            .collect()
    }

    /// An admitted client with these grants; it accepts `room` bytes at first.
    pub(super) fn open_with(&mut self, grants: &str, room: usize) -> Client {
        let list = GrantList::parse(grants).unwrap();
        let grants = GrantSet::new(self.tenant, list.rooms, Hasher::default());
        self.connect(
            authorized(&list.text),
            Admission::Admitted(Arc::new(grants)),
            room,
        )
    }

    /// An admitted client that accepts everything and has received its first message.
    pub(super) fn open(&mut self, grants: &str) -> Client {
        let mut client = self.open_with(grants, usize::MAX);
        let first = client.hears();
        assert_eq!(first.len(), 1, "{first:?}");
        client
    }

    pub(super) fn refuse(&mut self, close: Close) -> Client {
        self.connect(
            ht_proto::server::NOT_AUTHORIZED.into(),
            Admission::Refused(close),
            usize::MAX,
        )
    }

    pub(super) fn turn_away(&mut self, close: Close, room: usize) -> Client {
        self.connect(
            ht_proto::server::NOT_AUTHORIZED.into(),
            Admission::TurnedAway(close),
            room,
        )
    }

    /// The client sends these bytes.
    pub(super) fn receive(&mut self, client: &Client, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.shard.receive(
            client.id,
            &mut bytes,
            &mut Turn::new(self.now, &mut self.outside),
        );
    }

    /// A phase of so many units begins; zero: without a bound.
    pub(super) fn begin(&mut self, units: u64) {
        let units = if units == 0 { u64::MAX } else { units };
        self.shard.budget.begin(units, units);
    }

    /// Continues, phase by phase, with what exceeded a slice.
    pub(super) fn resume(&mut self, units: u64) {
        while self.shard.is_behind() {
            self.begin(units);
            self.shard
                .resume(&mut Turn::new(self.now, &mut self.outside));
        }
    }

    pub(super) fn clean_up(&mut self) {
        self.shard
            .clean_up(&mut Turn::new(self.now, &mut self.outside));
    }

    pub(super) fn frame(&mut self, client: &Client, opcode: Opcode, payload: &[u8]) {
        self.receive(client, &masked(opcode, payload));
    }

    /// The client sends a text.
    pub(super) fn say(&mut self, client: &Client, text: &str) {
        self.frame(client, Opcode::Text, text.as_bytes());
    }

    /// The client sends a text; returns what it receives.
    pub(super) fn ask(&mut self, client: &mut Client, text: &str) -> Vec<String> {
        self.say(client, text);
        client.hears()
    }

    /// Subscribes, which must succeed.
    pub(super) fn subscribe(&mut self, client: &mut Client, room: &str, name: &str) {
        let answer = self.ask(client, &subscribe(room, name));
        assert_eq!(answer, [SUCCESS], "{room} {name}");
    }

    /// The same of a client of our subprotocol.
    pub(super) fn subscribe_v1(&mut self, client: &mut Client, room: &str, name: &str) {
        let answer = self.ask(client, &subscribe(room, name));
        let last = answer.last().expect("an answer");
        assert_eq!(
            *last,
            format!(r#"{{"code": "success", "requestId": {name}}}"#)
        );
    }

    /// Queues one batch of triggers, each for some rooms.
    pub(super) fn publish_all(&mut self, triggers: &[(&[&str], &str)]) {
        let batch = self.batch(triggers);
        self.log(&batch);
        self.shard.publish(batch);
    }

    /// A batch of triggers, each for some rooms.
    pub(super) fn batch(&mut self, triggers: &[(&[&str], &str)]) -> Arc<[Publication]> {
        let batch = triggers.iter().map(|(rooms, data)| {
            self.outside.position += 1;
            let rooms = rooms.iter().map(|text| room(text)).collect();
            Publication::new(
                self.outside.position,
                self.tenant,
                rooms,
                Bytes::copy_from_slice(data.as_bytes()),
            )
        });
        let batch: Vec<_> = batch.collect();
        batch.into()
    }

    /// Queues a command. Returns its position.
    pub(super) fn command(&mut self, selection: Selection, action: Action) -> u64 {
        self.outside.position += 1;
        let position = self.outside.position;
        let command = Arc::new(Command {
            position,
            selection,
            action,
            bytes: 100,
        });
        let item = Item {
            position,
            at: self.now,
            check: Check::of(&position.to_be_bytes()),
            tenant: command.selection.tenant,
            body: Kept::Command(Arc::clone(&command)),
        };
        self.window.append(item, Concerns::All, command.bytes);
        self.shard.command(command);
        position
    }

    /// Queues one trigger for one room.
    pub(super) fn publish(&mut self, room: &str, data: &str) {
        self.publish_all(&[(&[room], data)]);
    }

    pub(super) fn slice(&mut self, writes_max: usize) {
        self.shard
            .fan_out(writes_max, &mut Turn::new(self.now, &mut self.outside));
    }

    /// Delivers all that is queued.
    pub(super) fn deliver(&mut self) {
        self.slice(usize::MAX);
        assert!(!self.shard.has_fan_out());
    }

    pub(super) fn writable(&mut self, client: &Client) {
        self.shard
            .writable(client.id, &mut Turn::new(self.now, &mut self.outside));
    }

    pub(super) fn gone(&mut self, client: &Client) {
        self.shard
            .gone(client.id, &mut Turn::new(self.now, &mut self.outside));
    }

    /// The sessions that a selection finds, slice by slice.
    pub(super) fn search(&mut self, selection: Selection) -> Vec<SessionKey> {
        let mut found = Vec::new();
        let mut search = self.shard.search(selection);
        while !self.shard.continue_search(&mut search, &mut found) {
            self.begin(1);
        }
        found
    }

    /// Drops those subscriptions of a session that are not to be kept.
    pub(super) fn retain(&mut self, key: SessionKey, keep: impl FnMut(&Room, &str) -> bool) {
        let turn = &mut Turn::new(self.now, &mut self.outside);
        self.shard.retain(key, keep, turn);
    }

    /// Advances time, then does what is due.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.shard.tick(&mut Turn::new(self.now, &mut self.outside));
    }

    pub(super) fn is_there(&mut self, client: &Client) -> bool {
        self.shard
            .peer(client.id)
            .is_some_and(|peer| peer.number == client.number)
    }

    /// Events since the last call.
    pub(super) fn told(&mut self) -> Vec<Told> {
        self.outside.log.take()
    }

    /// Whether the client's connection is open: neither ended nor being closed.
    pub(super) fn is_open(&mut self, client: &Client) -> bool {
        self.is_there(client) && !self.shard.is_closing(ConnectionId(client.id.slot))
    }

    /// Bytes of one kind that are accounted.
    pub(super) fn account(&self, kind: Kind) -> usize {
        self.settings.accounts.bytes(kind)
    }

    /// Counts one by one what is accounted in sums.
    pub(super) fn check_accounts(&self) {
        let shard = &self.shard;
        let connections = || shard.sessions.iter().map(|(_, connection)| connection);
        let id = |slot| ConnectionId(u32::try_from(slot).unwrap());
        let sessions = shard.sessions.iter();
        let postponed = sessions.map(|(slot, _)| shard.postponed_bytes(id(slot)));
        let postponed: usize = postponed.sum();
        // Clients without an API answer are accounted as handshakes.
        let known = connections().filter(|it| !matches!(it.stage, Stage::Authenticating(_)));
        let kept: usize = known.map(|it| it.transport.unfinished_bytes()).sum();
        assert_eq!(self.account(Kind::Messages), kept + postponed);
        assert_eq!(shard.unfinished.recount(), kept);
        assert_eq!(self.account(Kind::Subscriptions), shard.registry.recount());
        let credentials = connections().filter(|it| matches!(it.stage, Stage::Open { .. }));
        let credentials: usize = credentials.map(|it| it.peer.kept_bytes()).sum();
        assert_eq!(self.account(Kind::Credentials), credentials);
        for (slot, connection) in shard.sessions.iter() {
            let number = connection.peer.number;
            let open = matches!(connection.stage, Stage::Open { .. });
            let peer = if open {
                connection.peer.kept_bytes()
            } else {
                0
            };
            let noted = self.outside.held.get(&number).copied().unwrap_or(0);
            assert_eq!(noted, connection.charged as usize + peer);
            assert!(!open || shard.is_charged(id(slot)));
        }
        let there: HashSet<_> = connections().map(|it| it.peer.number).collect();
        assert!(
            self.outside
                .held
                .keys()
                .all(|number| there.contains(number))
        );
    }

    pub(super) fn stats(&self) -> &Stats {
        self.shard.stats()
    }
}

/// The reasons for which connections were evicted, each as often as it happened.
pub(super) fn evictions(stats: &Stats) -> Vec<Eviction> {
    let counted = Eviction::ALL.iter().zip(stats.evictions);
    counted
        .flat_map(|(&reason, count)| (0..count).map(move |_| reason))
        .collect()
}

/// A permit of these grants.
pub(super) fn permit(grants: &str) -> Action {
    permit_for(grants, &[])
}

/// A permit of these grants, to clients that have these labels from then on.
pub(super) fn permit_for(grants: &str, labels: &[&str]) -> Action {
    let list = GrantList::parse(grants).unwrap();
    let set = GrantSet::new(TenantId::MAIN, list.rooms, Hasher::default());
    Action::Permit(Permit {
        grants: Arc::new(set),
        labels: labels.iter().map(|&label| label.into()).collect(),
        view: None,
        expires_in: None,
        welcome: authorized(&list.text).into(),
        event: permissions(&list.text).into(),
    })
}

/// Dropping the subscriptions that these rooms cover.
pub(super) fn unsubscribe_from(rooms: &str) -> Action {
    let list = GrantList::parse(rooms).unwrap();
    Action::Unsubscribe(GrantSet::new(TenantId::MAIN, list.rooms, Hasher::default()))
}

/// A message without the members that only clients of our subprotocol get.
pub(super) fn without_cursor(line: &str) -> String {
    const CURSOR: &str = r#", "cursor": ""#;
    const FEATURES: &str = r#", "features": ["#;
    let mut line = line.to_string();
    for (begin, end) in [(CURSOR, '"'), (FEATURES, ']')] {
        if let Some(at) = line.find(begin) {
            let rest = &line[at + begin.len()..];
            let len = rest.find(end).expect("a whole member") + 1;
            line.replace_range(at..at + begin.len() + len, "");
        }
    }
    line
}

pub(super) const SUCCESS: &str = r#"{"code": "success"}"#;

pub(super) fn error(code: &str) -> String {
    format!(r#"{{"code": "error", "message": "{code}"}}"#)
}

pub(super) fn error_of(client: &Client, code: &str) -> String {
    let id = Uuid::from_u128(client.number);
    format!(r#"{{"requestId": "{id}", "code": "error", "message": "{code}"}}"#)
}

pub(super) fn subscribe(room: &str, name: &str) -> String {
    format!(r#"{{"type": "subscribe", "room": {room}, "requestId": {name}}}"#)
}

pub(super) fn unsubscribe(name: &str) -> String {
    format!(r#"{{"type": "unsubscribe", "requestId": {name}}}"#)
}

pub(super) fn publish(data: &str, name: &str) -> String {
    format!(r#"{{"type": "publish", "data": {data}, "requestId": {name}}}"#)
}

pub(super) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_masked_frame(&mut bytes, opcode, payload, [0x1f, 0x2e, 0x3d, 0x4c]);
    bytes
}

/// The same message in deflate's terms: a client may compress arbitrarily badly.
pub(super) fn masked_deflated(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let frame = DeflatedFrame::new(opcode, &[], payload).unwrap();
    let mut bytes = masked(opcode, &frame.parts()[1..].concat());
    bytes[0] |= RSV1;
    bytes
}

/// In a frame's first byte: the message is compressed.
pub(super) const RSV1: u8 = 0x40;

pub(super) fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}
