//! Tenants whose clients are sent no more than so many messages and bytes in a second.

use std::sync::Arc;

use ht_proto::entry::TenantId;
use ht_proto::server::publish_head_len;

use super::commands::{A, GRANTS};
use super::kit::*;
use crate::bucket::{DeliveryBucket, DeliveryLimits};
use crate::peer::Eviction;

const LOUD: TenantId = TenantId::new(1);
const OTHER: TenantId = TenantId::new(2);

fn limit(world: &mut World, tenant: TenantId, messages: u64, bytes: u64) {
    let limits = DeliveryLimits { messages, bytes };
    let bucket = Arc::new(DeliveryBucket::new(limits));
    world.shard.set_bucket(tenant, Some(bucket));
}

fn subscribers(world: &mut World, tenant: TenantId, count: usize) -> Vec<Client> {
    world.tenant = tenant;
    let clients = (0..count).map(|_| {
        let mut client = world.open(GRANTS);
        world.subscribe(&mut client, A, "1");
        client
    });
    clients.collect()
}

fn publish_for(world: &mut World, tenant: TenantId, data: &str) {
    world.tenant = tenant;
    world.publish(A, data);
}

fn heard(clients: &mut [Client]) -> usize {
    clients.iter_mut().map(|client| client.hears().len()).sum()
}

/// Time passes, and what is due is done, as by the thread.
fn wait(world: &mut World, ms: u64) {
    for _ in 0..ms / 20 {
        world.pass(20);
        world.slice(usize::MAX);
    }
}

#[test]
fn deliveries_beyond_the_limits_of_a_tenant_wait_and_those_of_others_do_not() {
    for (messages, bytes) in [(100, 0), (0, 100 * publish_head_len(1) as u64)] {
        let mut world = World::new();
        world.now = 1_000;
        limit(&mut world, LOUD, messages, bytes);
        let mut crowd = subscribers(&mut world, LOUD, 10);
        let mut other = subscribers(&mut world, OTHER, 1);
        for _ in 0..40 {
            publish_for(&mut world, LOUD, "0");
            publish_for(&mut world, OTHER, "0");
        }
        world.slice(usize::MAX);
        assert_eq!(heard(&mut other), 40);
        let first = heard(&mut crowd);
        assert!((100..=120).contains(&first), "{first}");
        assert!(!world.shard.has_fan_out(), "the thread sleeps meanwhile");
        let deadline = world.shard.deadline().unwrap();
        assert!((world.now..=world.now + 20).contains(&deadline));
        wait(&mut world, 1_000);
        let second = heard(&mut crowd);
        assert!((80..=120).contains(&second), "{second}");
        // An answer does not wait, and what is behind the limit is not sent for it.
        world.say(&crowd[0], "ping");
        assert_eq!(crowd[0].hears(), ["pong"]);
        wait(&mut world, 3_000);
        assert_eq!(
            first + second + heard(&mut crowd),
            400,
            "nothing is dropped"
        );
        assert_eq!(
            world.shard.deadline().filter(|at| *at <= world.now + 20),
            None
        );
        assert_eq!(world.stats().tenant_busy, 0);
    }
}

#[test]
fn slowest_connections_of_a_tenant_are_closed_once_deliveries_waited_for_five_seconds() {
    let mut world = World::new();
    world.now = 1_000;
    limit(&mut world, LOUD, 64, 0);
    let mut crowd = subscribers(&mut world, LOUD, 32);
    let mut other = subscribers(&mut world, OTHER, 2);
    // One takes nothing, and one has two subscriptions.
    world.ask(&mut crowd[9], &subscribe(A, "2"));
    crowd[4].takes(0);
    for _ in 0..40 {
        publish_for(&mut world, LOUD, "0");
        publish_for(&mut world, OTHER, "0");
    }
    wait(&mut world, 4_900);
    assert_eq!(world.stats().tenant_busy, 0);
    wait(&mut world, 300);
    assert_eq!(world.stats().tenant_busy, 2, "a sixteenth");
    assert!(!world.is_open(&crowd[4]) && !world.is_open(&crowd[9]));
    let last = crowd[9].hears().pop().unwrap();
    assert_eq!(last, "close 4101 tenant-busy 30000");
    wait(&mut world, 1_000);
    assert_eq!(world.stats().tenant_busy, 4);
    assert_eq!(evictions(world.stats()), [Eviction::TenantBusy; 4]);
    assert_eq!(heard(&mut other), 80);
    wait(&mut world, 15_000);
    // Who stayed has everything.
    let mut left = 0;
    for (index, client) in crowd.iter_mut().enumerate() {
        let lines = client.hears();
        if index != 4 && index != 9 && world.is_open(client) {
            assert_eq!(lines.len(), 40, "{index}");
            left += 1;
        }
    }
    assert!(left >= 8, "{left}");
    assert!(!world.shard.has_fan_out());
    assert!(other.iter().all(|client| world.is_open(client)));
}

#[test]
fn node_that_shuts_down_does_not_wait() {
    let mut world = World::new();
    world.now = 1_000;
    limit(&mut world, TenantId::MAIN, 1, 0);
    let mut crowd = subscribers(&mut world, TenantId::MAIN, 3);
    for _ in 0..10 {
        publish_for(&mut world, TenantId::MAIN, "0");
    }
    world.slice(usize::MAX);
    assert!(heard(&mut crowd) < 30 && !world.shard.has_fan_out());
    world.shard.begin_unlimited();
    assert!(world.shard.has_fan_out());
    world.deliver();
    assert_eq!(
        crowd.iter().map(Client::writes).min(),
        crowd.iter().map(Client::writes).max()
    );
    assert_eq!(world.shard.backlog(), 0);
}

#[test]
fn limit_that_is_lifted_lets_what_waits_go() {
    let mut world = World::new();
    world.now = 1_000;
    limit(&mut world, LOUD, 1, 0);
    let mut crowd = subscribers(&mut world, LOUD, 3);
    for _ in 0..10 {
        publish_for(&mut world, LOUD, "0");
    }
    world.slice(usize::MAX);
    let before = heard(&mut crowd);
    world.shard.set_bucket(LOUD, None);
    world.slice(usize::MAX);
    assert_eq!(before + heard(&mut crowd), 30);
    assert!(!world.shard.has_fan_out());
}
