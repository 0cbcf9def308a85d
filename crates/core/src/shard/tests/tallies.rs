//! What is counted for each tenant.

use std::collections::BTreeMap;

use ht_proto::entry::TenantId;
use ht_proto::subprotocol::Subprotocol;

use super::kit::*;
use crate::tally::Tally;

const A: &str = r#"{"a":1}"#;
const GRANTS: &str = r#"[{"a":"*"}]"#;

fn take(world: &mut World) -> BTreeMap<u32, Tally> {
    let mut all = BTreeMap::new();
    let take = |tenant: TenantId, tally| assert!(all.insert(tenant.get(), tally).is_none());
    world.shard.take_tallies(take);
    all
}

#[test]
fn each_tenant_has_its_own_counts_and_none_is_counted_twice() {
    let mut world = World::new();
    let mut clients = Vec::new();
    // The second tenant's client has cursors.
    for (tenant, subprotocol) in [(0, None), (1, Some(Subprotocol::V1))] {
        world.tenant = TenantId::new(tenant);
        world.subprotocol = subprotocol;
        clients.push(world.open(GRANTS));
    }
    let opened = take(&mut world);
    assert_eq!((opened[&0].opened, opened[&1].opened), (1, 1));
    world.subscribe(&mut clients[0], A, "1");
    world.subscribe_v1(&mut clients[1], A, "1");
    for client in &mut clients {
        world.ask(client, "ping");
    }
    let asked = take(&mut world);
    assert_eq!((asked[&0].messages, asked[&1].messages), (2, 2));
    assert_eq!(take(&mut world), BTreeMap::new());

    let large = format!("\"{}\"", "x".repeat(10_000));
    for (tenant, data) in [(0, "0"), (1, "1"), (1, "2"), (1, large.as_str()), (0, "3")] {
        world.tenant = TenantId::new(tenant);
        world.publish(A, data);
    }
    world.deliver();
    let tallies = take(&mut world);
    for (tenant, deliveries) in [(0, 2), (1, 3)] {
        let sent = clients[tenant as usize].wire.borrow().bytes.len() as u64;
        let expected = Tally {
            deliveries,
            bytes_out: sent,
            ..Tally::default()
        };
        assert_eq!(tallies[&tenant], expected, "{tenant}");
    }
    world.gone(&clients[1]);
    let closed = Tally {
        closed: 1,
        ..Tally::default()
    };
    assert_eq!(take(&mut world), BTreeMap::from([(1, closed)]));
}

#[test]
fn queued_frames_are_counted_for_their_tenant_once_they_are_sent() {
    let mut world = World::new();
    world.tenant = TenantId::new(5);
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    take(&mut world);
    client.takes(10);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(take(&mut world)[&5].deliveries, 0);
    // Its tenant is known also when it is closing.
    world.shard.close_all(
        ht_proto::close::Close::RESTART,
        &mut Turn::new(world.now, &mut world.outside),
    );
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(client.hears().len(), 2);
    let tally = take(&mut world)[&5];
    assert_eq!((tally.deliveries, tally.closed), (1, 1));
    assert_eq!(world.stats().deliveries, 1);
}
