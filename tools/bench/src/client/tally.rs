//! What all clients have heard together.

use crate::check::Faults;
use crate::workload::Audience;
use ht_telemetry::latency::Latency;

/// What the clients have heard.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages that were heard for the first time.
    pub delivered: u64,
    /// Bytes of the last message's frame, header included.
    pub frame_bytes: usize,
    /// From the publisher's stamp to the client's read.
    pub latency: Latency,
    /// What went wrong.
    pub faults: Faults,
    /// The first words about something that went wrong.
    pub first_fault: Option<String>,
    /// How many have heard each trigger, by its number.
    heard: Vec<u32>,
    /// Triggers that all their receivers have heard.
    pub completed: u64,
    /// Answers to pings.
    pub pongs: u64,
    /// Answers to requests for further subscriptions.
    pub answers: u64,
}

impl Tally {
    /// A message was heard for the first time by one of its audience.
    pub(super) fn count(&mut self, trigger: u64, audience: &Audience) {
        self.delivered += 1;
        // A number that nobody sent would only make this grow.
        const TRIGGERS_MAX: u64 = 1 << 26;
        if trigger >= TRIGGERS_MAX {
            return;
        }
        let place = trigger as usize;
        if self.heard.len() <= place {
            self.heard.resize(place + 1, 0);
        }
        self.heard[place] += 1;
        if self.heard[place] as usize == audience.receivers_of(trigger) {
            self.completed += 1;
        }
    }
}
