//! Waiting for the other nodes.

use ht_proto::note::Beacon;

use super::*;

fn joining() -> Peers {
    Peers::new(&NodesConfig {
        name: "a".into(),
        ..NodesConfig::default()
    })
}

/// One that knows all others.
fn peers() -> Peers {
    let peers = joining();
    peers.close();
    peers
}

fn heard(peers: &Peers, report: Report) {
    peers.heard(Note {
        node: "b".into(),
        boot: "b1".into(),
        report,
    });
}

fn placed(number: u64) -> Placed {
    Placed {
        position: Position::new(number).unwrap(),
        duplicate: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_confirmed_by_every_node_or_the_missing_ones_are_named() {
    let peers = peers();
    heard(&peers, Report::Beacon(Beacon::default()));
    assert_eq!(peers.count(), 2);
    for number in [1, 2] {
        let position = placed(number).position;
        peers.confirm(format!("k{number}").into(), placed(number), true);
        peers.executed_here(position, 4);
    }
    let begun = Instant::now();
    let by = begun + Duration::from_secs(5);
    let (first, second) = (placed(1).position, placed(2).position);
    let report = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let key = "k1".into();
        heard(&peers, Report::Executed { key, matched: 3 });
    };
    let (progress, ()) = tokio::join!(peers.confirmed(first, by), report);
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(1),
        "as soon as it is known"
    );
    let both = [("a".to_owned(), 4), ("b".to_owned(), 3)].into();
    let expected = Progress {
        executed: both,
        ..Progress::default()
    };
    assert_eq!(progress, Some(expected));
    let progress = peers.confirmed(second, by).await.unwrap();
    assert_eq!(progress.missing, ["b"]);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(peers.confirmed(placed(3).position, by).await, None);
}

#[tokio::test]
async fn a_command_of_another_node_is_reported_and_not_waited_for() {
    let peers = peers();
    peers.confirm("theirs".into(), placed(1), false);
    peers.confirm("own".into(), placed(2), true);
    let mut reports = peers.take_reports().unwrap();
    let mut key = || match reports.try_recv().unwrap() {
        ToReport::Executing { key, .. } => key,
        ToReport::Ready(report) => panic!("{report:?}"),
    };
    assert_eq!([key(), key()], [Some("theirs".into()), None]);
    let by = Instant::now();
    assert_eq!(peers.confirmed(placed(1).position, by).await, None);
    let progress = peers.confirmed(placed(2).position, by).await.unwrap();
    assert_eq!(progress.missing, ["a"]);
}

#[test]
fn a_node_is_announced_when_its_beacon_was_accepted_and_read_back() {
    let own = |peers: &Peers| peers.heard(peers.note(Report::Beacon(Beacon::default())));
    let (first, second) = (joining(), joining());
    first.beacon_sent();
    own(&second);
    assert!(!first.is_announced() && !second.is_announced());
    own(&first);
    second.beacon_sent();
    assert!(first.is_announced() && second.is_announced());
    assert!(peers().is_announced(), "there is no other node");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_confirmed_before_all_nodes_are_known() {
    let (peers, by) = (joining(), Instant::now() + Duration::from_secs(5));
    let position = placed(1).position;
    peers.confirm("key".into(), placed(1), true);
    peers.executed_here(position, 4);
    let progress = peers.confirmed(position, by).await.unwrap();
    assert!(!progress.is_done() && progress.missing.is_empty());
    let own = (peers.boot().into(), "a".into());
    let all = vec![own, ("b1".into(), "b".into())];
    heard(&peers, Report::Nodes(all));
    let key = "key".into();
    heard(&peers, Report::Executed { key, matched: 3 });
    assert!(peers.confirmed(position, by).await.unwrap().is_done());
}

#[test]
fn one_that_joins_is_told_who_is_there() {
    let peers = peers();
    let mut reports = peers.take_reports().unwrap();
    heard(&peers, Report::Beacon(Beacon::default()));
    assert!(reports.try_recv().is_err());
    let is_joining = true;
    heard(
        &peers,
        Report::Beacon(Beacon {
            is_joining,
            ..Beacon::default()
        }),
    );
    let mut all = vec![
        (peers.boot().into(), "a".into()),
        ("b1".into(), Box::from("b")),
    ];
    all.sort();
    assert!(
        matches!(reports.try_recv(), Ok(ToReport::Ready(Report::Nodes(nodes))) if nodes == all)
    );
}

#[test]
fn a_node_without_a_name_has_that_of_its_host() {
    let name = NodesConfig::default().name();
    assert!(!name.is_empty() && name.is_ascii());
    assert_eq!(peers().name(), "a");
}
