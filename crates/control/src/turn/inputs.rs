//! What a shard takes from its inbox: as much of each tenant as it can deliver soon.

use ht_core::world::Turn;

use super::around::close_tenant;
use super::{ALL, Around, Readable, ShardLoop};
use crate::input::Input;

impl<P: Readable> ShardLoop<P> {
    /// If the inbox is empty, everything that was handed to the shard is in its queue. Returns
    /// whether that is so.
    pub(super) fn note_handed(&mut self, around: &mut impl Around<P>) -> bool {
        // First: what is sent later is not part of it.
        let handed = around.handed();
        if self.closing.is_some() {
            return false;
        }
        let is_empty = !around.has_input();
        let left = if is_empty { None } else { around.passed_over() };
        if is_empty || left.is_some() {
            self.note_gaps(around);
            self.shard.handed_but(handed, &left.unwrap_or_default());
        }
        is_empty
    }

    pub(super) fn take_inputs(&mut self, around: &mut impl Around<P>) {
        let handed = around.handed();
        for _ in 0..self.limits.inputs {
            // Delivered before more is taken, so that the backlog is bounded here, too.
            let Self {
                shard,
                undelivered,
                limits,
                ..
            } = self;
            undelivered.settle(|tenant| shard.backlog_of(tenant));
            let is_over = shard.backlog() >= ALL * limits.inputs
                || undelivered.bytes() >= ALL * limits.undelivered;
            if is_over {
                return;
            }
            if self.closing.is_none() {
                let is_full = |tenant| undelivered.has(tenant, limits.inputs, limits.undelivered);
                let input = around.next_input(is_full, shard.takes_turns());
                // Afterwards: what was taken may be of after it.
                self.note_gaps(around);
                let Some(input) = input else {
                    let left = around.passed_over();
                    if left.is_some() || !around.has_input() {
                        let left = left.unwrap_or_default();
                        self.shard.handed_but(handed, &left);
                        self.passed_over = left;
                    }
                    return;
                };
                self.take_input(input, around);
            }
            if !self.close_some(around) {
                return;
            }
            around.input_done();
        }
    }

    /// Connections get no cursors of after a gap before they are told of it.
    fn note_gaps(&mut self, around: &mut impl Around<P>) {
        self.shard.note_gap(around.own_gap());
        for (tenant, number) in around.tenant_gaps() {
            self.shard.note_gap_of(tenant, number);
        }
    }

    /// Whether inputs that were passed over can be taken now: nothing else announces that.
    pub(super) fn look_for_room(&mut self) {
        self.has_room = false;
        if self.passed_over.is_empty() {
            return;
        }
        let Self {
            shard,
            undelivered,
            limits,
            passed_over,
            ..
        } = self;
        undelivered.settle(|tenant| shard.backlog_of(tenant));
        let mut tenants = passed_over.iter();
        self.has_room =
            tenants.any(|tenant| !undelivered.has(*tenant, limits.inputs, limits.undelivered));
        if self.has_room {
            passed_over.clear();
        }
    }

    /// Closes connections, if an input said so. Returns false where this has to wait, also for
    /// publications behind a command, which closing a connection does not deliver.
    fn close_some(&mut self, around: &mut impl Around<P>) -> bool {
        let Some((count, close)) = self.closing else {
            return true;
        };
        if self.shard.has_tasks() {
            return false;
        }
        self.closing = None;
        around.closes();
        let now = around.now();
        self.shard
            .close_some(count, close, &mut Turn::new(now, around.world()));
        true
    }

    fn take_input<A: Around<P>>(&mut self, input: Input<A::Probe, A::Wave>, around: &mut A) {
        match input {
            Input::Publish(batch) => {
                let tenant = batch.publications.first().map(|first| first.tenant);
                self.undelivered
                    .add(tenant.unwrap_or_default(), batch.bytes);
                self.shard.publish(batch.publications);
            }
            Input::Command(command) => {
                self.undelivered
                    .add(command.selection.tenant, command.bytes);
                self.shard.command(command);
            }
            Input::Rechecked(rechecked) => {
                self.shard.rechecked(rechecked);
            }
            Input::CommandsLost(tenant, position) => {
                self.undelivered.add(tenant, 0);
                self.shard.lose_commands(tenant, position);
            }
            Input::Settings(settings) => {
                let now = around.now();
                self.shard.reconfigure(*settings, now);
            }
            Input::Bucket(tenant, bucket) => self.shard.set_bucket(tenant, bucket),
            Input::Probe(probe) => around.probed(probe),
            Input::Close { count, close } => self.closing = Some((count, close)),
            Input::CloseMissed { gap, count, done } => {
                let now = around.now();
                let turn = &mut Turn::new(now, around.world());
                let wave = self.shard.close_missed(&gap, count, turn);
                around.wave_done(done, wave);
            }
            Input::CloseTenant(wave) => close_tenant(&mut self.shard, wave, around),
            Input::CloseUnauthenticated(close) => self.leaving = Some(close),
            Input::Abandon(key) => {
                let now = around.now();
                self.shard.abandon(key, &mut Turn::new(now, around.world()));
            }
            Input::Drain(close) => self.drain(close, around),
        }
    }
}
