//! Compares accepted publications with received ones: pure, so that the judge itself can be tested.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// The end of a connection excuses publications that were accepted at most this long before it.
/// Those accepted just before the broker failed are reported when the node is connected again: on a
/// busy machine RabbitMQ takes up to half a minute to restart. A lost binding is detected by a
/// probe within `readiness.probe_interval` and `readiness.probe_timeout`, 8 s together by default.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// A trigger that was answered 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) number: u64,
    /// Before it was sent.
    pub(crate) begun: Instant,
    /// After it was answered.
    pub(crate) placed: Instant,
}

/// Why a connection receives nothing more, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It is open.
    Alive,
    /// Its node was killed: messages in flight are lost with it.
    Killed(Instant),
    /// Its node was told to shut down, and owed what was accepted before.
    Left(Instant),
    /// It was closed for a gap: its page fetches anew what it may have missed.
    Gap(Instant),
}

impl End {
    /// Its time; `None` for an open connection.
    fn at(self) -> Option<Instant> {
        match self {
            Self::Alive => None,
            Self::Killed(at) | Self::Left(at) | Self::Gap(at) => Some(at),
        }
    }
}

/// Whose publisher it is, as a connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// That of its own node.
    Own,
    /// That of another node, whose triggers are received through the broker.
    Other,
}

/// Messages that one connection received of one publisher.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// After its subscription was confirmed.
    pub(crate) since: Instant,
    pub(crate) numbers: Vec<u64>,
    pub(crate) end: End,
}

/// Messages that connections did not receive although they were accepted while subscribed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Publications that at least one connection did not receive, by publisher.
    lost: BTreeSet<(&'static str, u64)>,
    /// Missing deliveries that a reported gap excuses.
    pub(crate) excused_by_gap: usize,
    /// Missing deliveries that the end of the connection's node excuses.
    pub(crate) excused_by_node: usize,
    /// Missing deliveries without an excuse.
    pub(crate) unexcused: usize,
    /// Longest time from an excused publication's 200 until the end of the connection.
    pub(crate) oldest: Duration,
}

impl Tally {
    /// Adds the messages that one connection received of one publisher, and checks that none
    /// arrived twice or out of order, and that none is missing that [`excuse`] does not cover.
    pub(crate) fn check(
        &mut self,
        publisher: &'static str,
        accepted: &[Accepted],
        heard: &Heard,
        whose: Whose,
    ) -> Result<(), String> {
        check_order(heard)?;
        let last = heard.numbers.last().copied().unwrap_or(0);
        let mut missing = Vec::new();
        let subscribed = accepted.iter().filter(|it| it.begun > heard.since);
        for accepted in subscribed {
            let number = accepted.number;
            if heard.numbers.binary_search(&number).is_ok() {
                continue;
            }
            match excuse(accepted, heard.end, whose, last) {
                Excuse::Later => continue,
                Excuse::Gap(age) => {
                    self.excused_by_gap += 1;
                    self.oldest = self.oldest.max(age);
                }
                Excuse::Node(age) => {
                    self.excused_by_node += 1;
                    self.oldest = self.oldest.max(age);
                }
                Excuse::None => missing.push(number),
            }
            self.lost.insert((publisher, number));
        }
        self.unexcused += missing.len();
        let Some(first) = missing.first() else {
            return Ok(());
        };
        Err(format!(
            "{} are missing, the first is {first}; heard {} up to {last}; {:?}",
            missing.len(),
            heard.numbers.len(),
            heard.end,
        ))
    }

    /// Adds another one's numbers.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.excused_by_gap += other.excused_by_gap;
        self.excused_by_node += other.excused_by_node;
        self.unexcused += other.unexcused;
        self.oldest = self.oldest.max(other.oldest);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} publications lost; missing deliveries: {} excused by a reported gap, {} by the end \
             of a node, {} not excused; accepted at most {:.1?} before",
            self.lost.len(),
            self.excused_by_gap,
            self.excused_by_node,
            self.unexcused,
            self.oldest,
        )
    }
}

/// Checks that nothing arrived twice or out of order.
fn check_order(heard: &Heard) -> Result<(), String> {
    match heard.numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(format!("{} after {}", pair[1], pair[0])),
        None => Ok(()),
    }
}

/// Why a connection need not have received a publication, with the time from its 200 to the end of
/// the connection.
#[derive(Clone, Copy, Debug)]
enum Excuse {
    /// It was owed.
    None,
    /// It was accepted after the connection's end.
    Later,
    /// The gap was reported soon after.
    Gap(Duration),
    /// The node ended soon after.
    Node(Duration),
}

