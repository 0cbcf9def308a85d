//! Bounds, order, and whose inputs are dropped or taken first.

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

/// A command, or a publication if it is even.
#[derive(Debug, PartialEq, Eq)]
struct Numbered(u32, usize);

impl Charge for Numbered {
    fn bytes(&self) -> Option<usize> {
        self.0.is_multiple_of(2).then_some(self.1)
    }

    fn command_bytes(&self) -> Option<usize> {
        let is_command = self.0 < 100 && !self.0.is_multiple_of(2);
        is_command.then_some(self.1)
    }
}

fn left(backlog: &mut Backlog<Numbered>) -> Vec<u32> {
    let inputs = std::iter::from_fn(|| backlog.pop());
    inputs.map(|input| input.0).collect()
}

#[test]
fn commands_keep_their_position_where_publications_around_them_are_missed() {
    let mut backlog = Backlog::new(100);
    let lost = |_: &Numbered| Numbered(101, 0);
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
    let lost = |_: &Numbered| Numbered(101, 0);
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
    assert_eq!(left(&mut backlog), [2, 101, 4, 4, 7]);
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn one_publication_always_fits() {
    let mut backlog = Backlog::new(10);
    assert!(backlog.push((1, Some(1_000))).is_empty());
    assert_eq!(names(backlog.push((2, Some(1_000)))), [1]);
    assert_eq!(backlog.pop(), Some((2, Some(1_000))));
}

/// An input of a tenant, or of none where that is 0: its number and its bytes. Of an odd number it is
/// a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Of(u32, u32, usize);

impl Charge for Of {
    fn bytes(&self) -> Option<usize> {
        (self.0 > 0 && self.1.is_multiple_of(2)).then_some(self.2)
    }

    fn command_bytes(&self) -> Option<usize> {
        (self.0 > 0 && !self.1.is_multiple_of(2) && self.1 < 1_000).then_some(self.2)
    }

    fn tenant(&self) -> Option<TenantId> {
        (self.0 > 0).then(|| TenantId::new(self.0))
    }

    fn may_pass(&self) -> bool {
        self.1 == 100
    }
}

fn all(backlog: &mut Backlog<Of>) -> Vec<(u32, u32)> {
    let inputs = std::iter::from_fn(|| backlog.pop());
    inputs.map(|input| (input.0, input.1)).collect()
}

#[test]
fn publications_of_the_tenant_that_has_most_are_missed_and_no_others() {
    let mut backlog = Backlog::new(100);
    for input in [Of(1, 2, 40), Of(2, 4, 10), Of(1, 6, 40), Of(0, 8, 0)] {
        assert!(backlog.push(input).is_empty());
    }
    // Another one of the small tenant.
    let missed = backlog.push(Of(2, 10, 20));
    assert_eq!(missed, [Of(1, 2, 40), Of(1, 6, 40)]);
    assert_eq!((backlog.len(), backlog.bytes()), (3, 30));
    // The new one is counted as well: now the other tenant would have most.
    assert_eq!(backlog.push(Of(1, 12, 90)), [Of(2, 4, 10), Of(2, 10, 20)]);
    assert_eq!(all(&mut backlog), [(0, 8), (1, 12)]);
    assert_eq!((backlog.len(), backlog.bytes()), (0, 0));
}

#[test]
fn commands_of_the_tenant_that_has_most_are_lost_and_no_others() {
    let lost = |last: &Of| Of(last.0, 1_001 + last.1, 0);
    let mut backlog = Backlog::new(100);
    for input in [Of(1, 1, 10), Of(2, 3, 5), Of(1, 5, 10)] {
        assert!(backlog.push_command(input, lost).is_empty());
    }
    assert!(backlog.push(Of(1, 2, 1)).is_empty());
    // One of the small tenant: it is carried out.
    let gone = backlog.push_command(Of(2, 7, 5), lost);
    assert_eq!(gone, [Of(1, 1, 10), Of(1, 5, 10)]);
    let left = all(&mut backlog);
    assert_eq!(left, [(1, 1_006), (2, 3), (1, 2), (2, 7)]);
}

#[test]
fn inputs_of_others_are_taken_while_the_shard_has_enough_of_one_tenant() {
    let mut backlog = Backlog::new(1_000);
    let inputs = [
        Of(1, 2, 1),
        Of(1, 4, 1),
        Of(0, 100, 0),
        Of(2, 6, 1),
        Of(0, 102, 0),
        Of(0, 100, 0),
        Of(2, 8, 1),
        Of(1, 10, 1),
    ];
    for input in inputs {
        assert!(backlog.push(input).is_empty());
    }
    let full = |tenant| tenant == TenantId::new(1);
    let mut next = |has_others| {
        let input = backlog.pop_unless(full, has_others);
        input.map(|input| (input.0, input.1))
    };
    assert_eq!(next(false), Some((2, 6)), "nothing else may pass");
    assert_eq!(next(true), Some((0, 100)));
    assert_eq!(
        next(true),
        Some((2, 8)),
        "what may not pass waits, with what is behind it"
    );
    assert_eq!(next(true), None);
    assert_eq!(backlog.tenants().collect::<Vec<_>>(), [TenantId::new(1)]);
    assert_eq!(backlog.len(), 5);
    let left = [(1, 2), (1, 4), (0, 102), (0, 100), (1, 10)];
    assert_eq!(all(&mut backlog), left);
    assert!(backlog.is_empty() && backlog.tenants().next().is_none());
}

#[test]
fn tenant_is_loud_that_has_its_share() {
    let mut backlog = Backlog::new(1_000);
    let loud =
        |backlog: &Backlog<Of>| [1, 2, 3].map(|tenant| backlog.is_loud(TenantId::new(tenant)));
    assert!(backlog.push(Of(1, 2, 10)).is_empty());
    assert_eq!(loud(&backlog), [true, false, false], "alone it has all");
    for _ in 0..5 {
        assert!(backlog.push(Of(1, 2, 10)).is_empty());
    }
    assert!(backlog.push(Of(2, 4, 10)).is_empty());
    assert_eq!(loud(&backlog), [true, false, false]);
}

/// Against lists of what each tenant has.
mod model {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_holds_within_a_tenant_and_nothing_is_lost_or_counted_twice(
            steps in prop::collection::vec((0..4_u32, 0..4_u32, 0..60_usize), 1..200),
        ) {
            let mut backlog = Backlog::new(200);
            let mut known: Vec<Vec<Of>> = vec![Vec::new(); 4];
            for (number, (tenant, kind, bytes)) in (0..).zip(steps) {
                let number = 2_000 + 2 * number;
                match kind {
                    0 | 1 => {
                        let input = Of(tenant, number, bytes);
                        let missed = backlog.push(input);
                        for one in missed {
                            let own = &mut known[one.0 as usize];
                            let at = own.iter().position(|known| *known == one);
                            own.remove(at.expect("it was queued"));
                        }
                        known[tenant as usize].push(input);
                    }
                    _ => {
                        // The shard has enough of one tenant.
                        let full = kind;
                        let taken = backlog.pop_unless(|of| of.get() == full, true);
                        match taken {
                            Some(input) => {
                                prop_assert!(input.0 != full);
                                prop_assert_eq!(known[input.0 as usize].remove(0), input);
                            }
                            None => {
                                let own = known.iter().enumerate();
                                let mut others = own.filter(|(of, own)| *of as u32 != full && *of > 0 && !own.is_empty());
                                prop_assert!(others.next().is_none());
                            }
                        }
                    }
                }
                let len: usize = known.iter().map(Vec::len).sum();
                let bytes: usize = known.iter().flatten().filter_map(Charge::bytes).sum();
                prop_assert_eq!((backlog.len(), backlog.bytes()), (len, bytes));
                prop_assert!(bytes <= 200);
            }
            for input in std::iter::from_fn(|| backlog.pop()) {
                prop_assert_eq!(known[input.0 as usize].remove(0), input);
            }
            prop_assert!(known.iter().all(Vec::is_empty));
        }
    }
}
