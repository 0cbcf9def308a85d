//! `since` and `resume`: a client that was away is sent first what it missed.
//!
//! Its session catches up as one that was held ([`crate::shard::catch_up`]), with a bound of its own
//! for each subscription that is recovered. A first pass over the window counts what there is to
//! send and finds what forbids it; then the request is answered, and a second pass sends exactly
//! that, and what was published meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use ht_proto::client::{RequestId, Resumed};
use ht_proto::code::ErrorCode;
use ht_proto::cursor::Cursor;
use ht_proto::server::{NotRecovered, Recovery};

use crate::budget::cost;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::{Eviction, Peer};
use crate::recovery::RecoveryOutcome;
use crate::registry::SubscriptionId;
use crate::select::Tested;
use crate::session::Stage;
use crate::shard::Shard;
use crate::shard::behind::Paused;
use crate::shard::messages::Flow;
use crate::shard::replay::{Counting, ENTRIES, Floor, Registering, Replay, WANTED};
use crate::window::{Kept, Step, Wanted};
use crate::world::{Turn, World};

/// Subscriptions that cost a client as much as a message.
const SUBSCRIPTIONS_PER_MESSAGE: usize = 100;

impl<P: Peer> Shard<P> {
    /// Recovers a subscription that was just registered.
    pub(super) fn recover(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        request_id: RequestId,
        since: Cursor,
        now: u64,
    ) {
        let has_others = self.registry.has_others(subscription);
        let from = Some(since);
        let key = self.begin_replay(id, request_id, from, (has_others, false), now);
        self.add_floor(key, subscription, since);
        self.list_catching(key);
    }

    /// Begins with a `resume`.
    pub(super) fn on_resume(
        &mut self,
        id: ConnectionId,
        request_id: RequestId,
        cursor: Cursor,
        subscriptions: Vec<Resumed>,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        let tokens = subscriptions.len() / SUBSCRIPTIONS_PER_MESSAGE;
        let per_second = self.settings.limits.messages_per_second;
        let session = &mut self.sessions[id.index()];
        if tokens > 0 && !session.rate.allows(tokens, per_second, turn.now) {
            return self.limit(id, Eviction::MessagesPerSecond, turn);
        }
        let has_others = !session.own.is_empty();
        let from = Some(cursor);
        self.begin_replay(id, request_id, from, (has_others, true), turn.now);
        let Stage::Open { grants, .. } = &self.sessions[id.index()].stage else {
            return Flow::Continue;
        };
        let registering = Registering {
            rest: subscriptions.into_iter(),
            cursor: Some(cursor),
            grants: Arc::clone(grants),
        };
        self.register(id, registering, turn)
    }