/// The excuse for a publication that a connection did not receive; `last` is the last one that it
/// received.
fn excuse(accepted: &Accepted, end: End, whose: Whose, last: u64) -> Excuse {
    // No message is lost between a node and its own clients.
    let is_between = whose == Whose::Own && accepted.number <= last;
    let Some(at) = end.at().filter(|_| !is_between) else {
        return Excuse::None;
    };
    if accepted.placed >= at {
        return Excuse::Later;
    }
    let age = at - accepted.placed;
    match (end, whose) {
        _ if age > WINDOW => Excuse::None,
        (End::Alive, _) | (End::Left(_), Whose::Own) => Excuse::None,
        (End::Gap(_), _) => Excuse::Gap(age),
        (End::Killed(_), _) | (End::Left(_), Whose::Other) => Excuse::Node(age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_detects_errors_and_nothing_else() {
        let start = Instant::now();
        let at = |tick: u64| start + Duration::from_secs(WINDOW.as_secs() / 10 * tick);
        let accepted: Vec<_> = (1..=6)
            .map(|number| Accepted {
                number,
                begun: at(10 * number),
                placed: at(10 * number + 5),
            })
            .collect();
        let judge = |since, numbers: &[u64], end, whose| {
            let heard = Heard {
                since: at(since),
                numbers: numbers.to_vec(),
                end,
            };
            Tally::default().check("", &accepted, &heard, whose).is_ok()
        };
        let verdict = |since, numbers: &[u64], end| judge(since, numbers, end, Whose::Own);
        assert!(verdict(0, &[1, 2, 3, 4, 5, 6], End::Alive));
        assert!(verdict(35, &[4, 5, 6], End::Alive), "what came before");
        assert!(verdict(35, &[3, 4, 5, 6], End::Alive), "may be heard");
        assert!(verdict(0, &[1, 2, 3, 4, 5, 6, 7], End::Alive), "unanswered");
        assert!(!verdict(0, &[1, 2, 3, 4, 5], End::Alive), "the last");
        assert!(!verdict(0, &[1, 2, 4, 5, 6], End::Alive), "a gap");
        assert!(!verdict(0, &[1, 2, 2, 3, 4, 5, 6], End::Alive), "twice");
        assert!(!verdict(0, &[2, 1, 3, 4, 5, 6], End::Alive), "turned round");
        let killed = End::Killed(at(55));
        assert!(verdict(0, &[1, 2, 3], killed), "lost with its node");
        assert!(!verdict(0, &[1, 3], killed), "a hole");
        assert!(!verdict(0, &[1, 2], killed), "too long before");
        assert!(verdict(0, &[1, 2, 3], End::Left(at(40))), "under way");
        assert!(!verdict(0, &[1, 2, 3], End::Left(at(46))), "owed");
        let gap = End::Gap(at(55));
        assert!(verdict(0, &[1, 2, 3], gap), "reported");
        assert!(!verdict(0, &[1, 3], gap), "nothing is lost at its node");
        let other = |numbers: &[u64], end| judge(0, numbers, end, Whose::Other);
        assert!(other(&[1, 2, 3, 4, 5, 6], End::Alive));
        assert!(!other(&[1, 2, 4, 5, 6], End::Alive), "lost and not told");
        assert!(!other(&[1, 2, 3], End::Alive), "lost at the end");
        assert!(other(&[1, 2, 3, 5], gap), "lost and reported");
        assert!(!other(&[1, 3, 4, 5], gap), "lost too long before");
        assert!(other(&[1, 2, 3], End::Left(at(55))), "its node ended");
        assert!(!other(&[1, 3, 2, 4, 5], gap), "turned round");
    }

    #[test]
    fn the_tally_counts_lost_and_excused_messages() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let accepted: Vec<_> = (1..=4)
            .map(|number| Accepted {
                number,
                begun: at(number),
                placed: at(number),
            })
            .collect();
        let mut tally = Tally::default();
        let mut check = |numbers: &[u64], end| {
            let heard = Heard {
                since: start,
                numbers: numbers.to_vec(),
                end,
            };
            tally.check("a", &accepted, &heard, Whose::Other).is_ok()
        };
        assert!(check(&[1, 2, 3, 4], End::Alive));
        assert!(check(&[1], End::Gap(at(4))));
        assert!(check(&[1, 2], End::Killed(at(5))));
        assert!(!check(&[1, 2, 4], End::Alive));
        let mut total = Tally::default();
        total.add(tally);
        assert_eq!(total.lost.len(), 3, "2, 3 and 4");
        assert_eq!(total.excused_by_gap, 2, "2 and 3");
        assert_eq!(total.excused_by_node, 2, "3 and 4");
        assert_eq!(total.unexcused, 1, "3");
        assert_eq!(total.oldest, Duration::from_secs(2));
    }
}
