//! The queue of a shard's inputs: in order, and bounded by what its publications and commands are
//! charged with.
//!
//! Publications that do not fit are missed: those of the tenant that has most in the queue, so that
//! one that publishes more than its clients are sent costs no other a publication. A command is never
//! dropped for them, since access that it revokes would persist: it keeps its position while
//! publications around it are dropped. Where commands alone exceed their part, all those of one
//! tenant are dropped, and the first is replaced by something that is worse for its connected
//! clients, but grants nothing.
//!
//! Order holds within a tenant. Where the shard has enough to do for one of them, it takes the inputs
//! of others before ([`Backlog::pop_unless`]).

use std::collections::{HashMap, VecDeque};

use ht_core::Hasher;
use ht_proto::entry::TenantId;

/// Capacity of an empty backlog that is kept.
const KEPT: usize = 1_024;

/// What an input is charged with.
pub trait Charge {
    /// Bytes of a publication; none of an input that is not dropped.
    fn bytes(&self) -> Option<usize>;

    /// Bytes of a command; none of anything else.
    fn command_bytes(&self) -> Option<usize> {
        None
    }

    /// Whose it is; none: it concerns all tenants, or nobody's publications.
    fn tenant(&self) -> Option<TenantId> {
        None
    }

    /// Of an input of no tenant: whether it may be taken before publications and commands that were
    /// placed earlier.
    fn may_pass(&self) -> bool {
        false
    }
}

/// The part of the bound that commands may take: one in so many.
const COMMANDS_PART: usize = 4;

/// Inputs that a shard has not taken yet.
#[derive(Debug)]
pub struct Backlog<I> {
    /// None: it was taken before those in front of it.
    inputs: VecDeque<Option<I>>,
    /// The number of the first one. They are numbered in their order.
    first: u64,
    len: usize,
    tenants: HashMap<TenantId, Queued, Hasher>,
    /// The numbers of those of no tenant.
    others: VecDeque<u64>,
    bytes: usize,
    /// The same of commands.
    command_bytes: usize,
    bytes_max: usize,
}

/// The inputs of one tenant.
#[derive(Debug, Default)]
struct Queued {
    numbers: VecDeque<u64>,
    bytes: usize,
    command_bytes: usize,
}

