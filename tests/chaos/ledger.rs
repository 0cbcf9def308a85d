//! What was accepted against what was heard: pure, so that the judge itself can be tested.

use std::time::Instant;

/// A trigger that was answered 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) number: u64,
    /// Before it was sent.
    pub(crate) begun: Instant,
    /// After it was answered.
    pub(crate) placed: Instant,
}

/// Why a connection hears nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It hears on.
    Alive,
    /// Its node was killed: what was under way is lost with it.
    Killed,
    /// Its node was told to leave at this moment, and owed what was accepted before.
    Left(Instant),
    /// It was told of a gap: it fetches anew what it may have missed.
    Told,
}

/// Whose publisher it is, as a connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// That of its own node.
    Own,
    /// That of another node, whose triggers come through the broker.
    Other,
}

/// What one connection heard of one publisher.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// After its subscription was confirmed.
    pub(crate) since: Instant,
    pub(crate) numbers: Vec<u64>,
    pub(crate) end: End,
}

/// Checks that nothing came twice or out of order.
fn check_order(heard: &Heard) -> Result<(), String> {
    match heard.numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(format!("{} after {}", pair[1], pair[0])),
        None => Ok(()),
    }
}

/// Checks also that nothing is missing that was accepted, by whichever node, without the connection
/// being told of a gap or ended with its node.
pub(crate) fn check(accepted: &[Accepted], heard: &Heard, whose: Whose) -> Result<(), String> {
    check_order(heard)?;
    let last = heard.numbers.last().copied().unwrap_or(0);
    let owed = |accepted: &&Accepted| {
        let before_last = accepted.number <= last;
        accepted.begun > heard.since
            && match (heard.end, whose) {
                (End::Alive, _) => true,
                (End::Killed | End::Told, Whose::Own) => before_last,
                (End::Left(at), Whose::Own) => before_last || accepted.placed < at,
                // Its page fetches anew, whatever the broker lost before.
                (End::Killed | End::Told | End::Left(_), Whose::Other) => false,
            }
    };
    let missing: Vec<_> = accepted
        .iter()
        .filter(owed)
        .map(|accepted| accepted.number)
        .filter(|number| heard.numbers.binary_search(number).is_err())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} are missing, the first is {}; heard {} up to {last}; {:?}",
        missing.len(),
        missing[0],
        heard.numbers.len(),
        heard.end,
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_judge_sees_what_is_wrong_and_nothing_else() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
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
            check(&accepted, &heard, whose).is_ok()
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
        assert!(verdict(0, &[1, 2, 3], End::Killed), "lost with its node");
        assert!(!verdict(0, &[1, 3], End::Killed), "a gap");
        assert!(verdict(0, &[1, 2, 3], End::Left(at(40))), "under way");
        assert!(!verdict(0, &[1, 2, 3], End::Left(at(46))), "owed");
        assert!(verdict(0, &[1, 2, 3], End::Told), "told");
        assert!(
            !verdict(0, &[1, 3], End::Told),
            "nothing is lost at its node"
        );
        let other = |numbers: &[u64], end| judge(0, numbers, end, Whose::Other);
        assert!(other(&[1, 2, 3, 4, 5, 6], End::Alive));
        assert!(!other(&[1, 2, 4, 5, 6], End::Alive), "lost and not told");
        assert!(!other(&[1, 2, 3], End::Alive), "lost at the end");
        assert!(other(&[1, 3], End::Told), "lost and told");
        assert!(!other(&[3, 1], End::Told), "turned round");
    }
}
