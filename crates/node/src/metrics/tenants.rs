//! What is shown of each tenant, and which tenants have a label of their own.
//!
//! Every count of a tenant is split in two: what was counted while it had a label, and the rest,
//! which is in `other`. Both only grow, so no counter ever goes backwards, whoever gets or loses a
//! label; and from one reading to the next the labels and `other` together grow by what was counted.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ht_proto::entry::TenantId;
use ht_proto::label::Label as _;

use crate::counters::{BootstrapOutcome, TenantLimit};
use crate::meters::{Meter, Meters};
use crate::node::Node;

/// The label of all tenants without one of their own.
pub(crate) const OTHER: &str = "other";

const SINGLE: usize = 6;
const OUTCOMES: usize = BootstrapOutcome::ALL.len();
const LIMITS: usize = TenantLimit::ALL.len();
const LEN: usize = SINGLE + OUTCOMES + LIMITS;

/// The counters of one tenant, or sums or differences of such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts([u64; LEN]);

/// One sample of every metric of a tenant.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Its open connections.
    pub(crate) connections: u64,
    /// Bytes of its publications that wait in shards.
    pub(crate) waiting: u64,
    pub(crate) counts: Counts,
}

impl Counts {
    const ZERO: Self = Self([0; LEN]);

    fn each(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        let pairs = self.0.iter_mut().zip(&other.0);
        pairs.for_each(|(one, other)| *one = change(*one, *other));
    }

    fn plus(mut self, other: &Self) -> Self {
        self.each(other, u64::saturating_add);
        self
    }

    fn minus(mut self, other: &Self) -> Self {
        self.each(other, u64::saturating_sub);
        self
    }

    pub(crate) fn connection_ms(&self) -> u64 {
        self.0[0]
    }

    pub(crate) fn messages(&self) -> u64 {
        self.0[1]
    }

    pub(crate) fn publications(&self) -> u64 {
        self.0[2]
    }

    pub(crate) fn triggers(&self) -> u64 {
        self.0[3]
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.0[4]
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.0[5]
    }

    /// By [`BootstrapOutcome`].
    pub(crate) fn bootstraps(&self) -> &[u64] {
        &self.0[SINGLE..SINGLE + OUTCOMES]
    }

    /// By [`TenantLimit`].
    pub(crate) fn refusals(&self) -> &[u64] {
        &self.0[SINGLE + OUTCOMES..]
    }
}

impl Reading {
    /// What a meter shows now.
    pub(crate) fn of(meters: &Meters, meter: &Meter) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let connections = meters.connections(meter);
        let single: [u64; SINGLE] = [
            connections.ms,
            read(&meter.messages),
            read(&meter.publications),
            read(&meter.triggers),
            read(&meter.deliveries),
            read(&meter.bytes_out),
        ];
        let labelled = meter
            .bootstraps
            .all()
            .into_iter()
            .chain(meter.refusals.all());
        let mut counts = Counts::ZERO;
        let all = single.into_iter().chain(labelled);
        counts
            .0
            .iter_mut()
            .zip(all)
            .for_each(|(count, value)| *count = value);
        Self {
            connections: connections.open,
            waiting: read(&meter.waiting),
            counts,
        }
    }
}

/// What `/metrics` shows of the tenants of a node, each by its label: of at most `max` of them by their
/// names, of the others together as [`OTHER`]. None on a node without tenants.
pub(super) fn all(
    node: &Node,
    labelled: &Mutex<Labelled>,
    max: usize,
) -> Option<Vec<(String, Reading)>> {
    let tenants = &node.tenants;
    if !tenants.are_enabled() {
        return None;
    }
    let read = |(tenant, meter): (TenantId, &Meter)| (tenant, Reading::of(&node.meters, meter));
    let readings: Vec<_> = node.meters.all().map(read).collect();
    let name = |tenant| tenants.name(tenant).map(|name| name.to_string());
    // A tenant of that name is one of the others.
    let may = |tenant| name(tenant).is_some_and(|name| name != OTHER);
    let mut labelled = labelled.lock().unwrap_or_else(PoisonError::into_inner);
    let (own, other) = labelled.split(&readings, max, may);
    let own = own.into_iter();
    let mut all: Vec<_> = own
        .filter_map(|(tenant, reading)| Some((name(tenant)?, reading)))
        .collect();
    all.push((OTHER.to_owned(), other));
    Some(all)
}

