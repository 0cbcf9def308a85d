//! A tenant that publishes more than its shards deliver, beside another one.

use super::*;

const LOUD: TenantId = TenantId::new(1);
const OTHER: TenantId = TenantId::new(2);

fn trigger_of(tenant: TenantId, length: usize) -> Entry {
    Entry {
        tenant,
        ..trigger(&["all"], length)
    }
}

/// Two shards whose inboxes are not read, with a room of two tenants each.
fn shared() -> (Node, NodeSequencer, [Receiver; 2]) {
    let (node, sequencer, shards) = two_shards();
    for (shard, tenant) in [(0, LOUD), (1, LOUD), (0, OTHER), (1, OTHER)] {
        node.interest.opened(shard, tenant, &room("all"));
    }
    (node, sequencer, shards)
}

#[tokio::test(start_paused = true)]
async fn publishers_of_the_loud_tenant_wait_and_those_of_others_do_not() {
    let (_node, sequencer, mut shards) = shared();
    for _ in 0..2 {
        sequencer.place(vec![trigger_of(LOUD, 10)]).await;
    }
    let begun = Instant::now();
    let mut waiting = pin!(sequencer.place(vec![trigger_of(LOUD, 10)]));
    assert!(waiting.as_mut().now_or_never().is_none());
    let placed = sequencer.place(vec![trigger_of(OTHER, 10)]).now_or_never();
    assert_eq!(placed.unwrap()[0].position.get(), 3);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // A shard that has enough of the loud one takes the other's first.
    let of_other = shards[0].next(|tenant| tenant == LOUD, true);
    let positions = of_other.and_then(|input| Some(input.batch()?.publications[0].position));
    assert_eq!(positions, Some(3));
    assert!(shards[0].next(|tenant| tenant == LOUD, true).is_none());
    assert_eq!(shards[0].passed_over(), Some(vec![LOUD]));
    assert!(shards[0].may_sleep(), "it would only spin");
    // What is placed then is not passed over.
    sequencer.place(vec![trigger_of(OTHER, 10)]).await;
    assert_eq!(shards[0].passed_over(), None);
    assert!(!shards[0].may_sleep());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_missed_by_the_clients_of_the_loud_tenant_alone() {
    let (node, sequencer, mut shards) = shared();
    sequencer.place(vec![trigger_of(OTHER, 1_000)]).await;
    let mut placed = 1;
    while node.counters.publications_missed.load(Ordering::Relaxed) == 0 {
        sequencer.place(vec![trigger_of(LOUD, 1_000)]).await;
        placed += 1;
        assert!(placed < 100);
    }
    let first = taken(&mut shards[0]);
    assert_eq!(first, [1, placed], "the other's, and the last one");
    let number = node.gaps.last();
    assert!(number > 0);
    for shard in 0..2 {
        assert_eq!(node.gaps.of_shard(shard), 0, "others keep their cursors");
        let known = node.gaps.take_tenant_gaps(shard);
        assert!(known.iter().all(|(tenant, _)| *tenant == LOUD), "{known:?}");
        let (tenant, _, missing) = node.gaps.take_missing_of_tenant(shard).unwrap();
        assert_eq!((tenant, missing.upto), (LOUD, placed - 1));
        assert!(node.gaps.take_missing_of_tenant(shard).is_none());
    }
}

#[tokio::test]
async fn entries_of_several_tenants_are_handed_on_tenant_by_tenant_in_their_order() {
    let (node, sequencer, mut shards) = shared();
    let tenants = [LOUD, LOUD, OTHER, LOUD, OTHER];
    let batch = tenants.map(|tenant| trigger_of(tenant, 1));
    sequencer.place(batch.to_vec()).await;
    let mut batches = Vec::new();
    while let Some(input) = shards[1].next(|_| false, false) {
        let batch = input.batch().unwrap();
        let of = batch
            .publications
            .iter()
            .map(|one| (one.tenant, one.position));
        batches.push(of.collect::<Vec<_>>());
    }
    let expected = [
        vec![(LOUD, 1), (LOUD, 2)],
        vec![(OTHER, 3)],
        vec![(LOUD, 4)],
        vec![(OTHER, 5)],
    ];
    assert_eq!(batches, expected);
    assert_eq!(kept(&node).len(), 5);
}
