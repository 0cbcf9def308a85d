//! Revocations and what they cover.

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn holder<'a>(session: Option<&'a str>, user: Option<&'a str>, issued: Option<u64>) -> Holder<'a> {
    Holder {
        tenant: "main",
        session,
        user,
        issued: issued.map(at),
    }
}

fn list(targets: &[Target<'_>]) -> DenyList {
    let mut list = DenyList::default();
    for target in targets {
        list.add(&Denied::new("main", *target, at(1_000))).unwrap();
    }
    list
}

#[test]
fn a_session_is_denied_whenever_it_was_issued() {
    let list = list(&[Target::Session("a")]);
    assert!(list.denies(holder(Some("a"), None, None)));
    assert!(list.denies(holder(Some("a"), Some("7"), Some(9_999))));
    assert!(!list.denies(holder(Some("b"), Some("a"), Some(0))));
    assert!(!list.denies(holder(None, None, None)));
}

#[test]
fn a_user_is_denied_up_to_a_time() {
    let list = list(&[Target::User("7", at(100))]);
    for (issued, is_denied) in [
        (Some(99), true),
        (Some(100), true),
        (Some(101), false),
        // It does not say when: it may be older.
        (None, true),
    ] {
        let denied = list.denies(holder(None, Some("7"), issued));
        assert_eq!(denied, is_denied, "{issued:?}");
    }
    assert!(!list.denies(holder(Some("7"), Some("8"), Some(0))));
}

#[test]
fn the_later_of_two_commands_counts_in_any_order() {
    for times in [[100, 200], [200, 100]] {
        let list = list(&times.map(|time| Target::User("7", at(time))));
        assert_eq!(list.len(), 1);
        assert!(list.denies(holder(None, Some("7"), Some(200))));
        assert!(!list.denies(holder(None, Some("7"), Some(201))));
    }
}

#[test]
fn tenants_do_not_meet() {
    let list = list(&[Target::Session("a"), Target::User("7", at(100))]);
    let other = Holder {
        tenant: "mai",
        ..holder(Some("na"), Some("7"), Some(0))
    };
    assert!(!list.denies(other));
}

#[test]
fn entries_are_forgotten_once_no_token_can_be_valid() {
    let mut list = list(&[Target::Session("a")]);
    list.expire(at(1_000));
    assert_eq!(list.len(), 1);
    list.expire(at(1_001));
    assert!(list.is_empty());
}

#[test]
fn entries_survive_as_records() {
    let first = list(&[Target::Session("a"), Target::User("7", at(100))]);
    let mut second = DenyList::default();
    for denied in first.iter() {
        second.add(&denied).unwrap();
    }
    assert!(second.denies(holder(Some("a"), None, None)));
    assert!(second.denies(holder(None, Some("7"), Some(100))));
    assert!(!second.denies(holder(None, Some("7"), Some(101))));
}

#[test]
fn a_full_list_says_so() {
    let mut list = DenyList::default();
    let denied = |number: usize, until| Denied {
        name: (number as u128).to_be_bytes(),
        issued_until: None,
        until,
    };
    for number in 0..ENTRIES_MAX {
        list.add(&denied(number, 1_000)).unwrap();
    }
    assert_eq!(list.add(&denied(ENTRIES_MAX, 1_000)), Err(Full));
    // What is there can be extended.
    assert_eq!(list.add(&denied(0, 2_000)), Ok(()));
    list.expire(at(1_500));
    assert_eq!(list.len(), 1);
}
