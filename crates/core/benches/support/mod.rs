//! A shard whose peers accept everything and keep nothing.

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use ht_core::Hasher;
use ht_core::grant::GrantSet;
use ht_core::index::Matching;
use ht_core::limits::Limits;
use ht_core::peer::{Eviction, Peer, Sent};
use ht_core::publication::Publication;
use ht_core::shard::{
    Admission, Compression, KeepaliveSettings, PermissionSettings, RecoverySettings, SessionKey,
    Settings, Shard, StreamSettings, Welcome,
};
use ht_core::stats::Stats;
use ht_core::who::Who;
use ht_core::window::Reader;
use ht_core::world::{Turn, World};
use ht_frame::{Opcode, PerMessageDeflate, put_masked_frame};
use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::hook::Hook;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::server::Status;
use ht_proto::subprotocol::Subprotocol;
use uuid::Uuid;

/// A peer that accepts everything.
#[derive(Debug)]
pub struct Sink;

impl Peer for Sink {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        Sent::Bytes(black_box(bytes).len())
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        Sent::Bytes(black_box(parts).iter().map(|part| part.len()).sum())
    }

    fn shutdown(&mut self) {}
}

/// An empty environment.
#[derive(Debug)]
pub struct Nothing;

impl World<Sink> for Nothing {
    fn hook(&mut self, _: Hook, _: &mut Sink, _: u64) {}
    fn client(&mut self, _peer: &Sink) -> u64 {
        0
    }

    fn room_opened(&mut self, _: TenantId, _: &Room) -> u64 {
        0
    }
    fn room_closed(&mut self, _: TenantId, _: &Room) {}
    fn status(&mut self, _: TenantId, _: &Stats) -> Status {
        Status::default()
    }
    fn evicted(&mut self, _: Uuid, _: &Sink, _: Eviction) {}
}

/// An empty shard without bound on subscriptions. Its seed is fixed: the same tables every time.
pub fn shard() -> Shard<Sink> {
    shard_with(settings())
}

/// An empty shard with these settings.
pub fn shard_with(settings: Settings) -> Shard<Sink> {
    Shard::new(settings, Hasher::fixed())
}

/// Settings without bound on subscriptions.
pub fn settings() -> Settings {
    Settings {
        matching: Matching::Wildcard,
        limits: Limits {
            subscriptions: 0,
            ..Limits::default()
        },
        first_frame_timeout: 10_000,
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

/// The set of these grants.
pub fn grants(text: &str) -> Arc<GrantSet> {
    grants_of(TenantId::MAIN, text)
}

/// The grants of a tenant's clients.
pub fn grants_of(tenant: TenantId, text: &str) -> Arc<GrantSet> {
    let list = GrantList::parse(text).expect("grants");
    Arc::new(GrantSet::new(tenant, list.rooms, Hasher::fixed()))
}

/// Opens a connection.
pub fn open(shard: &mut Shard<Sink>, grants: &Arc<GrantSet>) -> SessionKey {
    open_as(shard, grants, None)
}

/// Opens a connection with this identity.
pub fn open_as(
    shard: &mut Shard<Sink>,
    grants: &Arc<GrantSet>,
    who: Option<Arc<Who>>,
) -> SessionKey {
    open_with(shard, grants, who, (None, None))
}

/// Opens a connection of `high-templar.v1`.
pub fn open_v1(shard: &mut Shard<Sink>, grants: &Arc<GrantSet>) -> SessionKey {
    open_with(shard, grants, None, (None, Some(Subprotocol::V1)))
}

/// Opens a connection that negotiated compression.
pub fn open_deflated(shard: &mut Shard<Sink>, grants: &Arc<GrantSet>) -> SessionKey {
    let agreed = PerMessageDeflate::negotiate([&b"permessage-deflate"[..]]);
    assert!(agreed.is_some());
    open_with(shard, grants, None, (agreed, None))
}

fn open_with(
    shard: &mut Shard<Sink>,
    grants: &Arc<GrantSet>,
    who: Option<Arc<Who>>,
    (deflate, subprotocol): (Option<PerMessageDeflate>, Option<Subprotocol>),
) -> SessionKey {
    let welcome = Welcome {
        id: Uuid::nil(),
        message: "{}".into(),
        admission: Admission::Admitted(Arc::clone(grants)),
        who,
        asked_at: 0,
        gap: 0,
        expires_in: None,
        has_token: false,
        invalidated_at: None,
        resumed: None,
        events: false,
        deflate,
        subprotocol,
        stream: None,
    };
    shard.open(Sink, welcome, &mut Turn::new(0, &mut Nothing))
}

/// A client's text in a frame, masked.
pub fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_masked_frame(&mut bytes, Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
    bytes
}

/// Has a client send a text.
pub fn say(shard: &mut Shard<Sink>, id: SessionKey, text: &str) {
    shard.receive(id, &mut frame(text), &mut Turn::new(0, &mut Nothing));
}

/// The message that subscribes; the request id is a UUID's text, as clients send it.
pub fn subscribe_text(room: &str, name: u128) -> String {
    let name = Uuid::from_u128(name);
    format!(r#"{{"type": "subscribe", "room": {room}, "requestId": "{name}"}}"#)
}

/// The message that unsubscribes.
pub fn unsubscribe_text(name: u128) -> String {
    let name = Uuid::from_u128(name);
    format!(r#"{{"type": "unsubscribe", "requestId": "{name}"}}"#)
}

/// Subscribes.
pub fn subscribe(shard: &mut Shard<Sink>, id: SessionKey, room: &str, name: u128) {
    say(shard, id, &subscribe_text(room, name));
}

/// A JSON string of so many bytes.
pub fn data(bytes: usize) -> Vec<u8> {
    format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes()
}

/// A batch of one publication.
pub fn publication(rooms: &[&str], data: &[u8]) -> Arc<[Publication]> {
    publication_of(TenantId::MAIN, rooms, data)
}

/// A batch of one publication of a tenant.
pub fn publication_of(tenant: TenantId, rooms: &[&str], data: &[u8]) -> Arc<[Publication]> {
    let rooms = rooms.iter().map(|text| room(text)).collect();
    let data = Bytes::copy_from_slice(data);
    [Publication::new(1, tenant, rooms, data)].into()
}

/// A room.
pub fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).expect("a room")
}