impl<I: Charge> Backlog<I> {
    /// An empty backlog. Publications and commands may be charged with `bytes_max` together; one
    /// always fits.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inputs: VecDeque::new(),
            first: 0,
            len: 0,
            tenants: HashMap::default(),
            others: VecDeque::new(),
            bytes: 0,
            command_bytes: 0,
            bytes_max,
        }
    }

    /// Appends an input. Where a publication does not fit, returns the queued ones of the tenant that
    /// has most of them: the shard misses them.
    #[must_use = "the shard misses what is returned"]
    pub fn push(&mut self, input: I) -> Vec<I> {
        let bytes = input.bytes().unwrap_or(0);
        let mut missed = Vec::new();
        while self.bytes > 0 && bytes > 0 && self.bytes() + bytes > self.bytes_max {
            let Some(largest) = self.largest(input.tenant(), bytes) else {
                break;
            };
            missed.extend(self.remove(largest, |input| input.bytes().is_some()));
        }
        self.append(input);
        missed
    }

    /// The tenant that has most bytes of publications queued, with another input of so many bytes.
    fn largest(&self, tenant: Option<TenantId>, bytes: usize) -> Option<Option<TenantId>> {
        let with = |(of, queued): (&TenantId, &Queued)| {
            let more = if tenant == Some(*of) { bytes } else { 0 };
            (Some(*of), queued.bytes, more)
        };
        let tenants = self.tenants.iter().map(with);
        let of_tenants: usize = self.tenants.values().map(|queued| queued.bytes).sum();
        let all = tenants.chain([(None, self.bytes - of_tenants, 0)]);
        let all = all.filter(|(_, queued, _)| *queued > 0);
        let largest = all.max_by_key(|(of, queued, more)| (queued + more, *of));
        largest.map(|(tenant, ..)| tenant)
    }

    /// Appends a command. Where the queued commands take too much with it, all of the tenant that has
    /// most of them are returned, with this one if they are its own, and the first is replaced by the
    /// result of `instead`, which gets the last one.
    #[must_use = "they are not carried out"]
    pub fn push_command(&mut self, command: I, instead: impl Fn(&I) -> I) -> Vec<I> {
        let bytes = command.command_bytes().unwrap_or(0);
        let is_full = self.command_bytes + bytes > self.bytes_max / COMMANDS_PART;
        if self.command_bytes == 0 || !is_full {
            self.append(command);
            return Vec::new();
        }
        let tenant = command.tenant();
        let with = |(of, queued): (&TenantId, &Queued)| {
            let more = if tenant == Some(*of) { bytes } else { 0 };
            (Some(*of), queued.command_bytes, more)
        };
        let all = self.tenants.iter().map(with);
        let all = all.filter(|(_, queued, _)| *queued > 0);
        let largest = all.max_by_key(|(of, queued, more)| (queued + more, *of));
        let largest = largest.and_then(|(of, ..)| of);
        let first = self.first_command(largest);
        let mut lost = self.remove(largest, |input| input.command_bytes().is_some());
        let is_own = largest == tenant;
        let last = if is_own { Some(&command) } else { lost.last() };
        if let (Some(first), Some(instead)) = (first, last.map(instead)) {
            self.put_at(first, instead);
        }
        if is_own {
            lost.push(command);
        } else {
            self.append(command);
        }
        lost
    }

    fn first_command(&self, tenant: Option<TenantId>) -> Option<u64> {
        let mut numbers = self.numbers(tenant).iter().copied();
        numbers.find(|number| {
            let input = self.get(*number);
            input.is_some_and(|input| input.command_bytes().is_some())
        })
    }

    fn numbers(&self, tenant: Option<TenantId>) -> &VecDeque<u64> {
        let queued = tenant.and_then(|tenant| self.tenants.get(&tenant));
        queued.map_or(&self.others, |queued| &queued.numbers)
    }

    fn append(&mut self, input: I) {
        let number = self.first + self.inputs.len() as u64;
        let (bytes, command_bytes) = self.charge(&input);
        match input.tenant() {
            Some(tenant) => {
                let queued = self.tenants.entry(tenant).or_default();
                queued.numbers.push_back(number);
                queued.bytes += bytes;
                queued.command_bytes += command_bytes;
            }
            None => self.others.push_back(number),
        }
        self.bytes += bytes;
        self.command_bytes += command_bytes;
        self.len += 1;
        self.inputs.push_back(Some(input));
    }

    fn charge(&self, input: &I) -> (usize, usize) {
        let (bytes, commands) = (input.bytes(), input.command_bytes());
        (bytes.unwrap_or(0), commands.unwrap_or(0))
    }

    /// Puts an input, which is charged with nothing, in the place of one that was removed.
    fn put_at(&mut self, number: u64, input: I) {
        let tenant = input.tenant();
        let numbers = match tenant {
            Some(tenant) => &mut self.tenants.entry(tenant).or_default().numbers,
            None => &mut self.others,
        };
        let at = numbers.partition_point(|other| *other < number);
        numbers.insert(at, number);
        // The first ones may have gone with it.
        while number < self.first {
            self.first -= 1;
            self.inputs.push_front(None);
        }
        if let Some(slot) = self.slot_mut(number) {
            *slot = Some(input);
            self.len += 1;
        }
    }

    fn get(&self, number: u64) -> Option<&I> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.inputs.get(index)?.as_ref()
    }

    fn slot_mut(&mut self, number: u64) -> Option<&mut Option<I>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.inputs.get_mut(index)
    }

    /// Removes inputs of a tenant, or of none, in their order.
    fn remove(&mut self, tenant: Option<TenantId>, is_meant: impl Fn(&I) -> bool) -> Vec<I> {
        let meant = self.numbers(tenant).iter().copied();
        let meant = meant.filter(|number| self.get(*number).is_some_and(&is_meant));
        let meant: Vec<_> = meant.collect();
        meant
            .into_iter()
            .filter_map(|number| self.take(number))
            .collect()
    }

    /// Takes the next input.
    pub fn pop(&mut self) -> Option<I> {
        self.take(self.first)
    }

    /// Takes the next input, but passes over those of tenants of which the shard has enough. With
    /// `has_others`, if it has other tenants, inputs of no tenant [pass](Charge::may_pass) as well.
    pub fn pop_unless(
        &mut self,
        is_full: impl Fn(TenantId) -> bool,
        has_others: bool,
    ) -> Option<I> {
        let first = self.get(self.first)?;
        if !first.tenant().is_some_and(&is_full) {
            return self.take(self.first);
        }
        let tenants = self.tenants.iter();
        let tenants = tenants.filter(|(tenant, _)| !is_full(**tenant));
        let next = tenants.filter_map(|(_, queued)| queued.numbers.front());
        let other = self.others.front().filter(|number| {
            let input = self.get(**number);
            has_others && input.is_some_and(Charge::may_pass)
        });
        let next = next.chain(other).min().copied()?;
        self.take(next)
    }

    /// The tenants that have inputs queued.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    /// Whether a tenant has as much queued as the others on average, or more.
    #[must_use]
    pub fn is_loud(&self, tenant: TenantId) -> bool {
        let all = self.tenants.len();
        let Some(queued) = self.tenants.get(&tenant) else {
            return false;
        };
        let bytes = queued.bytes + queued.command_bytes;
        bytes.saturating_mul(all) >= self.bytes() || queued.numbers.len() * all >= self.len
    }

    fn take(&mut self, number: u64) -> Option<I> {
        let input = self.slot_mut(number)?.take()?;
        let (bytes, command_bytes) = self.charge(&input);
        self.len -= 1;
        self.bytes -= bytes;
        self.command_bytes -= command_bytes;
        match input.tenant() {
            Some(tenant) => {
                if let Some(queued) = self.tenants.get_mut(&tenant) {
                    forget(&mut queued.numbers, number);
                    queued.bytes -= bytes;
                    queued.command_bytes -= command_bytes;
                    if queued.numbers.is_empty() {
                        self.tenants.remove(&tenant);
                    }
                }
            }
            None => forget(&mut self.others, number),
        }
        while let Some(None) = self.inputs.front() {
            self.inputs.pop_front();
            self.first += 1;
        }
        if self.inputs.is_empty() {
            self.inputs.shrink_to(KEPT);
            self.others.shrink_to(KEPT);
        }
        Some(input)
    }

    /// The number of queued inputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the queued publications and commands are charged with.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.command_bytes
    }
}

/// Forgets the number of an input that is taken: most often it is the first.
fn forget(numbers: &mut VecDeque<u64>, number: u64) {
    if numbers.front() == Some(&number) {
        numbers.pop_front();
    } else if let Ok(at) = numbers.binary_search(&number) {
        numbers.remove(at);
    }
}

#[cfg(test)]
mod tests;
