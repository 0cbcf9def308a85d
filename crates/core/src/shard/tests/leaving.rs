//! The node goes: how long it waits for whom.

use ht_proto::close::Close;

use super::kit::*;

const A: &str = r#"{"a":1}"#;

#[test]
fn a_node_that_goes_waits_for_those_who_have_not_taken_all_and_little_for_the_others() {
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
    // One that never takes it is not waited for longer than ever.
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