/// What is shown of one tenant.
pub(super) fn one(node: &Node, tenant: TenantId, name: &str) -> Vec<(String, Reading)> {
    let reading = Reading::of(&node.meters, node.meters.of(tenant));
    vec![(name.to_owned(), reading)]
}

/// The tenants that have, or had, a label of their own.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    splits: HashMap<TenantId, Split>,
    /// Those that had no label when their counts were first read.
    others: HashSet<TenantId>,
}

/// The counts of a tenant, divided between its own label and [`OTHER`].
#[derive(Clone, Debug)]
struct Split {
    /// What is not under its own label, while it has one.
    rest: Option<Counts>,
    /// What was last shown under its own label.
    shown: Counts,
}

impl Labelled {
    /// Chooses at most `max` tenants that have a label of their own from now on, of those with
    /// these readings and of which `may` have one. A tenant keeps its label until another one
    /// without has more than twice its connections. Returns the samples of each of them, and those
    /// of all others together.
    pub(crate) fn split(
        &mut self,
        readings: &[(TenantId, Reading)],
        max: usize,
        may: impl Fn(TenantId) -> bool,
    ) -> (Vec<(TenantId, Reading)>, Reading) {
        self.choose(readings, max, may);
        let (mut labelled, mut other) = (
            Vec::new(),
            Reading {
                connections: 0,
                waiting: 0,
                counts: Counts::ZERO,
            },
        );
        for (tenant, reading) in readings {
            let counts = &reading.counts;
            let mut split = self.splits.get_mut(tenant);
            if let Some(split) = &mut split
                && let Some(rest) = &split.rest
            {
                split.shown = counts.clone().minus(rest);
                other.counts = other.counts.plus(rest);
                let own = Reading {
                    counts: split.shown.clone(),
                    ..*reading
                };
                labelled.push((*tenant, own));
                continue;
            }
            let shown = split.map_or(Counts::ZERO, |split| split.shown.clone());
            other.counts = other.counts.plus(&counts.clone().minus(&shown));
            other.connections += reading.connections;
            other.waiting += reading.waiting;
            self.others.insert(*tenant);
        }
        (labelled, other)
    }

