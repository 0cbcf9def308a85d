//! The share that a tenant has of a node.

use super::client;
use crate::support::Handshake;
use crate::tenants::kit::{Tenant, expect_refused, gateway};

#[test]
fn a_tenant_has_so_many_connections_and_others_have_theirs() {
    let tenants = [
        Tenant::new("acme").line("limits = {connections = 2}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants).start();
    let first = client(&gateway, &tenants[0]);
    let _second = client(&gateway, &tenants[0]);
    let answer = tenants[0].handshake(&gateway).refused();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    let _others: Vec<_> = (0..3).map(|_| client(&gateway, &tenants[1])).collect();
    first.leave();
    client(&gateway, &tenants[0]);
}

#[test]
fn the_same_user_of_another_tenant_is_another_one() {
    let tenants = [
        Tenant::new("acme").line("limits = {connections_per_user = 1}"),
        Tenant::new("globex").line("limits = {connections_per_user = 2}"),
    ];
    let gateway = gateway(&tenants).start();
    let _first = client(&gateway, &tenants[0]);
    let mut second = tenants[0].handshake(&gateway).open();
    assert_eq!(expect_refused(&mut second, 4100), "connections-per-user");
    let _others = [client(&gateway, &tenants[1]), client(&gateway, &tenants[1])];
    let mut third = tenants[1].handshake(&gateway).open();
    assert_eq!(expect_refused(&mut third, 4100), "connections-per-user");
}

#[test]
fn a_tenant_that_connects_too_often_waits() {
    let tenants = [
        Tenant::new("acme").line("limits = {handshakes_per_second = 1}"),
        Tenant::new("globex"),
    ];
    let gateway = gateway(&tenants).start();
    let status = |tenant: &Tenant| tenant.handshake(&gateway).send().answer().0.status;
    let statuses: Vec<_> = (0..30).map(|_| status(&tenants[0])).collect();
    // A burst of ten seconds, and what was added meanwhile.
    let admitted = statuses.iter().filter(|status| **status == 101).count();
    assert!((10..30).contains(&admitted), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 101 | 429)),
        "{statuses:?}"
    );
    assert!((0..20).all(|_| status(&tenants[1]) == 101));
    let anywhere = Handshake::new(&gateway).refused();
    assert_eq!(anywhere.status, 404);
}
