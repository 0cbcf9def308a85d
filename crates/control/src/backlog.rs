//! The queue of a shard's inputs: in order, and bounded by what its publications and commands are
//! charged with.
//!
//! Publications that do not fit are missed. A command is never dropped for them, since access that
//! it revokes would persist: it keeps its position while publications around it are dropped. Where
//! commands alone exceed their part, those of the tenant with most of them are dropped, and the first
//! is replaced by something that is worse for its connected clients, but grants nothing.

use std::collections::{BTreeMap, VecDeque};

use ht_proto::entry::TenantId;

/// Capacity of an empty backlog that is kept.
const KEPT: usize = 1_024;

/// What an input is charged with.
pub trait Charge {
    /// Bytes of a publication; none of an input that is not dropped.
    fn bytes(&self) -> Option<usize>;

    /// Whose a command is, and its bytes; none of anything else.
    fn command_bytes(&self) -> Option<(TenantId, usize)> {
        None
    }
}

/// The part of the bound that commands may take: one in so many.
const COMMANDS_PART: usize = 4;

/// Inputs that a shard has not taken yet.
#[derive(Debug)]
pub struct Backlog<I> {
    inputs: VecDeque<I>,
    bytes: usize,
    /// The same of commands.
    command_bytes: usize,
    bytes_max: usize,
}

