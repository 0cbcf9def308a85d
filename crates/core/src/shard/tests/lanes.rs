//! Tenants of one shard: each has its own queue, and none delays or meets another.

use ht_proto::client::Envelope;
use ht_proto::entry::TenantId;
use ht_proto::subprotocol::Subprotocol;

use super::commands::{A, GRANTS, everyone, signed_out};
use super::kit::*;
use crate::budget::{Phase, cost};
use crate::connection::ConnectionId;
use crate::publication::Publication;
use crate::registry::Subscriber;
use crate::select::Selection;
use crate::shard::Shard;
use crate::shard::fan_out::QUANTUM;

const LOUD: TenantId = TenantId::new(1);
const OTHER: TenantId = TenantId::new(2);

/// Clients of the loud tenant, and subscriptions of each to one room.
const CLIENTS: usize = 4_000;
const NAMES: usize = 24;

/// A client of a tenant that subscribes to the same room as all others.
fn subscriber(world: &mut World, tenant: TenantId) -> Client {
    world.tenant = tenant;
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client
}

fn publish_for(world: &mut World, tenant: TenantId, data: &str) {
    world.tenant = tenant;
    world.publish(A, data);
}

fn everyone_of(tenant: TenantId) -> Selection {
    Selection {
        tenant,
        ..everyone()
    }
}

/// A part of the deliveries that are due, as a turn of the thread does it.
fn turn(world: &mut World) {
    world.shard.begin(Phase::Deliveries);
    world.slice(256);
}

#[test]
fn publication_for_a_hundred_thousand_subscribers_delays_another_tenants_by_no_more_than_a_slice() {
    let mut world = World::new();
    world.tenant = LOUD;
    let mut crowd: Vec<_> = (0..CLIENTS).map(|_| subscriber(&mut world, LOUD)).collect();
    let limits = world.shard.message_limits();
    let names = (0..NAMES).map(|name| subscribe(A, &format!("\"{name}\"")));
    let names: Vec<_> = names
        .map(|text| Envelope::read(&text).request_id(&limits).unwrap())
        .collect();
    for client in &crowd {
        // As messages of the client do, without decoding a hundred thousand of them.
        let Shard {
            registry, sessions, ..
        } = &mut world.shard;
        let own = &mut sessions[client.id.slot as usize].own;
        for name in &names {
            let subscriber = Subscriber {
                connection: ConnectionId(client.id.slot),
                tenant: LOUD,
                client: 0,
            };
            registry.subscribe(subscriber, own, room(A), name);
        }
    }
    let mut other = subscriber(&mut world, OTHER);
    for round in 0..3 {
        publish_for(&mut world, LOUD, "0");
        // The loud tenant is in the middle of its deliveries.
        (0..round).for_each(|_| world.slice(QUANTUM));
        publish_for(&mut world, OTHER, "1");
        let spent = world.shard.budget().total();
        let heard = loop {
            let heard = other.hears();
            if !heard.is_empty() {
                break heard;
            }
            world.slice(QUANTUM);
        };
        assert_eq!(heard, [publish("1", "1")]);
        let units = world.shard.budget().total() - spent;
        // A slice, or what cannot be divided: matching a room.
        let most = 3 * QUANTUM as u64 * cost::WRITE;
        let room = (CLIENTS * (NAMES + 1)) as u64 * cost::HIT;
        let most = if round == 0 { most + room } else { most };
        assert!(units < most, "{round}: {units} units, {most} at most");
        assert!(
            world.shard.has_fan_out(),
            "the crowd has most of it yet to come"
        );
        world.deliver();
        let heard = crowd.iter_mut().map(|client| client.hears().len());
        assert!(heard.eq(std::iter::repeat_n(NAMES + 1, CLIENTS)));
    }
}

#[test]
fn tenants_share_a_shard_by_what_their_deliveries_cost() {
    let mut world = World::new();
    let mut clients = [LOUD, OTHER].map(|tenant| {
        let crowd = (0..64).map(|_| subscriber(&mut world, tenant));
        crowd.collect::<Vec<_>>()
    });
    // One publishes ten times as much as the other.
    for _ in 0..200 {
        (0..10).for_each(|_| publish_for(&mut world, LOUD, "0"));
        publish_for(&mut world, OTHER, "1");
    }
    let mut heard = [0; 2];
    while heard[1] < 200 * 64 {
        turn(&mut world);
        for (heard, crowd) in heard.iter_mut().zip(&mut clients) {
            *heard += crowd
                .iter_mut()
                .map(|client| client.hears().len())
                .sum::<usize>();
        }
        assert!(world.shard.has_fan_out());
    }
    // Each write has more of the loud one's publications, so it had no more turns.
    assert!(heard[0] < 2_000 * 64, "{heard:?}");
    world.shard.begin_unlimited();
    world.deliver();
}

