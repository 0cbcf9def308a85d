//! The environment of a simulated shard; it checks the validity of the shard's effects.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ht_control::interest::InterestIndex;
use ht_core::command::Command;
use ht_core::peer::Eviction;
use ht_core::shard::SessionKey;
use ht_core::stats::Stats;
use ht_core::ticket::Granted;
use ht_core::world::{AuthenticationEnd, Over, World};
use ht_proto::entry::TenantId;
use ht_proto::hook::Hook;
use ht_proto::room::Room;
use ht_proto::server::{Resumption, Status};
use uuid::Uuid;

use crate::tickets::Tickets;
use crate::wire::{Socket, Wire};

/// The environment of one shard.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) index: usize,
    pub(crate) interest: Rc<InterestIndex>,
    /// Connections that are admitted and open.
    pub(crate) connected: BTreeSet<usize>,
    /// Connections about which the API is asked again before they are admitted.
    pub(crate) entering: BTreeMap<usize, Rc<RefCell<Wire>>>,
    /// When the shard was told that connections are closed because the node shuts down.
    pub(crate) leaving: Option<u64>,
    /// Connections closed for that in the last turn, and when it was told.
    pub(crate) left: Vec<(usize, u64)>,
    /// Bytes that each connection holds.
    pub(crate) held: BTreeMap<usize, usize>,
    /// Sessions whose clients are not authenticated yet, with their connections.
    pub(crate) applicants: BTreeMap<SessionKey, usize>,
    /// Those that ended without an answer since the last turn.
    pub(crate) turned_away: Vec<SessionKey>,
    /// Positions of the commands that were carried out in the last turn.
    pub(crate) carried_out: Vec<u64>,
    /// Gives clients tickets; none: they get none.
    pub(crate) tickets: Option<Tickets>,
    /// A planted bug: closed connections stay in the interest index.
    pub(crate) leaks_rooms: bool,
}

impl World<Socket> for Outside {
    fn hook(&mut self, hook: Hook, peer: &mut Socket, _now: u64) {
        match hook {
            Hook::Connect => {
                self.entering.remove(&peer.number);
                assert!(self.connected.insert(peer.number), "connected twice");
            }
            Hook::Ping => assert!(self.connected.contains(&peer.number), "not connected"),
            Hook::Disconnect => {
                assert!(self.connected.remove(&peer.number), "was not there");
                self.left.extend(self.leaving.map(|at| (peer.number, at)));
                peer.permit = None;
            }
        }
    }

    fn client(&mut self, peer: &Socket) -> u64 {
        peer.client as u64
    }

    fn room_opened(&mut self, tenant: TenantId, room: &Room) -> u64 {
        self.interest.opened(self.index, tenant, room)
    }

    fn room_closed(&mut self, tenant: TenantId, room: &Room) {
        if !self.leaks_rooms {
            self.interest.closed(self.index, tenant, room);
        }
    }

    fn status(&mut self, _tenant: TenantId, _own: &Stats) -> Status {
        Status::default()
    }

    fn hold_first_frame(&mut self, key: SessionKey, _bytes: usize) -> bool {
        assert!(self.applicants.contains_key(&key), "its handshake is over");
        true
    }

    fn authentication_ended(&mut self, key: SessionKey, end: AuthenticationEnd) {
        let known = self.applicants.remove(&key);
        assert!(known.is_some(), "its handshake ends once");
        if end != AuthenticationEnd::Answered {
            self.turned_away.push(key);
        }
    }

    fn hold(&mut self, peer: &Socket, bytes: usize) -> Result<usize, Over> {
        *self.held.entry(peer.number).or_default() += bytes;
        Ok(0)
    }

    fn release(&mut self, peer: &Socket, bytes: usize) -> usize {
        let held = self.held.get_mut(&peer.number).expect("it was held");
        *held = held.checked_sub(bytes).expect("no more than was held");
        if *held == 0 {
            self.held.remove(&peer.number);
        }
        0
    }

    fn resumption(&mut self, peer: &mut Socket, granted: &Granted<'_>, anew: bool) -> Resumption {
        let tickets = self.tickets.as_mut();
        tickets.map_or_else(Resumption::default, |tickets| {
            tickets.give(peer.number, granted, anew)
        })
    }

    fn carried_out(&mut self, command: &Command, _matched: usize) {
        self.carried_out.push(command.position);
    }

    fn evicted(&mut self, _connection: Uuid, _peer: &Socket, _reason: Eviction) {}
}
