//! Shutdown: how long each connection is waited for.

use ht_proto::close::Close;

use super::kit::*;

const A: &str = r#"{"a":1}"#;

#[test]
fn shutdown_waits_for_connections_with_queued_data_and_only_briefly_for_others() {
    let mut world = World::new();
    let mut mute = world.open(r#"[{"a":1}]"#);
    let mut slow = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut slow, A, "1");
    slow.takes(0);
    world.publish(A, "0");
    world.shard.close_all(
        Close::RESTART,
        &mut Turn::new(world.now, &mut world.outside),
    );
    assert_eq!(mute.hears(), ["close 1012 restart"]);
    world.pass(999);
    assert!(world.is_there(&mute));
    world.pass(1);
    assert!(!world.is_there(&mute) && world.is_there(&slow));
    world.pass(1_000);
    slow.takes(usize::MAX);
    world.writable(&slow);
    assert_eq!(
        slow.hears(),
        [publish("0", "1"), "close 1012 restart".into()]
    );
    world.pass(1_000);
    assert!(world.shard.is_empty());
    // One that never accepts it has only the usual timeout.
    let stalled = world.open_with("[]", 0);
    world.shard.close_all(
        Close::RESTART,
        &mut Turn::new(world.now, &mut world.outside),
    );
    world.pass(1_000);
    world.pass(1_000);
    assert!(world.is_there(&stalled));
    world.pass(1_000);
    assert!(world.shard.is_empty());
}