#[test]
fn command_of_one_tenant_holds_up_nothing_of_another_and_concerns_nobody_of_it() {
    let mut world = World::new();
    let mut crowd: Vec<_> = (0..200).map(|_| subscriber(&mut world, LOUD)).collect();
    let mut other = subscriber(&mut world, OTHER);
    publish_for(&mut world, LOUD, "0");
    world.command(everyone_of(LOUD), signed_out());
    publish_for(&mut world, LOUD, "1");
    publish_for(&mut world, OTHER, "2");
    world.shard.begin_unlimited();
    world.slice(64);
    assert_eq!(other.hears(), [publish("2", "1")]);
    assert!(crowd.last_mut().unwrap().hears().is_empty());
    world.deliver();
    for client in &mut crowd {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 4303 signed-out".into()]
        );
    }
    assert!(world.is_open(&other));
    assert_eq!(world.outside.carried_out.len(), 1);
}

#[test]
fn batch_of_several_tenants_is_split() {
    let mut world = World::new();
    let mut clients = [LOUD, OTHER].map(|tenant| subscriber(&mut world, tenant));
    let batch: Vec<_> = (1..=6)
        .map(|position| {
            let tenant = TenantId::new(1 + position % 3);
            let data = position.to_string().into();
            Publication::new(position.into(), tenant, vec![room(A)], data)
        })
        .collect();
    world.outside.position = 6;
    world.shard.publish(batch.into());
    world.deliver();
    let heard = clients.each_mut().map(Client::hears);
    let expected = [["3", "6"], ["1", "4"]];
    assert_eq!(
        heard,
        expected.map(|all| all.map(|data| publish(data, "1")).to_vec())
    );
    assert_eq!(world.stats().publications, 6);
}

#[test]
fn lost_commands_of_one_tenant_close_its_connections_alone() {
    let mut world = World::new();
    let mut clients = [LOUD, OTHER].map(|tenant| subscriber(&mut world, tenant));
    world.outside.position += 1;
    let position = world.outside.position;
    world.shard.lose_commands(LOUD, position);
    world.deliver();
    let [lost, kept] = clients.each_mut().map(Client::hears);
    assert_eq!(lost, [format!("close 4002 {}", "permissions 10000")]);
    assert_eq!(kept, [""; 0]);
    // An answer from before is refused where commands since are not known.
    for (tenant, is_known) in [(OTHER, true), (LOUD, false)] {
        world.tenant = tenant;
        world.asked_at = position - 1;
        let heard = world.open_with(GRANTS, usize::MAX).hears();
        assert_eq!(heard[0].contains("true"), is_known, "{heard:?}");
    }
}

#[test]
fn cursor_of_one_tenant_passes_what_another_still_waits_for() {
    let mut world = World::new();
    world.subprotocol = Some(Subprotocol::V1);
    world.tenant = LOUD;
    let loud = world.open(GRANTS);
    world.say(&loud, &subscribe(A, "1"));
    world.tenant = OTHER;
    let mut other = world.open(GRANTS);
    publish_for(&mut world, LOUD, "0");
    let position = world.outside.position;
    world.shard.handed(position);
    world.say(&other, r#"{"type":"ping","requestId":1}"#);
    let answer = other.hears_all().pop().unwrap();
    assert!(answer.contains(&format!("-{position}-")), "{answer}");
    // The loud one's was not matched for that.
    assert_eq!(world.shard.backlog(), 1);
    world.deliver();
}

#[test]
fn what_waits_for_a_client_that_ended_does_not_reach_the_next_one_in_its_slot() {
    let mut world = World::new();
    let mut first = subscriber(&mut world, LOUD);
    let mut rest: Vec<_> = (0..3).map(|_| subscriber(&mut world, LOUD)).collect();
    let mut other = subscriber(&mut world, OTHER);
    publish_for(&mut world, LOUD, "0");
    // Matched, and nobody is written to yet but the one who says something.
    world.say(&rest[0], "ping");
    world.gone(&first);
    world.clean_up();
    let mut next = subscriber(&mut world, OTHER);
    assert_eq!(next.id.slot, first.id.slot);
    publish_for(&mut world, OTHER, "1");
    world.say(&other, "ping");
    world.deliver();
    assert_eq!(next.hears(), [publish("1", "1")]);
    assert_eq!(other.hears(), [publish("1", "1"), "pong".into()]);
    assert_eq!(first.hears(), [""; 0]);
    assert_eq!(rest.pop().unwrap().hears(), [publish("0", "1")]);
}

#[test]
fn lanes_of_tenants_without_clients_are_forgotten() {
    let mut world = World::new();
    let clients: Vec<_> = (1..2_000)
        .map(|tenant| subscriber(&mut world, TenantId::new(tenant)))
        .collect();
    for tenant in 1..2_000 {
        publish_for(&mut world, TenantId::new(tenant), "0");
    }
    world.command(everyone_of(OTHER), signed_out());
    world.deliver();
    assert_eq!(world.shard.lanes.tenants().len(), 1_999);
    assert_eq!(
        world.shard.lanes.buffers(),
        1,
        "one set of lists serves all"
    );
    for client in &clients[2..] {
        world.gone(client);
    }
    world.gone(&clients[1]);
    world.clean_up();
    (0..10).for_each(|_| world.pass(1));
    let left = world.shard.lanes.tenants();
    assert_eq!(
        left.len(),
        2,
        "the command may concern one who is coming in: {left:?}"
    );
    world.pass(60_001);
    world.pass(60_001);
    assert_eq!(world.shard.lanes.tenants(), [LOUD]);
    assert!(world.shard.lanes.is_alone());
    assert!(world.is_open(&clients[0]));
}
