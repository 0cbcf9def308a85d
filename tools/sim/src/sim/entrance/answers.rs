//! The API: how it does, and what it says of whom.

use crate::api::{Mood, Said};
use crate::sim::{Event, Sim};

impl Sim {
    /// The API changes, for so long.
    pub(crate) fn mood(&mut self, mood: Mood, ms: u64) {
        self.mood = mood;
        self.moods += 1;
        let number = self.moods;
        self.up_since = mood.is_up().then_some(self.events.now);
        self.events.after(ms, Event::Recovers(number));
    }

    /// The API works again, unless something else happened to it meanwhile.
    pub(crate) fn recovers(&mut self, number: usize) {
        if self.moods == number {
            self.mood = Mood::Works;
            self.up_since.get_or_insert(self.events.now);
        }
    }

    /// What the API says of whom it is asked about now. It looks the grants up at once, or when it
    /// responds.
    pub(crate) fn said(&mut self, node: usize, cookie: usize) -> Said {
        self.calls += 1;
        let is_early = self.calls.is_multiple_of(2);
        Said {
            grants: is_early.then(|| self.granted(cookie)),
            asked: self.events.now,
            asked_at: self.nodes[node].last_command,
            gap: self.nodes[node].gaps.last(),
            resumed: None,
        }
    }

    /// What the API grants.
    pub(crate) fn granted(&self, cookie: usize) -> usize {
        self.rights[cookie % self.rights.len()]
    }
}