impl<I: Charge> Backlog<I> {
    /// An empty backlog. Publications and commands may be charged with `bytes_max` together; one
    /// always fits.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inputs: VecDeque::new(),
            bytes: 0,
            command_bytes: 0,
            bytes_max,
        }
    }

    /// Appends an input. Where a publication does not fit, returns the queued ones: the shard
    /// misses them.
    #[must_use = "the shard misses what is returned"]
    pub fn push(&mut self, input: I) -> Vec<I> {
        let bytes = input.bytes().unwrap_or(0);
        let mut missed = Vec::new();
        if self.bytes > 0 && bytes > 0 && self.bytes() + bytes > self.bytes_max {
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

    /// Appends a command. Where the queued commands take too much with it, those of the tenant with
    /// most of them are returned, this one among them if it is its. The first is replaced by what
    /// `instead` makes of the last.
    #[must_use = "they are not carried out"]
    pub fn push_command(&mut self, command: I, mut instead: impl FnMut(&I) -> I) -> Vec<I> {
        let (own, bytes) = command.command_bytes().unwrap_or((TenantId::MAIN, 0));
        let most = self.bytes_max / COMMANDS_PART;
        self.inputs.push_back(command);
        self.command_bytes += bytes;
        let mut lost = Vec::new();
        while self.command_bytes > most.max(bytes) {
            lost.extend(self.lose_commands_of(self.largest(own), &mut instead));
        }
        lost
    }

    /// The tenant whose commands take most; this one, if it is one of several.
    fn largest(&self, own: TenantId) -> TenantId {
        let mut sums = BTreeMap::new();
        let commands = self.inputs.iter().filter_map(Charge::command_bytes);
        commands.for_each(|(tenant, bytes)| *sums.entry(tenant).or_insert(0) += bytes);
        let largest = sums
            .iter()
            .max_by_key(|(tenant, sum)| (**sum, **tenant == own));
        largest.map_or(own, |(tenant, _)| *tenant)
    }

    /// Removes the commands of a tenant.
    fn lose_commands_of(&mut self, tenant: TenantId, instead: &mut impl FnMut(&I) -> I) -> Vec<I> {
        let (mut lost, mut first) = (Vec::new(), 0);
        let mut kept = VecDeque::new();
        for waiting in self.inputs.drain(..) {
            match waiting.command_bytes() {
                Some((of, bytes)) if of == tenant => {
                    if lost.is_empty() {
                        first = kept.len();
                    }
                    self.command_bytes -= bytes;
                    lost.push(waiting);
                }
                Some(_) | None => kept.push_back(waiting),
            }
        }
        if let Some(last) = lost.last() {
            kept.insert(first, instead(last));
        }
        self.inputs = kept;
        lost
    }

    /// Takes the next input.
    pub fn pop(&mut self) -> Option<I> {
        let input = self.inputs.pop_front()?;
        if self.inputs.is_empty() {
            self.inputs.shrink_to(KEPT);
        }
        self.bytes = self.bytes.saturating_sub(input.bytes().unwrap_or(0));
        let command = input.command_bytes().map_or(0, |(_, bytes)| bytes);
        self.command_bytes = self.command_bytes.saturating_sub(command);
        Some(input)
    }

    /// The number of queued inputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// What the queued publications and commands are charged with.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.command_bytes
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

    /// A command of a tenant, which has the numbers from 10 on, or a publication if it is even.
    #[derive(Debug, PartialEq, Eq)]
    struct Numbered(u32, usize);

    impl Charge for Numbered {
        fn bytes(&self) -> Option<usize> {
            self.0.is_multiple_of(2).then_some(self.1)
        }

        fn command_bytes(&self) -> Option<(TenantId, usize)> {
            let is_command = self.0 < 100 && !self.0.is_multiple_of(2);
            is_command.then_some((TenantId::new(self.0 / 10), self.1))
        }
    }

    fn left(backlog: &mut Backlog<Numbered>) -> Vec<u32> {
        let inputs = std::iter::from_fn(|| backlog.pop());
        inputs.map(|input| input.0).collect()
    }

    #[test]
    fn commands_keep_their_position_where_publications_around_them_are_missed() {
        let mut backlog = Backlog::new(100);
        let lost = |last: &Numbered| Numbered(100 + last.0, 0);
        assert!(backlog.push(Numbered(2, 40)).is_empty());
        assert!(backlog.push_command(Numbered(1, 10), lost).is_empty());
        assert!(backlog.push(Numbered(4, 40)).is_empty());
        assert!(backlog.push_command(Numbered(3, 10), lost).is_empty());
        assert_eq!(backlog.bytes(), 100);
        let missed = backlog.push(Numbered(6, 1));
        assert_eq!(missed, [Numbered(2, 40), Numbered(4, 40)]);
        assert_eq!(backlog.bytes(), 21);
        assert_eq!(left(&mut backlog), [1, 3, 6]);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn too_many_commands_are_replaced_at_the_position_of_the_first() {
        let mut backlog = Backlog::new(100);
        let lost = |last: &Numbered| Numbered(100 + last.0, 0);
        assert!(backlog.push(Numbered(2, 10)).is_empty());
        for command in [1, 3] {
            assert!(backlog.push_command(Numbered(command, 10), lost).is_empty());
            assert!(backlog.push(Numbered(4, 10)).is_empty());
        }
        let commands = backlog.push_command(Numbered(5, 10), lost);
        assert_eq!(
            commands,
            [Numbered(1, 10), Numbered(3, 10), Numbered(5, 10)]
        );
        assert_eq!(backlog.bytes(), 30);
        // Then one of any size fits.
        assert!(backlog.push_command(Numbered(7, 500), lost).is_empty());
        assert_eq!(left(&mut backlog), [2, 105, 4, 4, 7]);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn too_many_commands_of_a_tenant_cost_another_none() {
        let mut backlog = Backlog::new(120);
        let lost = |last: &Numbered| Numbered(100 + last.0, 0);
        for command in [Numbered(11, 10), Numbered(1, 10), Numbered(3, 10)] {
            assert!(backlog.push_command(command, lost).is_empty());
        }
        // Those of the one with most of them, although the other one has the last.
        let commands = backlog.push_command(Numbered(13, 5), lost);
        assert_eq!(commands, [Numbered(1, 10), Numbered(3, 10)]);
        assert_eq!(backlog.bytes(), 15);
        let commands = backlog.push_command(Numbered(5, 30), lost);
        assert_eq!(commands, [Numbered(5, 30)]);
        assert_eq!(left(&mut backlog), [11, 103, 13, 105]);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn one_publication_always_fits() {
        let mut backlog = Backlog::new(10);
        assert!(backlog.push((1, Some(1_000))).is_empty());
        assert_eq!(names(backlog.push((2, Some(1_000)))), [1]);
        assert_eq!(backlog.pop(), Some((2, Some(1_000))));
    }
}
