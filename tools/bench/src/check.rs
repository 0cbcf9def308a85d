//! Checks that every message arrives once and in order.

use std::collections::BTreeSet;

/// Messages that one connection received. Takes 16 bytes without faults.
#[derive(Clone, Debug, Default)]
pub struct Check {
    next: u64,
    // Boxed: only a connection with missing messages has one.
    #[allow(clippy::box_collection, reason = "16 bytes a connection instead of 32")]
    missing: Option<Box<BTreeSet<u64>>>,
}

/// Faults, summed over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Faults {
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived again.
    pub doubled: u64,
    /// Messages that arrived after a later one.
    pub out_of_order: u64,
    /// Messages that were not for this connection, or could not be read.
    pub stray: u64,
    /// Connections that ended before the run did.
    pub closed: u64,
}

impl Faults {
    /// Whether there are no faults.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Maximum missing numbers that are kept; further ones count as lost.
const GAP_MAX: u64 = 100_000;

impl Check {
    /// For a connection whose first message is number `first`.
    #[must_use]
    pub fn beginning_at(first: u64) -> Self {
        Self {
            next: first,
            missing: None,
        }
    }

    /// Records message `sequence`. Returns whether it is new.
    pub fn receive(&mut self, sequence: u64, faults: &mut Faults) -> bool {
        if sequence == self.next {
            self.next += 1;
            return true;
        }
        if sequence > self.next {
            let kept = self.next..sequence.min(self.next + GAP_MAX);
            faults.lost += sequence - kept.end;
            self.missing.get_or_insert_default().extend(kept);
            self.next = sequence + 1;
            return true;
        }
        let late = self.missing.as_mut().is_some_and(|m| m.remove(&sequence));
        if late {
            faults.out_of_order += 1;
        } else {
            faults.doubled += 1;
        }
        late
    }

    /// The number of the next message.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Counts the missing messages, after `sent` messages in all.
    pub fn finish(&self, sent: u64, faults: &mut Faults) {
        faults.lost += sent.saturating_sub(self.next);
        faults.lost += self.missing.as_ref().map_or(0, |m| m.len() as u64);
        // These were never sent.
        faults.stray += self.next.saturating_sub(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(heard: &[u64], sent: u64) -> Faults {
        let mut faults = Faults::default();
        let mut check = Check::default();
        for &sequence in heard {
            check.receive(sequence, &mut faults);
        }
        check.finish(sent, &mut faults);
        faults
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let none = Faults::default();
        let lost = |lost| Faults { lost, ..none };
        let doubled = |doubled| Faults { doubled, ..none };
        let late = |out_of_order| Faults {
            out_of_order,
            ..none
        };
        for (heard, expected) in [
            (&[0, 1, 2, 3][..], none),
            (&[0, 1, 3], lost(1)),
            (&[0, 1, 2], lost(1)),
            (&[1, 2, 3], lost(1)),
            (&[], lost(4)),
            (&[3], lost(3)),
            (&[0, 1, 1, 2, 3], doubled(1)),
            (&[0, 1, 2, 3, 0, 0], doubled(2)),
            (&[0, 2, 1, 3], late(1)),
            (&[3, 0, 1, 2], late(3)),
            (
                &[0, 2, 1, 1],
                Faults {
                    lost: 1,
                    doubled: 1,
                    out_of_order: 1,
                    ..none
                },
            ),
            (&[0, 1, 2, 3, 4], Faults { stray: 1, ..none }),
        ] {
            assert_eq!(judge(heard, 4), expected, "{heard:?}");
        }
    }

    /// Every sequence of up to six messages out of four, against a slow count.
    #[test]
    fn agrees_with_a_naive_count() {
        const SENT: u64 = 4;
        for length in 0..=6u32 {
            for code in 0..4u64.pow(length) {
                let heard: Vec<u64> = (0..length).map(|i| code / 4u64.pow(i) % 4).collect();
                let mut seen: Vec<u64> = Vec::new();
                let mut expected = Faults::default();
                for &sequence in &heard {
                    if seen.contains(&sequence) {
                        expected.doubled += 1;
                    } else if seen.iter().any(|&s| s > sequence) {
                        expected.out_of_order += 1;
                    }
                    seen.push(sequence);
                }
                expected.lost = (0..SENT).filter(|s| !seen.contains(s)).count() as u64;
                assert_eq!(judge(&heard, SENT), expected, "{heard:?}");
            }
        }
    }

    #[test]
    fn who_comes_later_does_not_miss_what_was_before() {
        let mut faults = Faults::default();
        let mut check = Check::beginning_at(5);
        assert!(check.receive(5, &mut faults));
        check.finish(6, &mut faults);
        assert!(faults.is_none());
        assert!(!check.receive(4, &mut faults));
        assert_eq!(faults.doubled, 1);
    }

    #[test]
    fn a_huge_gap_costs_little_memory() {
        let faults = judge(&[u64::MAX - 1], u64::MAX);
        assert_eq!(faults.lost, u64::MAX - 1);
    }
}
