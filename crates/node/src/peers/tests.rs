//! Waiting for the other nodes.

use ht_proto::note::Beacon;

use super::*;

fn peers() -> Peers {
    Peers::new(&NodesConfig {
        name: "a".into(),
        ..NodesConfig::default()
    })
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
    let (executed, missing) = (both, vec![]);
    assert_eq!(progress, Some(Progress { executed, missing }));
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
    let keys = [
        reports.try_recv().unwrap().key,
        reports.try_recv().unwrap().key,
    ];
    assert_eq!(keys, [Some("theirs".into()), None]);
    let by = Instant::now();
    assert_eq!(peers.confirmed(placed(1).position, by).await, None);
    let progress = peers.confirmed(placed(2).position, by).await.unwrap();
    assert_eq!(progress.missing, ["a"]);
}

#[test]
fn a_node_without_a_name_has_that_of_its_host() {
    let name = NodesConfig::default().name();
    assert!(!name.is_empty() && name.is_ascii());
    assert_eq!(peers().name(), "a");
}
