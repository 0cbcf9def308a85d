//! Cursors: how far clients of our subprotocol have been sent everything.
//!
//! A publication carries the cursor of a client that was sent it. Where it matches several
//! subscriptions of a connection, its messages are sent in the order of their parts, and all but the
//! last carry a cursor that ends with their own. So a publication whose matching takes several
//! rounds is not sent to such a client before the last one: its hits stay in the connection's list.

use ht_frame::{Deflater, Event};
use ht_proto::client::{ClientMessage, RequestId};
use ht_proto::cursor::{Cursor, Part};
use ht_proto::entry::TenantId;
use ht_proto::hook::Hook;
use ht_proto::server::{self, Feature};
use smallvec::SmallVec;

use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::registry::{Registry, SubscriptionId};
use crate::session::{Broken, Pending};
use crate::shard::fan_out::writer::Writer;
use crate::shard::replay::Floor;
use crate::shard::{Compression, Shard};
use crate::timer::NONE;
use crate::world::{Turn, World};

/// Sends the messages of one publication to one client of our subprotocol.
pub(super) struct Sender<'a> {
    pub(super) registry: &'a Registry,
    pub(super) compression: &'a Compression,
    pub(super) deflater: &'a mut Deflater,
    /// A buffer for the ends of messages.
    pub(super) tail: &'a mut Vec<u8>,
    /// Whether they carry cursors: all of them that the client was not sent before.
    pub(super) cursors: Option<Floor>,
}

impl Sender<'_> {
    /// Sends the messages for these subscriptions. `sent` counts them.
    pub(super) fn send<P: Peer>(
        &mut self,
        writer: &mut Writer<'_, P>,
        publication: &Publication,
        hits: &[SubscriptionId],
        sent: &mut usize,
    ) -> Result<(), Broken> {
        if let [hit] = hits {
            return self.one(writer, publication, *hit, Next::None, sent);
        }
        if self.cursors.is_none() {
            return hits
                .iter()
                .try_for_each(|hit| self.one(writer, publication, *hit, Next::None, sent));
        }
        let part = |&hit| (self.registry.part(hit), hit);
        let mut parts: SmallVec<[_; 8]> = hits.iter().map(part).collect();
        parts.sort_unstable_by_key(|(part, _)| *part);
        for (index, (part, hit)) in parts.iter().enumerate() {
            let next = match parts.get(index + 1) {
                None => Next::None,
                // One of two that are not distinguished: the client keeps the cursor that it has.
                Some((next, _)) if next == part => Next::Same,
                Some(_) => Next::Other(*part),
            };
            self.one(writer, publication, *hit, next, sent)?;
        }
        Ok(())
    }

    fn one<P: Peer>(
        &mut self,
        writer: &mut Writer<'_, P>,
        publication: &Publication,
        hit: SubscriptionId,
        next: Next,
        sent: &mut usize,
    ) -> Result<(), Broken> {
        let (_, tail) = self.registry.receiver(hit);
        let part_of = || self.registry.part(hit);
        let is_told = |floor: Floor| floor.is_below(publication.position, part_of);
        let part = match next {
            Next::None => Some(None),
            Next::Other(part) => Some(Some(part)),
            Next::Same => None,
        };
        let part = part.filter(|_| self.cursors.is_some_and(is_told));
        *sent += 1;
        if writer.session.transport.stream().is_some() {
            return writer.publish_event(publication, tail, part, self.tail);
        }
        let Some(part) = part else {
            return writer.publish(publication, tail, self.compression, self.deflater);
        };
        self.tail.clear();
        server::put_publish_tail(self.tail, tail, publication.cursor_text(), part);
        writer.publish(publication, self.tail, self.compression, self.deflater)
    }
}

/// The next message of a publication to a client.
enum Next {
    /// There is none.
    None,
    /// It has the same part.
    Same,
    /// This one's part is the given one, and that of the next is greater.
    Other(Part),
}

impl<P: Peer> Shard<P> {
    /// Everything up to this position was queued, by [`Self::publish`] or [`Self::command`], or does
    /// not concern this shard.
    pub fn handed(&mut self, position: u64) {
        self.lanes.handed_but(position, &[]);
        self.list_all_unhanded();
    }

    /// The same, but for the publications and commands of these tenants, of which some are still to
    /// be queued.
    pub fn handed_but(&mut self, position: u64, tenants: &[TenantId]) {
        self.lanes.handed_but(position, tenants);
        self.list_all_unhanded();
    }

    /// Up to which position a live session was sent everything, apart from what is pending.
    pub(super) fn known(&self, id: ConnectionId) -> u64 {
        let pending = self.sessions[id.index()].pending;
        self.lanes.known(self.tenant_of(id), pending)
    }

    /// The cursor of a client that was sent what was matched so far, apart from what is pending; none
    /// where it has yet to be told that something is missing.
    pub(super) fn cursor(&self, id: ConnectionId) -> Option<Cursor> {
        (!self.is_untold(id)).then(|| self.reached(id))
    }

