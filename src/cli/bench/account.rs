//! What a run publishes, and whether it arrives: once, and in its order.

use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Shortest data that holds what is counted, in bytes, whatever the numbers.
pub(super) const DATA_BYTES_MIN: usize = 120;

/// The data of one trigger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Stamp {
    /// Tells this run's triggers from those of others.
    #[serde(rename = "high-templar-bench")]
    pub(super) run: String,
    /// Counts the run's triggers, from 0.
    pub(super) number: u64,
    /// When it was sent, in nanoseconds since the run began.
    pub(super) sent: u64,
}

/// A name that no other run has.
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

/// What a client may hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A trigger of this run.
    Own(Stamp),
    /// Somebody else published into the room.
    Foreign,
    /// An answer, such as `pong`.
    Answer,
}

/// Understands a message of the gateway.
pub(super) fn heard(text: &str, run: &str) -> Heard {
    #[derive(Deserialize)]
    struct Publish<'a> {
        #[serde(rename = "type")]
        _kind: String,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let Ok(message) = serde_json::from_str::<Publish<'_>>(text) else {
        return Heard::Answer;
    };
    match serde_json::from_str::<Stamp>(message.data.get()) {
        Ok(stamp) if stamp.run == run => Heard::Own(stamp),
        _ => Heard::Foreign,
    }
}

/// One client's account of the triggers that it should hear.
#[derive(Debug, Default)]
pub(super) struct Account {
    next: u64,
    /// Numbers that were passed over and did not come yet.
    missing: Vec<Range<u64>>,
    /// Triggers that came again.
    pub(super) doubled: u64,
    /// Triggers that came after a later one.
    pub(super) out_of_order: u64,
}

impl Account {
    /// For a client that hears the triggers from number `next` on.
    pub(super) fn from(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Notes that a trigger came.
    pub(super) fn note(&mut self, number: u64) {
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

    /// How many of the triggers below number `end` did not come.
    pub(super) fn lost(&self, end: u64) -> u64 {
        let passed_over: u64 = self.missing.iter().map(|gap| gap.end - gap.start).sum();
        end.saturating_sub(self.next) + passed_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(from: u64, numbers: &[u64]) -> Account {
        let mut account = Account::from(from);
        numbers.iter().for_each(|&number| account.note(number));
        account
    }

    #[test]
    fn every_fault_is_counted_as_what_it_is() {
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
            let account = account(from, numbers);
            let found = (account.lost(5), account.doubled, account.out_of_order);
            assert_eq!(found, (lost, doubled, out_of_order), "{numbers:?}");
        }
    }

    #[test]
    fn data_has_the_asked_length_and_is_understood() {
        let stamp = Stamp {
            run: run_name(),
            number: u64::MAX / 1_000_000,
            sent: u64::MAX / 1_000_000,
        };
        for bytes in [DATA_BYTES_MIN, 128, 5_000] {
            let data = stamp.to_json(bytes);
            assert_eq!(data.len(), bytes);
            let text = format!(r#"{{"type": "publish", "data": {data}, "requestId": 0}}"#);
            assert_eq!(heard(&text, &stamp.run), Heard::Own(stamp.clone()));
            assert_eq!(heard(&text, "other"), Heard::Foreign);
        }
        assert_ne!(run_name(), stamp.run);
    }

    #[test]
    fn what_others_publish_is_told_apart() {
        for data in ["1", "null", "{}", r#"{"high-templar-bench":1}"#] {
            let text = format!(r#"{{"type": "publish", "data": {data}, "requestId": 0}}"#);
            assert_eq!(heard(&text, "x"), Heard::Foreign, "{data}");
        }
        for text in ["pong", r#"{"code": "success"}"#] {
            assert_eq!(heard(text, "x"), Heard::Answer, "{text}");
        }
    }
}
