//! The data of a run's triggers, and each client's record of what it received.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Minimum length of the data, in bytes: enough for the largest numbers.
pub(super) const DATA_BYTES_MIN: usize = 120;

/// The data of one trigger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Stamp {
    /// Identifies the run.
    #[serde(rename = "high-templar-bench")]
    pub(super) run: String,
    /// Number of the trigger within the run, from 0.
    pub(super) number: u64,
    /// When it was sent, in nanoseconds since the start of the run.
    pub(super) sent: u64,
}

/// A random name for a run.
pub(super) fn run_name() -> String {
    // The seed is random; nothing is hashed.
    format!("{:016x}", RandomState::new().hash_one(()))
}

impl Stamp {
    /// The data's JSON text of `bytes` bytes, at least [`DATA_BYTES_MIN`].
    pub(super) fn to_json(&self, bytes: usize) -> String {
        let Self { run, number, sent } = self;
        let start =
            format!(r#"{{"high-templar-bench":"{run}","number":{number},"sent":{sent},"fill":""#);
        let fill = bytes.saturating_sub(start.len() + "\"}".len());
        format!("{start}{}\"}}", "x".repeat(fill))
    }
}

/// A message that a client received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A publication of this run.
    Own(Stamp),
    /// A publication of another program.
    Foreign,
    /// A reply, such as `pong`.
    Reply,
}

/// Parses a message of the gateway.
pub(super) fn parse(text: &str, run: &str) -> Message {
    #[derive(Deserialize)]
    struct Publish<'a> {
        #[serde(rename = "type")]
        _kind: String,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let Ok(message) = serde_json::from_str::<Publish<'_>>(text) else {
        return Message::Reply;
    };
    match serde_json::from_str::<Stamp>(message.data.get()) {
        Ok(stamp) if stamp.run == run => Message::Own(stamp),
        _ => Message::Foreign,
    }
}

/// One client's record of the triggers that it received.
#[derive(Debug, Default)]
pub(super) struct Received {
    next: u64,
    /// Numbers that were skipped and have not arrived yet.
    missing: Vec<Range<u64>>,
    /// Triggers that arrived again.
    pub(super) doubled: u64,
    /// Triggers that arrived after a later one.
    pub(super) out_of_order: u64,
}

impl Received {
    /// For a client that subscribed before trigger number `next`.
    pub(super) fn from(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Records a trigger.
    pub(super) fn add(&mut self, number: u64) {
        if number >= self.next {
            if number > self.next {
                self.missing.push(self.next..number);
            }
            self.next = number + 1;
            return;
        }
        let Some(at) = self.missing.iter().position(|gap| gap.contains(&number)) else {
            self.doubled += 1;
            return;
        };
        self.out_of_order += 1;
        let gap = self.missing.swap_remove(at);
        let parts = [gap.start..number, number + 1..gap.end];
        self.missing
            .extend(parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// How many of the triggers below number `end` did not arrive.
    pub(super) fn lost(&self, end: u64) -> u64 {
        let skipped: u64 = self.missing.iter().map(|gap| gap.end - gap.start).sum();
        end.saturating_sub(self.next) + skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from: u64, numbers: &[u64]) -> Received {
        let mut received = Received::from(from);
        numbers.iter().for_each(|&number| received.add(number));
        received
    }

    #[test]
    fn lost_duplicated_and_reordered_triggers_are_counted_separately() {
        for (from, numbers, lost, doubled, out_of_order) in [
            (0, &[0, 1, 2, 3, 4][..], 0, 0, 0),
            (2, &[2, 3, 4], 0, 0, 0),
            (0, &[], 5, 0, 0),
            (0, &[0, 1, 2], 2, 0, 0),
            (0, &[0, 3, 4], 2, 0, 0),
            (0, &[0, 1, 1, 2, 3, 4, 1], 0, 2, 0),
            (0, &[1, 0, 2, 3, 4], 0, 0, 1),
            (0, &[4, 1, 3, 0, 2], 0, 0, 4),
            (0, &[4, 1, 1], 3, 1, 1),
        ] {
            let received = received(from, numbers);
            let found = (received.lost(5), received.doubled, received.out_of_order);
            assert_eq!(found, (lost, doubled, out_of_order), "{numbers:?}");
        }
    }

    #[test]
    fn data_has_the_requested_length_and_is_parsed() {
        let stamp = Stamp {
            run: run_name(),
            number: u64::MAX / 1_000_000,
            sent: u64::MAX / 1_000_000,
        };
        for bytes in [DATA_BYTES_MIN, 128, 5_000] {
            let data = stamp.to_json(bytes);
            assert_eq!(data.len(), bytes);
            let text = format!(r#"{{"type": "publish", "data": {data}, "requestId": 0}}"#);
            assert_eq!(parse(&text, &stamp.run), Message::Own(stamp.clone()));
            assert_eq!(parse(&text, "other"), Message::Foreign);
        }
        assert_ne!(run_name(), stamp.run);
    }

    #[test]
    fn publications_of_other_programs_are_foreign() {
        for data in ["1", "null", "{}", r#"{"high-templar-bench":1}"#] {
            let text = format!(r#"{{"type": "publish", "data": {data}, "requestId": 0}}"#);
            assert_eq!(parse(&text, "x"), Message::Foreign, "{data}");
        }
        for text in ["pong", r#"{"code": "success"}"#] {
            assert_eq!(parse(text, "x"), Message::Reply, "{text}");
        }
    }
}
