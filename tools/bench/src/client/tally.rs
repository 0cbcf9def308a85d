//! Totals over all clients.

use crate::check::Faults;
use crate::workload::Subscribers;
use ht_telemetry::latency::Latency;

/// What the clients have received.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages, without repetitions.
    pub delivered: u64,
    /// Bytes of the last message's frame, header included.
    pub frame_bytes: usize,
    /// Time from the publisher's stamp to the client's read.
    pub latency: Latency,
    /// Faults.
    pub faults: Faults,
    /// Description of the first fault.
    pub first_fault: Option<String>,
    /// Number of receivers of each trigger, by its number.
    heard: Vec<u32>,
    /// Triggers that all their receivers have received.
    pub completed: u64,
    /// Pongs.
    pub pongs: u64,
    /// Replies to requests for further subscriptions.
    pub answers: u64,
}

impl Tally {
    /// Counts a message that one of its subscribers received for the first time.
    pub(super) fn count(&mut self, trigger: u64, subscribers: &Subscribers) {
        self.delivered += 1;
        // Numbers that were never sent would only use memory.
        const TRIGGERS_MAX: u64 = 1 << 26;
        if trigger >= TRIGGERS_MAX {
            return;
        }
        let place = trigger as usize;
        if self.heard.len() <= place {
            self.heard.resize(place + 1, 0);
        }
        self.heard[place] += 1;
        if self.heard[place] as usize == subscribers.receivers_of(trigger) {
            self.completed += 1;
        }
    }
}