    /// The same, whatever is missing.
    pub(super) fn reached(&self, id: ConnectionId) -> Cursor {
        let view = self.settings.window.view();
        let key = self.sessions.key(id.0);
        let Some(hold) = self.holds.get(key) else {
            return view.cursor(self.known(id));
        };
        let replay = hold.replay.as_ref();
        let own = replay.and_then(|replay| replay.cursor(hold.upto));
        own.unwrap_or_else(|| view.cursor(hold.upto))
    }

    /// The first message to a client, with what its subprotocol adds.
    /// `resumed`: its ticket let it in.
    pub(super) fn first_message(
        &mut self,
        id: ConnectionId,
        message: &[u8],
        resumed: bool,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Vec<u8> {
        if !self.has_subprotocol(id) {
            return message.to_vec();
        }
        let resumption = self.resumption(id, turn);
        let resumed = (resumed, &resumption);
        let bytes = Some(self.settings.limits.message_bytes);
        let bytes = bytes.filter(|bytes| *bytes < server::MESSAGE_BYTES);
        let (cursor, features) = (self.reached(id), self.features());
        server::with_features(message, cursor, resumed, features, bytes)
    }

    fn features(&self) -> &'static [Feature] {
        match self.settings.recovery.enabled {
            true => &Feature::ALL,
            false => &[Feature::Ping],
        }
    }

    /// Answers a `ping` of a client of our subprotocol.
    pub(super) fn on_json_ping(
        &mut self,
        id: ConnectionId,
        name: Option<&RequestId>,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        let resumption = self.resumption_of_ping(id, turn);
        let answer = server::pong(name, self.cursor(id), &resumption);
        self.reply(id, &answer, replies);
        let peer = &mut self.sessions[id.index()].peer;
        turn.world.hook(Hook::Ping, peer, turn.now);
    }

    /// Answers a `ping` of a held session: it is alive. Returns false where the message is another
    /// one.
    pub(super) fn answers_held_ping(
        &mut self,
        id: ConnectionId,
        event: &Event<'_>,
        replies: &mut Vec<u8>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let Event::Text(text) = event else {
            return false;
        };
        let key = self.sessions.key(id.0);
        if !self.has_subprotocol(id) || self.holds.is_newcomer(key) {
            return false;
        }
        self.budget.spend(cost::parse(text.len()));
        let message = ClientMessage::parse(text, &self.message_limits());
        let Ok(ClientMessage::Ping {
            request_id: Ok(name),
        }) = message
        else {
            return false;
        };
        self.on_json_ping(id, name.as_ref(), replies, turn);
        true
    }

    /// Writes a connection's hits with their cursors, but for those of a publication that is not
    /// matched completely. Returns their size in bytes, with the work of compressing them as bytes.
    #[inline(never)]
    pub(super) fn flush_with_cursors(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> usize {
        let Self {
            sessions,
            registry,
            settings,
            stats,
            tallies,
            deflater,
            scratch,
            tail,
            lanes,
            gaps,
            ..
        } = self;
        let fan_out = &lanes.current;
        let is_untold = gaps.is_untold(id.index(), fan_out.gap);
        let unfinished = fan_out.unfinished();
        let (bounds, session) = (settings.bounds(), &mut sessions[id.index()]);
        let Pending { first, last } = std::mem::replace(&mut session.pending, Pending::EMPTY);
        tallies.enter(fan_out.tenant, stats);
        let deflate = session.transport.deflate();
        let mut writer = Writer::new((session, deflate), bounds, std::mem::take(scratch), stats);
        let mut sender = Sender {
            registry,
            compression: &settings.compression,
            deflater,
            tail,
            cursors: (!is_untold).then_some(Floor::at(0)),
        };
        let (mut at, mut result, mut unsent) = (first, Ok(()), 0);
        let mut hits = SmallVec::<[SubscriptionId; 8]>::new();
        while at != NONE && result.is_ok() {
            let (publication, next) = fan_out.next_hits(at, &mut hits);
            if unfinished == Some(publication.position) {
                break;
            }
            let mut sent = 0;
            result = sender.send(&mut writer, publication, &hits, &mut sent);
            unsent = hits.len() - sent;
            at = next;
        }
        result = result.and_then(|()| writer.flush());
        let waits = writer.session.outbox.is_some();
        let Writer { scratch, bytes, .. } = writer;
        self.budget.spend(cost::write(bytes));
        self.recycle(scratch);
        let rest = Pending { first: at, last };
        if let Err(broken) = result {
            self.stats.undelivered += self.lanes.current.pending(rest) + unsent as u64;
            self.broken(id, broken, turn);
        } else {
            if at != NONE {
                self.sessions[id.index()].pending = rest;
                self.lanes.current.leaves_hits = true;
            }
            if waits {
                self.waits(id, turn);
            }
            if self.is_stream(id) {
                self.list_poll(self.sessions.key(id.0));
            }
        }
        bytes
    }
}