    fn choose(
        &mut self,
        readings: &[(TenantId, Reading)],
        max: usize,
        may: impl Fn(TenantId) -> bool,
    ) {
        let is_labelled = |tenant: &TenantId| {
            let split = self.splits.get(tenant);
            split.is_some_and(|split| split.rest.is_some())
        };
        let of = |labelled: bool| {
            let some = readings
                .iter()
                .filter(|(tenant, _)| is_labelled(tenant) == labelled);
            let mut some: Vec<_> = some.map(|(tenant, it)| (it.connections, *tenant)).collect();
            // By size; of equal ones the older tenant is larger.
            some.sort_unstable_by_key(|(open, tenant)| (*open, Reverse(*tenant)));
            some
        };
        let (small_first, mut large_last) = (of(true), of(false));
        large_last.retain(|(_, tenant)| may(*tenant));
        let surplus = small_first.len().saturating_sub(max);
        let mut lose: HashSet<_> = small_first[..surplus].iter().map(|it| it.1).collect();
        let mut get = Vec::new();
        let free = max.saturating_sub(small_first.len());
        get.extend(
            large_last
                .drain(large_last.len().saturating_sub(free)..)
                .map(|it| it.1),
        );
        for (open, smallest) in &small_first[surplus..] {
            match large_last.pop() {
                Some((larger, tenant)) if larger > 2 * open => {
                    lose.insert(*smallest);
                    get.push(tenant);
                }
                Some(_) | None => break,
            }
        }
        let get: HashSet<_> = get.into_iter().collect();
        for (tenant, reading) in readings {
            if get.contains(tenant) {
                let split = self.splits.entry(*tenant).or_insert_with(|| Split {
                    rest: None,
                    shown: Counts::ZERO,
                });
                split.rest = Some(match self.others.contains(tenant) {
                    true => reading.counts.clone().minus(&split.shown),
                    // Nothing of it was shown yet.
                    false => Counts::ZERO,
                });
            } else if lose.contains(tenant)
                && let Some(split) = self.splits.get_mut(tenant)
            {
                split.rest = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(connections: u64, count: u64) -> Reading {
        Reading {
            connections,
            waiting: 0,
            counts: Counts([count; LEN]),
        }
    }

    fn labels(labelled: &mut Labelled, open: &[u64], max: usize) -> Vec<u32> {
        let readings = (0..).zip(open);
        let readings = readings.map(|(number, open)| (TenantId::new(number), reading(*open, 0)));
        let readings: Vec<_> = readings.collect();
        let (own, _) = labelled.split(&readings, max, |tenant| tenant.get() != 9);
        own.iter().map(|(tenant, _)| tenant.get()).collect()
    }

    #[test]
    fn the_largest_have_a_label_and_keep_it_until_another_is_twice_as_large() {
        let mut labelled = Labelled::default();
        for (open, max, expected) in [
            (&[5, 0, 7, 6][..], 2, &[2, 3][..]),
            // Not twice as large.
            (&[12, 0, 7, 6], 2, &[2, 3]),
            (&[13, 0, 7, 6], 2, &[0, 2]),
            (&[1, 0, 2, 20], 2, &[2, 3]),
            // Without connections it has a label as long as nobody wants it.
            (&[0, 0, 0, 0], 2, &[2, 3]),
            // Of equal ones the later loses it.
            (&[0, 1, 0, 0], 2, &[1, 2]),
            (&[0, 1, 3, 0], 3, &[0, 1, 2]),
            (&[0, 1, 3, 0], 1, &[2]),
            (&[0, 1, 3, 0], 0, &[]),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 1, 50], 1, &[8]),
        ] {
            assert_eq!(labels(&mut labelled, open, max), expected, "{open:?} {max}");
        }
    }

    proptest! {
        #[test]
        fn no_counter_goes_backwards_and_the_sum_grows_by_what_is_counted(
            steps in prop::collection::vec(
                (prop::collection::vec((0u64..50, 0u64..10), 6), 0usize..5), 1..30,
            )
        ) {
            let mut labelled = Labelled::default();
            let mut counted = [0u64; 6];
            let mut last: HashMap<TenantId, u64> = HashMap::new();
            let (mut last_other, mut expected, mut sum) = (0, 0, 0);
            for (tenants, max) in steps {
                let mut readings = Vec::new();
                for (number, (open, more)) in (0..).zip(tenants) {
                    counted[number as usize] += more;
                    expected += more;
                    readings.push((TenantId::new(number), reading(open, counted[number as usize])));
                }
                let (own, other) = labelled.split(&readings, max, |_| true);
                prop_assert!(own.len() <= max);
                let open: u64 = own.iter().map(|(_, it)| it.connections).sum();
                let all: u64 = readings.iter().map(|(_, it)| it.connections).sum();
                prop_assert_eq!(open + other.connections, all);
                for (tenant, reading) in own {
                    let (now, before) = (reading.counts.messages(), last.entry(tenant).or_default());
                    prop_assert!(now >= *before, "{:?}: {} after {}", tenant, now, before);
                    sum += now - *before;
                    *before = now;
                }
                let now = other.counts.messages();
                prop_assert!(now >= last_other);
                sum += now - last_other;
                last_other = now;
                prop_assert_eq!(sum, expected);
            }
        }
    }
}
