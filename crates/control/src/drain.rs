//! The order of a graceful shutdown: the next step of a node, and how long it waits for it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use ht_proto::close::Close;

use crate::waves::{DrainWaves, WAVE};

/// Timeout for earlier publications to arrive from the broker.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Timeout for the remainder once shutdown is hurried.
const HURRIED: Duration = Duration::from_secs(1);

/// Settings of a graceful shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// For this long the node only reports that it is not ready, and serves normally.
    pub delay: Duration,
    /// The connections are closed over this time at most.
    pub period: Duration,
    /// After this time what is left is dropped. The delay does not count.
    pub timeout: Duration,
}

/// The next step of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stop admitting clients, and report [`Drain::entrance_closed`].
    CloseEntrance,
    /// Check that all earlier publications have a position, and report [`Drain::caught_up`]: a
    /// trigger that another node acknowledged may still be in flight to this one.
    CatchUp,
    /// Have each shard close [`DrainWaves::count`] of its connections, after their earlier
    /// publications.
    Close {
        /// Waves that follow before the last.
        left: u64,
        /// The close reason that clients receive.
        close: Close,
    },
    /// No subscriber is left for triggers from here on: have each shard close the remaining
    /// connections, and report [`Drain::shards_ended`].
    CloseAll(Close),
    /// Accept no further triggers, let pending ones be answered, and report
    /// [`Drain::triggers_ended`].
    EndTriggers,
    /// Disconnect from the broker once it has acknowledged everything, and stop the hooks once they
    /// were called, and report [`Drain::rest_ended`].
    EndRest,
    /// All is done, in time or not.
    End {
        /// What was left is dropped.
        is_late: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It serves normally until then.
    Delay(Duration),
    ClosingEntrance,
    CatchingUp(Duration),
    /// So many waves are left; when the next one is due.
    Waves(u64, Duration),
    ClosingAll,
    EndingTriggers,
    EndingRest,
    Ended,
}

/// A node that shuts down. After each call the steps are to be taken ([`Self::poll_step`]).
#[derive(Debug)]
pub struct Drain {
    settings: DrainSettings,
    phase: Phase,
    waves: DrainWaves,
    /// When what is left is dropped; none before admission stops.
    end: Option<Duration>,
    /// When shutdown was hurried.
    hurry: Option<Duration>,
    steps: VecDeque<Step>,
}

impl Drain {
    /// A node begins to shut down: it reports that it is not ready.
    #[must_use]
    pub fn new(settings: DrainSettings, now: Duration) -> Self {
        let mut drain = Self {
            settings,
            phase: Phase::Delay(now.saturating_add(settings.delay)),
            waves: DrainWaves::new(0, settings.period, settings.timeout),
            end: None,
            hurry: None,
            steps: VecDeque::new(),
        };
        drain.tick(now);
        drain
    }

    /// The next step, if one is to be taken now.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Self::tick`] is due, whatever is reported meanwhile.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let next = match self.phase {
            Phase::Delay(until) | Phase::CatchingUp(until) | Phase::Waves(_, until) => Some(until),
            Phase::ClosingEntrance
            | Phase::ClosingAll
            | Phase::EndingTriggers
            | Phase::EndingRest => None,
            Phase::Ended => return None,
        };
        let end = self.end().filter(|_| self.has_end());
        next.into_iter().chain(end).min()
    }

    /// How the connections are closed; known once admission stops.
    #[must_use]
    pub fn waves(&self) -> &DrainWaves {
        &self.waves
    }

    /// Hurries shutdown: what is left has one more second.
    pub fn hurry(&mut self, now: Duration) {
        self.hurry.get_or_insert(now);
        match self.phase {
            Phase::Delay(_) => self.close_entrance(now),
            Phase::CatchingUp(_) | Phase::Waves(..) => self.close_all(),
            Phase::ClosingEntrance
            | Phase::ClosingAll
            | Phase::EndingTriggers
            | Phase::EndingRest
            | Phase::Ended => {}
        }
    }

    /// Admission has stopped; so many connections are open.
    pub fn entrance_closed(&mut self, open: u64, now: Duration) {
        if self.phase == Phase::ClosingEntrance {
            let DrainSettings {
                period, timeout, ..
            } = self.settings;
            self.waves = DrainWaves::new(open, period, timeout);
            if self.hurry.is_some() {
                return self.close_all();
            }
            self.phase = Phase::CatchingUp(now.saturating_add(CATCH_UP));
            self.steps.push_back(Step::CatchUp);
        }
    }

    /// All earlier publications have a position.
    pub fn caught_up(&mut self, now: Duration) {
        if matches!(self.phase, Phase::CatchingUp(_)) {
            self.phase = Phase::Waves(self.waves.waves(), now);
            self.tick(now);
        }
    }

    /// Every shard has closed its last connection.
    pub fn shards_ended(&mut self) {
        if self.phase == Phase::ClosingAll {
            self.phase = Phase::EndingTriggers;
            self.steps.push_back(Step::EndTriggers);
        }
    }

    /// Every trigger is answered.
    pub fn triggers_ended(&mut self) {
        if self.phase == Phase::EndingTriggers {
            self.phase = Phase::EndingRest;
            self.steps.push_back(Step::EndRest);
        }
    }

    /// Broker and hooks have ended.
    pub fn rest_ended(&mut self) {
        if self.phase == Phase::EndingRest {
            self.phase = Phase::Ended;
            self.steps.push_back(Step::End { is_late: false });
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) {
        if self.has_end() && self.end().is_some_and(|end| end <= now) {
            self.phase = Phase::Ended;
            self.steps.push_back(Step::End { is_late: true });
            return;
        }
        match self.phase {
            Phase::Delay(until) if until <= now => self.close_entrance(now),
            // A broker that is unavailable or slow has its timeout, and no more.
            Phase::CatchingUp(until) if until <= now => self.caught_up(now),
            Phase::Waves(0, until) if until <= now => self.close_all(),
            Phase::Waves(left, until) if until <= now => {
                let left = left - 1;
                self.phase = Phase::Waves(left, until.saturating_add(WAVE));
                let close = self.waves.close();
                self.steps.push_back(Step::Close { left, close });
            }
            Phase::Delay(_)
            | Phase::ClosingEntrance
            | Phase::CatchingUp(_)
            | Phase::Waves(..)
            | Phase::ClosingAll
            | Phase::EndingTriggers
            | Phase::EndingRest
            | Phase::Ended => {}
        }
    }

    fn close_entrance(&mut self, now: Duration) {
        self.phase = Phase::ClosingEntrance;
        self.end = Some(now.saturating_add(self.settings.timeout));
        self.steps.push_back(Step::CloseEntrance);
    }

    fn close_all(&mut self) {
        self.phase = Phase::ClosingAll;
        self.steps.push_back(Step::CloseAll(self.waves.close()));
    }

    /// Whether this phase is subject to the timeout.
    fn has_end(&self) -> bool {
        match self.phase {
            Phase::Delay(_) | Phase::ClosingEntrance | Phase::Ended => false,
            Phase::CatchingUp(_)
            | Phase::Waves(..)
            | Phase::ClosingAll
            | Phase::EndingTriggers
            | Phase::EndingRest => true,
        }
    }

    fn end(&self) -> Option<Duration> {
        let hurried = self.hurry.map(|hurry| hurry.saturating_add(HURRIED));
        self.end.into_iter().chain(hurried).min()
    }
}
