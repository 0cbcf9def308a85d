//! A figure over the rounds.

use super::short;

/// A figure by round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series(Vec<(u32, f64)>);

impl Series {
    pub(super) fn new(figures: impl Iterator<Item = (u32, f64)>) -> Self {
        Self(figures.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each round's figure divided by the other's of the same round; rounds that lack one are
    /// left out.
    pub(super) fn over(&self, other: &Self) -> Self {
        Self::new(self.0.iter().filter_map(|&(round, figure)| {
            let (_, divisor) = other.0.iter().find(|(r, _)| *r == round)?;
            Some((round, figure / divisor))
        }))
    }

    /// Each round's figure less the other's of the same round.
    pub(super) fn less(&self, other: &Self) -> Self {
        Self::new(self.0.iter().filter_map(|&(round, figure)| {
            let (_, less) = other.0.iter().find(|(r, _)| *r == round)?;
            Some((round, figure - less))
        }))
    }

    pub(super) fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
    }

    pub(super) fn most(&self) -> Option<f64> {
        self.sorted().last().copied()
    }

    /// From the smallest to the largest, as a share of the median; needs two rounds.
    pub(super) fn noise(&self) -> Option<f64> {
        let sorted = self.sorted();
        let [least, .., most] = sorted[..] else {
            return None;
        };
        Some((most - least) / self.median()?)
    }

    /// The median, and behind it the smallest and the largest.
    pub(super) fn with_spread(&self) -> String {
        let Some(median) = self.median() else {
            return "-".to_owned();
        };
        match self.sorted()[..] {
            [least, .., most] => {
                format!("{} ({}–{})", short(median), short(least), short(most))
            }
            _ => short(median),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted: Vec<f64> = self.0.iter().map(|(_, figure)| *figure).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}