    /// Registers subscriptions of a `resume` until the connection's slice is over, but one at least.
    pub(super) fn register(
        &mut self,
        id: ConnectionId,
        mut registering: Registering,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> Flow {
        let key = self.sessions.key(id.0);
        let Stage::Open { grants, .. } = &self.sessions[id.index()].stage else {
            return Flow::Continue;
        };
        let grants = Arc::clone(grants);
        if !Arc::ptr_eq(&grants, &registering.grants)
            && let Some(replay) = self.holds.replay_mut(key)
        {
            // They are of later than what is sent again.
            replay.fail(NotRecovered::Permissions);
        }
        for resumed in registering.rest.by_ref() {
            let Resumed {
                request_id,
                room,
                since,
            } = resumed;
            let wanted = || {
                let since = since?.or(registering.cursor);
                let (name, room) = (request_id.as_ref().map_err(|code| *code)?, room?);
                if !grants.permits(&room) {
                    return Err(ErrorCode::RoomNotFound);
                }
                let subscription = self.on_subscribe(id, &grants, room, name, turn)?;
                Ok((subscription, since))
            };
            match wanted() {
                Ok((subscription, Some(since))) => self.add_floor(key, subscription, since),
                Ok((subscription, None)) => self.note_opened(key, subscription),
                Err(code) => {
                    self.stats.errors[code as usize] += 1;
                    if let Some(replay) = self.holds.replay_mut(key) {
                        replay.refused.push((request_id.ok(), code));
                    }
                }
            }
            if self.budget.is_slice_over() {
                break;
            }
        }
        if registering.rest.len() > 0 {
            return Flow::Pause(Paused::Resume(Box::new(registering)));
        }
        self.list_catching(key);
        Flow::Continue
    }

    /// Holds a session, which was sent everything that is matched, to send it what it missed since a
    /// cursor; none: it missed nothing, and begins now.
    pub(super) fn begin_replay(
        &mut self,
        id: ConnectionId,
        request_id: RequestId,
        from: Option<Cursor>,
        (has_others, is_resume): (bool, bool),
        now: u64,
    ) -> SessionKey {
        let view = self.settings.window.view();
        let target = self.known(id);
        let own = (target, view.cursor(target));
        let is_enabled = self.settings.recovery.enabled;
        let found = match from {
            None => Ok(own.0),
            Some(_) if !is_enabled => Err(NotRecovered::Off),
            Some(from) => {
                let found = view.find_of(self.tenant_of(id), &from);
                found.map_err(NotRecovered::from)
            }
        };
        let heard = match found {
            Ok(position) if !has_others => Floor {
                position,
                part: from.and_then(|from| from.part),
            },
            Ok(_) | Err(_) => Floor::at(own.0),
        };
        // Also where it is not found: until the client is told so, it keeps that.
        let cursor = from.filter(|_| !has_others).unwrap_or(own.1);
        let replay = Replay {
            request_id,
            floors: HashMap::default(),
            heard,
            cursor,
            is_whole: !has_others || is_resume,
            is_new: from.is_none(),
            target,
            need: heard.position.max(target),
            refused: Vec::new(),
            failed: found.err(),
            counting: Some(Counting {
                upto: target,
                messages: 0,
                bytes: 0,
            }),
        };
        self.hold_for_replay(id, target, replay, now)
    }

    /// A subscription is sent what is published from now on.
    fn note_opened(&mut self, key: SessionKey, subscription: SubscriptionId) {
        let opened = self.registry.heard_since(subscription);
        if let Some(replay) = self.holds.replay_mut(key) {
            replay.need = replay.need.max(opened);
        }
    }

    /// A subscription is sent what follows a cursor.
    fn add_floor(&mut self, key: SessionKey, subscription: SubscriptionId, since: Cursor) {
        let tenant = self.tenant_of(ConnectionId(key.slot));
        let found = self.settings.window.view().find_of(tenant, &since);
        let opened = self.registry.heard_since(subscription);
        let Some(replay) = self.holds.replay_mut(key) else {
            return;
        };
        replay.need = replay.need.max(opened);
        match found {
            Ok(position) => {
                let part = since.part;
                let floor = Floor { position, part };
                replay.floors.insert(subscription, floor);
                replay.need = replay.need.max(position);
                if let Some(counting) = &mut replay.counting {
                    counting.upto = counting.upto.min(floor.upto());
                }
            }
            Err(unknown) => replay.fail(unknown.into()),
        }
    }

    /// Continues with the first pass for a session. Returns whether its turn is over.
    pub(super) fn count_step(
        &mut self,
        key: SessionKey,
        turn: &mut Turn<'_, impl World<P>>,
    ) -> bool {
        let id = ConnectionId(key.slot);
        let Some(mut replay) = self.holds.get_mut(key).and_then(|hold| hold.replay.take()) else {
            return true;
        };
        let is_done = replay.failed.is_some() || self.count(id, &mut replay);
        let Some(counting) = replay.counting.filter(|_| is_done) else {
            self.put_replay(key, replay);
            self.lanes.current.catching.push_back(key);
            return true;
        };
        replay.counting = None;
        let replayed = match replay.failed {
            Some(reason) => Err(reason),
            None => Ok(counting.messages),
        };
        if !replay.is_new {
            self.stats.recoveries[RecoveryOutcome::from(replayed) as usize] += 1;
        }
        self.stats.replayed += replayed.unwrap_or(0) as u64;
        if !matches!(replayed, Ok(1..))
            && (replay.heard.position <= replay.target || replayed.is_err())
        {
            // Nothing is sent again: it goes on from where the connection is.
            replay.heard = Floor::at(replay.target);
            replay.cursor = self.settings.window.view().cursor(replay.target);
        }
        if replayed.is_err() {
            replay.floors.clear();
        }
        let is_kept = (replay.is_whole || !matches!(replayed, Ok(1..))) && !self.is_untold(id);
        let cursor = is_kept.then_some(replay.cursor);
        let upto = match replayed {
            Ok(1..) => replay.begin(),
            Ok(_) | Err(_) => replay.target,
        };
        if let Some(hold) = self.holds.get_mut(key) {
            hold.upto = upto;
        }
        if self.is_stream(id) {
            let (is_new, refused) = (replay.is_new, std::mem::take(&mut replay.refused));
            self.put_replay(key, replay);
            let replayed = (!is_new).then_some(replayed);
            self.open_stream(id, (replayed, cursor, refused), turn);
        } else {
            let answer = Recovery {
                request_id: &replay.request_id,
                replayed,
                cursor,
                refused: &replay.refused,
            };
            let answer = answer.to_json();
            self.put_replay(key, replay);
            self.put_message(id, &answer, turn);
        }
        self.sessions.find(key).is_none()
    }

    fn put_replay(&mut self, key: SessionKey, replay: Box<Replay>) {
        if let Some(hold) = self.holds.get_mut(key) {
            hold.replay = Some(replay);
        }
    }

    /// Counts what a session is to be sent, or some of it. Returns whether that is all.
    fn count(&mut self, id: ConnectionId, replay: &mut Replay) -> bool {
        let Some(mut counting) = replay.counting else {
            return true;
        };
        let session = &self.sessions[id.index()];
        let Stage::Open { grants, .. } = &session.stage else {
            return true;
        };
        let (key, tenant) = (self.sessions.key(id.0), grants.tenant());
        let view = self.settings.window.view();
        if counting.upto < view.start_of(tenant) {
            let is_trimmed = counting.upto >= view.start();
            replay.fail(match is_trimmed {
                true => NotRecovered::Trimmed,
                false => NotRecovered::Age,
            });
            return true;
        }
        let wanted = self.registry.wanted(&session.own, WANTED);
        let (mut hits, mut tested) = (Vec::new(), Tested::default());
        let bounds = self.settings.recovery;
        let wanted_rooms = wanted.as_ref().map_or(0, Wanted::len);
        let (mut examined, mut units) = (0, cost::want(wanted_rooms));
        let mut is_done = true;
        for step in view.steps_after(counting.upto, wanted.as_ref()) {
            if counting.upto >= replay.target || replay.failed.is_some() {
                break;
            }
            if examined >= ENTRIES || examined > 0 && self.budget.would_be_spent(units) {
                is_done = false;
                break;
            }
            examined += 1;
            let item = match step {
                Step::Item(item) => item,
                Step::Skipped(position) => {
                    units += cost::test_segment(wanted_rooms);
                    counting.upto = position.min(replay.target);
                    continue;
                }
            };
            if item.position > replay.target {
                break;
            }
            units += cost::LOOK;
            match &item.body {
                // Another tenant's.
                Kept::Trimmed => {}
                Kept::Hole => replay.fail(NotRecovered::Age),
                Kept::Command(command) => {
                    units += 2 * command.selection.units();
                    if self.is_meant(key, &command.selection, &mut tested) {
                        replay.fail(NotRecovered::Permissions);
                    }
                }
                Kept::Entry(logged) => {
                    let publication = logged.publication();
                    if publication.tenant == tenant {
                        let own = &session.own;
                        let looked = self.registry.replayed_hits(id, own, publication, &mut hits);
                        units += looked as u64 * cost::LOOK + hits.len() as u64 * cost::HIT;
                        replay.retain(&self.registry, publication, &mut hits);
                        counting.messages += hits.len();
                        counting.bytes += hits.len() * publication.head_len();
                        hits.clear();
                    }
                    if counting.messages > bounds.messages || counting.bytes > bounds.bytes {
                        replay.fail(NotRecovered::TooMuch);
                    }
                }
            }
            counting.upto = item.position;
        }
        replay.counting = Some(counting);
        self.budget
            .spend(units + tested.compared as u64 * cost::LOOK);
        is_done
    }
}
