//! Hooks and tokens in the first frame reach the API of the client's tenant.

use serde_json::json;

use super::client;
use crate::support::{Gate, Handshake, Reply, StubBackend};
use crate::tenants::kit::{Tenant, answering, gateway};

const HOOKS: &str = "hooks = {connect = \"POST user/notify_online/\", ping = \"POST \
                     user/notify_online/\", disconnect = \"POST user/notify_offline/\"}";

#[test]
fn hooks_of_one_tenant_do_not_wait_for_the_api_of_another() {
    let gate = Gate::default();
    let behind = gate.clone();
    let hangs = Tenant {
        backend: StubBackend::new(move |seen| match seen.is_bootstrap() {
            true => answering(seen),
            false => Reply::Behind(behind.clone(), Reply::ok().into()),
        }),
        ..Tenant::new("acme").line(HOOKS)
    };
    let silent = Tenant::new("initech");
    let tenants = [hangs, Tenant::new("globex").line(HOOKS), silent];
    let gateway = gateway(&tenants).set("HT_HOOKS__MAX_IN_FLIGHT", 2).start();
    let waiting: Vec<_> = (0..4).map(|_| client(&gateway, &tenants[0])).collect();
    tenants[0].backend.wait("two hooks", |history| {
        let hooks = history.requests.iter().filter(|seen| !seen.is_bootstrap());
        (hooks.count() == 2).then_some(())
    });
    client(&gateway, &tenants[2]).leave();
    client(&gateway, &tenants[1]).leave();
    tenants[1].backend.wait_for_moments(&["online", "offline"]);
    assert_eq!(tenants[2].backend.moments(), [""; 0], "it has no hooks");
    gate.open();
    drop(waiting);
}

#[test]
fn a_token_in_the_first_frame_is_for_the_api_of_the_tenant() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .start();
    for (number, tenant) in tenants.iter().enumerate() {
        let host = format!("{}.test", tenant.name);
        let handshake = Handshake::new(&gateway)
            .without("Host")
            .header("Host", host);
        let mut client = handshake.open();
        client.send_json(&json!({"type": "authenticate", "token": "7"}));
        assert_eq!(client.expect_json()["is_authorized"], true);
        let calls = tenants.each_ref().map(|it| it.backend.requests().len());
        assert_eq!(calls, [1, number]);
        let seen = tenant.backend.requests().remove(0);
        assert_eq!(seen.header("authorization"), Some("Token 7"));
    }
}
