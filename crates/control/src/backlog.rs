//! What waits for a shard: in order, and bounded by what its publications are charged with.

use std::collections::VecDeque;

/// Capacity of an empty backlog that is kept.
const KEPT: usize = 1_024;

/// What an input is charged with.
pub trait Charge {
    /// Bytes of a publication; none of an input that is not dropped.
    fn bytes(&self) -> Option<usize>;
}

/// Inputs that a shard has not taken yet.
#[derive(Debug)]
pub struct Backlog<I> {
    inputs: VecDeque<I>,
    bytes: usize,
    bytes_max: usize,
}

impl<I: Charge> Backlog<I> {
    /// Nothing waits. Publications may be charged with `bytes_max` together; one always fits.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inputs: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Places an input behind all others. Where a publication does not fit, returns those that wait
    /// already: the shard misses them.
    #[must_use = "the shard misses what is returned"]
    pub fn push(&mut self, input: I) -> Vec<I> {
        let bytes = input.bytes().unwrap_or(0);
        let mut missed = Vec::new();
        if self.bytes > 0 && bytes > 0 && self.bytes + bytes > self.bytes_max {
            let mut kept = VecDeque::new();
            for waiting in self.inputs.drain(..) {
                match waiting.bytes() {
                    Some(_) => missed.push(waiting),
                    None => kept.push_back(waiting),
                }
            }
            self.inputs = kept;
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.inputs.push_back(input);
        missed
    }

    /// Takes the next input.
    pub fn pop(&mut self) -> Option<I> {
        let input = self.inputs.pop_front()?;
        if self.inputs.is_empty() {
            self.inputs.shrink_to(KEPT);
        }
        self.bytes = self.bytes.saturating_sub(input.bytes().unwrap_or(0));
        Some(input)
    }

    /// How many inputs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// What the publications that wait are charged with.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Charge for (u8, Option<usize>) {
        fn bytes(&self) -> Option<usize> {
            self.1
        }
    }

    fn names(inputs: impl IntoIterator<Item = (u8, Option<usize>)>) -> Vec<u8> {
        inputs.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn beyond_the_bound_only_publications_are_missed() {
        let mut backlog = Backlog::new(100);
        for input in [(1, Some(60)), (2, None), (3, Some(40)), (4, None)] {
            assert!(backlog.push(input).is_empty(), "{input:?}");
        }
        assert_eq!((backlog.len(), backlog.bytes()), (4, 100));
        assert_eq!(names(backlog.push((5, Some(1)))), [1, 3]);
        assert_eq!(backlog.bytes(), 1);
        assert!(backlog.push((6, None)).is_empty(), "it has no bound");
        let left = std::iter::from_fn(|| backlog.pop());
        assert_eq!(names(left), [2, 4, 5, 6]);
        assert_eq!((backlog.is_empty(), backlog.bytes()), (true, 0));
    }

    #[test]
    fn one_publication_always_fits() {
        let mut backlog = Backlog::new(10);
        assert!(backlog.push((1, Some(1_000))).is_empty());
        assert_eq!(names(backlog.push((2, Some(1_000)))), [1]);
        assert_eq!(backlog.pop(), Some((2, Some(1_000))));
    }
}
