//! Responses about what is not permitted name the settings of the tenant, not those of the node.

use serde_json::json;

use crate::support::{Handshake, http};
use crate::tenants::kit::{Tenant, gateway, publish};

#[test]
fn what_a_tenant_is_refused_for_names_its_own_settings() {
    let acme = Tenant::new("acme");
    let table = acme.table().replace(
        "may = [\"publish\", \"command\", \"read\"]",
        "may = [\"read\"]",
    );
    let gateway = gateway(std::slice::from_ref(&acme));
    std::fs::write(gateway.folder().join("tenants.toml"), table).expect("a file of tenants");
    let gateway = gateway.start();

    let foreign = acme
        .handshake(&gateway)
        .header("Origin", "https://other.example");
    let answer = foreign.refused();
    assert_eq!(answer.status, 403);
    let part = "add \"https://other.example\" to `origins` in the settings of this tenant";
    assert!(answer.text().contains(part), "{answer:?}");
    let rest = gateway.wait_for_line("refused a websocket with the Origin https://other.example. ");
    let part = "add \"https://other.example\" to `origins` of the tenant acme, in ";
    assert!(rest.contains(part), "{rest}");
    assert!(rest.contains("tenants.toml"), "{rest}");

    let at = |path: &str| Handshake::new(&gateway).path(path).refused();
    let answer = at("/t/nobody/ws/");
    assert_eq!(answer.status, 404);
    let part = "Set `path` = \"/t/nobody/ws/\" in the settings of the tenant";
    assert!(answer.text().contains(part), "{answer:?}");
    let answer = at("/elsewhere/");
    assert!(
        answer.text().contains("the `path` of a tenant"),
        "{answer:?}"
    );
    let answer = at("/ws/");
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("`hosts`, `path` and `key`"),
        "{answer:?}"
    );

    let answer = acme.post(&gateway, &publish("x", "1"));
    assert_eq!(answer.status, 403);
    let part = "add it to `may` of this key in publish_keys of the tenant acme";
    assert!(answer.text().contains(part), "{answer:?}");
    let key = format!("Bearer {}", acme.secret());
    let headers = [("Authorization", &*key)];
    let answer = http::request(gateway.internal(), "GET", "/tenants/", &headers, b"");
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("this key belongs to one"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["trigger"], json!(null));
}
