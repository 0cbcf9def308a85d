//! Turns, against a naive model.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn key(number: u8) -> QueueKey {
    Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))).into()
}

fn lane_of(address: &str) -> QueueKey {
    Some(address.parse::<IpAddr>().unwrap()).into()
}

#[test]
fn a_queue_key_is_an_ipv4_address_or_an_ipv6_network() {
    assert_eq!(lane_of("10.0.0.1"), lane_of("::ffff:10.0.0.1"));
    assert_ne!(lane_of("10.0.0.1"), lane_of("10.0.0.2"));
    assert_eq!(lane_of("2001:db8:0:1::1"), lane_of("2001:db8:0:1:f::2"));
    assert_ne!(lane_of("2001:db8:0:1::1"), lane_of("2001:db8:0:2::1"));
    assert_ne!(QueueKey::from(None), lane_of("::"));
}

#[test]
fn one_client_is_second_behind_five_thousand_of_another_address() {
    let mut line = FairQueue::default();
    for number in 0..5_000 {
        line.push(key(1), (1, number));
    }
    line.push(key(2), (2, 0));
    let mut pop = || line.pop(|_| true).map(|(_, item)| item);
    assert_eq!(
        [pop(), pop(), pop()],
        [Some((1, 0)), Some((2, 0)), Some((1, 1))]
    );
    // An ineligible key is skipped, and keeps its turn.
    line.push(key(2), (2, 1));
    let mut pop = |passed| line.pop(|own| own != key(passed));
    assert_eq!(pop(1), Some((key(2), (2, 1))));
    assert_eq!(pop(1), None);
    assert_eq!(pop(2), Some((key(1), (1, 2))));
}

#[test]
fn a_full_queue_drops_from_the_longest_one() {
    let mut line = FairQueue::default();
    for number in 0..3 {
        line.push(key(1), (1, number));
    }
    assert_eq!(line.make_room(key(1)), None);
    assert_eq!(line.make_room(key(2)), Some((1, 2)));
    line.push(key(2), (2, 0));
    // The other key would become shorter than this one.
    assert_eq!(line.make_room(key(2)), None);
    assert_eq!(line.make_room(key(3)), Some((1, 1)));
    assert_eq!(FairQueue::<u8>::default().make_room(key(1)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Pop,
    /// The entry at this index among all that were ever added.
    Remove(prop::sample::Index),
    MakeRoom(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8).prop_map(Step::Push),
        2 => Just(Step::Pop),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => (0..5u8).prop_map(Step::MakeRoom),
    ]
}

/// FairQueue in the order of their turns.
#[derive(Default)]
struct Model(VecDeque<(u8, VecDeque<usize>)>);

impl Model {
    fn push(&mut self, key: u8, item: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, waiting)) => waiting.push_back(item),
            None => self.0.push_back((key, [item].into())),
        }
    }

    fn pop(&mut self) -> Option<usize> {
        let (key, mut waiting) = self.0.pop_front()?;
        let item = waiting.pop_front();
        if !waiting.is_empty() {
            self.0.push_back((key, waiting));
        }
        item
    }

    fn remove(&mut self, item: usize) -> Option<usize> {
        let (_, waiting) = self.0.iter_mut().find(|(_, w)| w.contains(&item))?;
        waiting.retain(|&other| other != item);
        self.0.retain(|(_, waiting)| !waiting.is_empty());
        Some(item)
    }

    fn make_room(&mut self, key: u8) -> Option<usize> {
        let own = self.0.iter().find(|(known, _)| *known == key);
        let own = own.map_or(0, |(_, waiting)| waiting.len());
        let (_, longest) = self.0.iter().max_by_key(|(key, w)| (w.len(), *key))?;
        let last = *longest.back()?;
        (longest.len() > own + 1).then(|| self.remove(last))?
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, waiting)| waiting.len()).sum()
    }
}

proptest! {
    #[test]
    fn the_queue_matches_the_model(steps in prop::collection::vec(step(), 0..200)) {
        let (mut line, mut model) = (FairQueue::default(), Model::default());
        let mut stands = Vec::new();
        for step in steps {
            match step {
                Step::Push(number) => {
                    model.push(number, stands.len());
                    stands.push(line.push(key(number), stands.len()));
                }
                Step::Pop => {
                    let popped = line.pop(|_| true).map(|(_, item)| item);
                    prop_assert_eq!(popped, model.pop());
                }
                Step::Remove(index) if !stands.is_empty() => {
                    let item = index.index(stands.len());
                    prop_assert_eq!(line.remove(stands[item]), model.remove(item));
                }
                Step::Remove(_) => {}
                Step::MakeRoom(number) => {
                    prop_assert_eq!(line.make_room(key(number)), model.make_room(number));
                }
            }
            prop_assert_eq!(line.len(), model.len());
            prop_assert_eq!(line.turns.len(), model.0.len());
            prop_assert_eq!(line.queues.len(), model.0.len());
            prop_assert_eq!(line.lengths.len(), model.0.len());
        }
        while let Some(item) = model.pop() {
            prop_assert_eq!(line.pop(|_| true).map(|(_, item)| item), Some(item));
        }
        prop_assert_eq!(line.pop(|_| true), None);
    }
}
