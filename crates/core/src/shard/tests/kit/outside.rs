//! Peers that are only bytes, and a log of all effects of a shard.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::IoSlice;
use std::rc::Rc;

use ht_proto::entry::TenantId;
use ht_proto::hook::Hook;
use ht_proto::room::Room;
use ht_proto::server::{Resumption, Status};
use uuid::Uuid;

use crate::command::Command;
use crate::connection::SessionKey;
use crate::peer::{Eviction, Peer, Sent};
use crate::stats::Stats;
use crate::ticket::Granted;
use crate::world::{AuthenticationEnd, Over, World};

/// Events, in their order. Peers have numbers from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard::tests) enum Told {
    Hook(u128, Hook),
    RoomOpened,
    RoomClosed,
    Evicted(u128),
    Authentication(AuthenticationEnd),
    /// A peer accepted bytes.
    Sent(u128),
    Shutdown(u128),
}

pub(in crate::shard::tests) type Log = Rc<RefCell<Vec<Told>>>;

/// The far end of a peer.
#[derive(Debug)]
pub(in crate::shard::tests) struct Wire {
    /// Accepted bytes that were not read by the test yet.
    pub(in crate::shard::tests) bytes: Vec<u8>,
    /// How many more bytes are accepted.
    pub(in crate::shard::tests) room: usize,
    pub(in crate::shard::tests) gone: bool,
    pub(in crate::shard::tests) shutdown: bool,
    /// Calls that offered bytes.
    pub(in crate::shard::tests) writes: usize,
    pub(in crate::shard::tests) vectored: usize,
}

#[derive(Debug)]
pub(in crate::shard::tests) struct FakePeer {
    pub(in crate::shard::tests) number: u128,
    pub(in crate::shard::tests) address: u32,
    /// Bytes of its credentials.
    pub(in crate::shard::tests) kept: usize,
    pub(in crate::shard::tests) log: Log,
    pub(in crate::shard::tests) wire: Rc<RefCell<Wire>>,
}

impl FakePeer {
    fn take(&self, parts: &[&[u8]]) -> Sent {
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.shutdown, "nothing is sent after the end");
        wire.writes += 1;
        if wire.gone {
            return Sent::Gone;
        }
        let bytes = parts.concat();
        assert!(!bytes.is_empty(), "a write without bytes");
        let taken = bytes.len().min(wire.room);
        wire.room -= taken;
        wire.bytes.extend_from_slice(&bytes[..taken]);
        self.log.borrow_mut().push(Told::Sent(self.number));
        Sent::Bytes(taken)
    }
}

impl Peer for FakePeer {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.take(&[bytes])
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        self.wire.borrow_mut().vectored += 1;
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.take(&parts)
    }

    fn address(&self) -> u32 {
        self.address
    }

    fn kept_bytes(&self) -> usize {
        self.kept
    }

    fn shutdown(&mut self) {
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.shutdown, "shut down twice");
        wire.shutdown = true;
        self.log.borrow_mut().push(Told::Shutdown(self.number));
    }
}

/// Records the effects of the shard, and checks their consistency.
#[derive(Debug)]
pub(in crate::shard::tests) struct Outside {
    pub(in crate::shard::tests) log: Log,
    /// The rooms that are open.
    pub(in crate::shard::tests) rooms: HashSet<(TenantId, Room)>,
    /// The last position that was assigned, which a room that opens gets.
    pub(in crate::shard::tests) position: u64,
    /// Positions of the executed commands, and how many connections they selected.
    pub(in crate::shard::tests) carried_out: Vec<(u64, usize)>,
    /// Sessions whose new token was accepted or rejected.
    pub(in crate::shard::tests) tokens: Vec<(SessionKey, bool)>,
    /// Numbers of the peers that are connected.
    pub(in crate::shard::tests) connected: HashSet<u128>,
    /// The client of a peer, by its number; one that is not in here is a client of its own.
    pub(in crate::shard::tests) clients: HashMap<u128, u64>,
    /// Bytes that each peer holds, as it was noted. All peers have one address.
    pub(in crate::shard::tests) held: HashMap<u128, usize>,
    /// Bytes that they may hold together; zero: no bound.
    pub(in crate::shard::tests) hold_max: usize,
    /// The sessions that are not authenticated, and how much their clients sent.
    pub(in crate::shard::tests) first_frames: HashMap<SessionKey, usize>,
    /// Bytes that one of them may send.
    pub(in crate::shard::tests) first_frame_bytes_max: usize,
    /// Tickets that were given; none: clients get none.
    pub(in crate::shard::tests) tickets: Option<u32>,
    /// What the proofs that were given say.
    pub(in crate::shard::tests) proofs: Vec<Proof>,
}

