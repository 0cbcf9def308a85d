//! Leases and confirmations.

use super::wait::KEYS_MAX;
use super::*;

/// One that has just begun to read the log.
fn joining() -> Nodes {
    Nodes::new("a", "own", 5_000, 15_000)
}

/// One that knows all others.
fn nodes() -> Nodes {
    let mut nodes = joining();
    nodes.close();
    nodes
}

fn beacon(nodes: &mut Nodes, node: &str, boot: &str, now: u64) -> Vec<(Change, Box<str>)> {
    nodes.heard(note(node, boot, Report::Beacon(Beacon::default())), now)
}

fn note(node: &str, boot: &str, report: Report) -> Note {
    Note {
        node: node.into(),
        boot: boot.into(),
        report,
    }
}

fn executed(nodes: &mut Nodes, boot: &str, key: &str, matched: u64) {
    let key = key.into();
    let changes = nodes.heard(note("x", boot, Report::Executed { key, matched }), 0);
    assert_eq!(changes, []);
}

fn progress(nodes: &Nodes, position: u64) -> (Vec<(String, u64)>, Vec<String>) {
    let progress = nodes.progress(position).expect("waited for");
    assert!(!progress.is_open);
    (progress.executed.into_iter().collect(), progress.missing)
}

#[test]
fn a_node_is_lost_after_its_lease_and_only_while_own_beacons_arrive() {
    let mut nodes = nodes();
    assert_eq!(beacon(&mut nodes, "a", "own", 0), []);
    assert_eq!(
        beacon(&mut nodes, "b", "b1", 1_000),
        [(Change::Joined, "b".into())]
    );
    // Cut off for an hour: nothing arrives, and the own beacon is the first that does.
    assert_eq!(beacon(&mut nodes, "a", "own", 3_600_000), []);
    // Beacons of a connection that is made again and again are not counted.
    for ms in 1..100 {
        assert_eq!(beacon(&mut nodes, "a", "own", 3_600_000 + ms), []);
    }
    assert_eq!(beacon(&mut nodes, "b", "b1", 3_601_000), []);
    for round in 1..=3 {
        assert_eq!(
            beacon(&mut nodes, "a", "own", 3_600_000 + round * 5_000),
            []
        );
    }
    assert_eq!(nodes.len(), 2);
    let lost = beacon(&mut nodes, "a", "own", 3_620_000);
    assert_eq!((lost, nodes.len()), (vec![(Change::Lost, "b".into())], 1));
    assert_eq!(
        beacon(&mut nodes, "b", "b1", 3_621_000),
        [(Change::Joined, "b".into())]
    );
}

#[test]
fn a_command_is_waited_for_by_all_nodes_that_hold_a_lease() {
    let mut nodes = nodes();
    beacon(&mut nodes, "b", "b1", 0);
    executed(&mut nodes, "b1", "early", 1);
    nodes.expect(7, "early".into());
    nodes.expect(8, "late".into());
    // One that joins later did not have to.
    beacon(&mut nodes, "c", "c1", 0);
    assert_eq!(
        progress(&nodes, 7),
        (vec![("b".into(), 1)], vec!["a".into()])
    );
    nodes.executed_here(7, 2);
    assert_eq!(
        progress(&nodes, 7),
        (vec![("a".into(), 2), ("b".into(), 1)], vec![])
    );
    executed(&mut nodes, "c1", "late", 9);
    assert_eq!(progress(&nodes, 8).1, ["b", "a"]);
    executed(&mut nodes, "b1", "late", 0);
    nodes.executed_here(8, 0);
    assert_eq!(progress(&nodes, 8).1, [""; 0]);
    // It is sent again: the same command.
    nodes.expect(8, "again".into());
    assert_eq!(progress(&nodes, 8).1, [""; 0]);
    assert_eq!(nodes.progress(9), None);
}