/// What a peer can prove by its ticket.
#[derive(Debug)]
pub(in crate::shard::tests) struct Proof {
    /// The number of the peer.
    pub(in crate::shard::tests) number: u128,
    /// Its grants, sorted.
    pub(in crate::shard::tests) grants: Vec<String>,
}

impl World<FakePeer> for Outside {
    fn hook(&mut self, hook: Hook, peer: &mut FakePeer, _now: u64) {
        self.log.borrow_mut().push(Told::Hook(peer.number, hook));
        match hook {
            Hook::Connect => assert!(self.connected.insert(peer.number)),
            Hook::Ping => assert!(self.connected.contains(&peer.number)),
            Hook::Disconnect => assert!(self.connected.remove(&peer.number)),
        }
    }

    fn client(&mut self, peer: &FakePeer) -> u64 {
        let own = u64::try_from(peer.number).unwrap();
        self.clients.get(&peer.number).copied().unwrap_or(own)
    }

    fn room_opened(&mut self, tenant: TenantId, room: &Room) -> u64 {
        self.log.borrow_mut().push(Told::RoomOpened);
        assert!(self.rooms.insert((tenant, room.clone())));
        self.position
    }

    fn room_closed(&mut self, tenant: TenantId, room: &Room) {
        self.log.borrow_mut().push(Told::RoomClosed);
        assert!(self.rooms.remove(&(tenant, room.clone())));
    }

    fn status(&mut self, tenant: TenantId, own: &Stats) -> Status {
        let rooms = self.rooms.iter().filter(|(of, _)| *of == tenant);
        Status {
            open_connections: own.connections,
            num_rooms: rooms.count() as u64,
            online_since: "2026-01-01T00:00:00".into(),
            rabbitmq_messages_received: 7,
            ws_messages_received: own.messages,
            ws_messages_send: own.deliveries,
            ws_messages_send_error: own.undelivered,
            ws_messages_send_queued: own.queued,
        }
    }

    fn hold(&mut self, peer: &FakePeer, bytes: usize) -> Result<usize, Over> {
        assert!(bytes > 0);
        *self.held.entry(peer.number).or_default() += bytes;
        let address = self.held.values().sum();
        if self.hold_max != 0 && address > self.hold_max {
            let reason = Eviction::ClientBytesPerAddress;
            return Err(Over { reason, address });
        }
        Ok(address)
    }

    fn release(&mut self, peer: &FakePeer, bytes: usize) -> usize {
        let held = self.held.get_mut(&peer.number).expect("it was held");
        *held = held.checked_sub(bytes).expect("no more than was held");
        if *held == 0 {
            self.held.remove(&peer.number);
        }
        self.held.values().sum()
    }

    fn resumption(&mut self, peer: &mut FakePeer, granted: &Granted<'_>, anew: bool) -> Resumption {
        let Some(tickets) = &mut self.tickets else {
            return Resumption::default();
        };
        *tickets += u32::from(anew);
        let mut grants: Vec<_> = granted.grants.iter().map(|room| room.to_json()).collect();
        grants.sort();
        self.proofs.push(Proof {
            number: peer.number,
            grants,
        });
        Resumption {
            ticket: anew.then(|| format!("ticket-{tickets}")),
            proof: Some(format!("{:?}", granted.expires_in)),
        }
    }

    fn carried_out(&mut self, command: &Command, matched: usize) {
        self.carried_out.push((command.position, matched));
    }

    fn token_accepted(&mut self, key: SessionKey, peer: &mut FakePeer) {
        self.tokens.push((key, true));
        // Another token is of another size.
        peer.kept += 100;
    }

    fn token_rejected(&mut self, key: SessionKey) {
        self.tokens.push((key, false));
    }

    fn hold_first_frame(&mut self, key: SessionKey, bytes: usize) -> bool {
        let held = self.first_frames.get_mut(&key).expect("it is noted");
        *held += bytes;
        *held <= self.first_frame_bytes_max
    }

    fn authentication_ended(&mut self, key: SessionKey, end: AuthenticationEnd) {
        self.first_frames.remove(&key).expect("it ends once");
        self.log.borrow_mut().push(Told::Authentication(end));
    }

    fn evicted(&mut self, _connection: Uuid, peer: &FakePeer, _reason: Eviction) {
        self.log.borrow_mut().push(Told::Evicted(peer.number));
    }
}