#[test]
fn a_lost_node_stays_missing_and_one_that_left_does_not() {
    let mut nodes = nodes();
    beacon(&mut nodes, "b", "b1", 0);
    beacon(&mut nodes, "c", "c1", 0);
    nodes.expect(7, "key".into());
    nodes.executed_here(7, 0);
    for round in 1..=4 {
        beacon(&mut nodes, "a", "own", round * 5_000);
    }
    assert_eq!(nodes.len(), 1, "both are lost");
    assert_eq!(progress(&nodes, 7).1, ["b", "c"]);
    beacon(&mut nodes, "c", "c1", 0);
    let left = nodes.heard(note("c", "c1", Report::Leaving), 0);
    assert_eq!(left, [(Change::Left, "c".into())]);
    assert_eq!(
        progress(&nodes, 7),
        (vec![("a".into(), 0)], vec!["b".into()])
    );
    assert_eq!(nodes.heard(note("a", "own", Report::Leaving), 0), []);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn a_beacon_that_overtook_the_end_of_its_node_changes_nothing() {
    let mut nodes = nodes();
    beacon(&mut nodes, "b", "b1", 0);
    nodes.heard(note("b", "b1", Report::Leaving), 0);
    assert_eq!(beacon(&mut nodes, "b", "b1", 1), []);
    assert_eq!(nodes.len(), 1);
    // The next run of it is new.
    assert_eq!(
        beacon(&mut nodes, "b", "b2", 2),
        [(Change::Joined, "b".into())]
    );
    for run in 0..1_000 {
        nodes.heard(note("x", &run.to_string(), Report::Leaving), 3);
    }
    assert_eq!(nodes.ended.len(), NODES_MAX);
}

#[test]
fn two_runs_of_one_name_are_two_nodes() {
    let mut nodes = nodes();
    beacon(&mut nodes, "b", "b1", 0);
    beacon(&mut nodes, "b", "b2", 0);
    nodes.expect(7, "key".into());
    executed(&mut nodes, "b2", "key", 3);
    nodes.executed_here(7, 0);
    let executed = vec![("a".into(), 0), ("b/b2".into(), 3)];
    assert_eq!(progress(&nodes, 7), (executed, vec!["b/b1".into()]));
}

#[test]
fn everything_is_bounded() {
    let mut nodes = nodes();
    for number in 0..2 * EARLY_MAX {
        beacon(&mut nodes, "b", &format!("b{number}"), 0);
        executed(&mut nodes, "b1", &format!("k{number}"), 0);
    }
    assert_eq!(nodes.len(), NODES_MAX);
    assert_eq!(nodes.early.len(), EARLY_MAX);
    for position in 0..=WAITS_MAX as u64 {
        nodes.expect(position, format!("k{position}").into());
    }
    for number in 0..2 * KEYS_MAX {
        nodes.expect(WAITS_MAX as u64, format!("again{number}").into());
    }
    assert_eq!(nodes.waits.len(), WAITS_MAX);
    assert!(nodes.waits.values().all(|wait| wait.keys.len() <= KEYS_MAX));
    assert!(nodes.progress(0).is_none() && nodes.progress(1).is_some());
}

fn list(boots: &[&str]) -> Report {
    let named = boots.iter().map(|boot| ((*boot).into(), boot[..1].into()));
    Report::Nodes(named.collect())
}

fn first_beacon(node: &str, boot: &str) -> Note {
    let beacon = Beacon {
        is_joining: true,
        ..Beacon::default()
    };
    note(node, boot, Report::Beacon(beacon))
}

#[test]
fn a_node_that_joins_confirms_nothing_before_it_knows_the_others() {
    let mut nodes = joining();
    beacon(&mut nodes, "a", "own", 0);
    nodes.expect(7, "key".into());
    nodes.executed_here(7, 1);
    let unsure = nodes.progress(7).unwrap();
    assert!(unsure.missing.is_empty() && unsure.is_open && !unsure.is_done());
    // Two had executed it before they were known, and one of them by name alone.
    executed(&mut nodes, "x1", "key", 5);
    nodes.early.push_back(("key".into(), "b1".into(), 3));
    // Meant for another node: it does not know of this one.
    assert_eq!(nodes.heard(note("b", "b1", list(&["b1", "d1"])), 0), []);
    // This one joins as well: it has no clients.
    let changes = nodes.heard(first_beacon("e", "e1"), 0);
    assert_eq!(changes, [(Change::Joined, "e".into())]);
    let all = list(&["own", "b1", "c1", "x1"]);
    let changes = nodes.heard(note("b", "b1", all), 0);
    let joined = ["b", "c", "x"].map(|name| (Change::Joined, name.into()));
    assert_eq!(changes, joined);
    let (found, missing) = progress(&nodes, 7);
    assert_eq!(
        found,
        [("a", 1), ("b", 3), ("x", 5)].map(|(name, count)| (name.to_owned(), count))
    );
    assert_eq!(missing, ["c"]);
    executed(&mut nodes, "c1", "key", 0);
    assert!(nodes.progress(7).unwrap().is_done());
    // From now on lists are for others.
    let later = list(&["own", "b1", "z1"]);
    assert_eq!(nodes.heard(note("b", "b1", later), 0), []);
    assert_eq!(nodes.len(), 5);
}

#[test]
fn where_nobody_lists_the_others_they_are_known_after_a_lease() {
    let mut nodes = joining();
    beacon(&mut nodes, "a", "own", 0);
    nodes.expect(7, "key".into());
    nodes.executed_here(7, 0);
    // It was there before, for all that is known.
    beacon(&mut nodes, "b", "b1", 1_000);
    for round in 1..=2 {
        beacon(&mut nodes, "a", "own", round * 5_000);
        assert!(nodes.progress(7).unwrap().is_open, "{round}");
    }
    beacon(&mut nodes, "a", "own", 15_000);
    assert_eq!(
        progress(&nodes, 7),
        (vec![("a".into(), 0)], vec!["b".into()])
    );
    executed(&mut nodes, "b1", "key", 2);
    assert!(nodes.progress(7).unwrap().is_done());
    nodes.expect(8, "other".into());
    assert!(!nodes.progress(8).unwrap().is_open);
}

#[test]
fn the_first_few_nodes_that_know_all_list_them_for_one_that_joins() {
    let note = first_beacon("z", "z1");
    let listed = |own: &str, others: &[&str]| {
        let mut nodes = Nodes::new("a", own, 5_000, 15_000);
        nodes.close();
        for boot in others {
            beacon(&mut nodes, "b", boot, 0);
        }
        nodes.heard(note.clone(), 0);
        nodes.list_for(&note)
    };
    let Some(Report::Nodes(all)) = listed("a3", &["a1", "a2", "a4"]) else {
        panic!("the third lists them");
    };
    assert_eq!(all.len(), 5);
    assert!(all.contains(&("z1".into(), "z".into())) && all.contains(&("a3".into(), "a".into())));
    assert_eq!(listed("a4", &["a1", "a2", "a3"]), None);
    let mut unsure = joining();
    unsure.heard(note.clone(), 0);
    assert_eq!(unsure.list_for(&note), None, "it does not know them itself");
    let mut own = Nodes::new("a", "own", 5_000, 15_000);
    own.close();
    assert_eq!(own.list_for(&first_beacon("a", "own")), None);
    let later = super::Note {
        report: Report::Beacon(Beacon::default()),
        ..note
    };
    assert_eq!(own.list_for(&later), None);
}
