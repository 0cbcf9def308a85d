//! The hosts of requests: those of `main`, and those that cannot be read.

use crate::support::{Gateway, Handshake, StubBackend};
use crate::tenants::kit::{ADMIN, Tenant, answering, file};

/// A gateway with a `main` of its own, which is the default and has this host.
fn start(main: &StubBackend, tenants: &[Tenant]) -> Gateway {
    Gateway::with(main)
        .set("HT_INTERNAL__API_KEY", ADMIN)
        .file(&format!(
            "[tenants]\nsource = \"file\"\ndefault = \"main\"\nhosts = [\"www.test\"]\n{}",
            file(tenants)
        ))
        .start()
}

fn to(gateway: &Gateway, hosts: &[&str], path: &str) -> Handshake {
    let handshake = Handshake::new(gateway).without("Host").path(path);
    let hosts = hosts.iter();
    hosts.fold(handshake, |it, host| it.header("Host", *host))
}

#[test]
fn no_page_of_a_tenant_has_cookies_of_a_host_of_main_sent_to_its_api() {
    let main = StubBackend::new(answering);
    let tenants = [Tenant::new("acme")];
    let gateway = start(&main, &tenants);
    let calls = || (main.requests().len(), tenants[0].backend.requests().len());
    to(&gateway, &["WWW.test.:80"], "/ws/").connect();
    assert_eq!(calls(), (1, 0));
    for path in ["/t/acme/ws/", "/ws/?key=pk_acme"] {
        let refused = to(&gateway, &["www.test"], path).header("Cookie", "session=of-main");
        assert_eq!(refused.refused().status, 400, "{path}");
    }
    let offered = to(&gateway, &["www.test"], "/ws/")
        .header("Sec-WebSocket-Protocol", "high-templar.key.pk_acme");
    assert_eq!(offered.refused().status, 400);
    assert_eq!(calls(), (1, 0));
    // Elsewhere it names its own.
    to(&gateway, &["other.test"], "/t/acme/ws/").connect();
    assert_eq!(calls(), (1, 1));
}

#[test]
fn a_host_that_cannot_be_read_is_of_nobody_also_where_there_is_a_default() {
    let main = StubBackend::new(answering);
    let gateway = start(&main, &[Tenant::new("acme")]);
    for hosts in [
        &["a b"][..],
        &["a.test:http"],
        &["ä.test"],
        &["a..test"],
        &["[::1"],
        &["a.test/ws"],
        &[""],
        &[],
        &["a.test", "b.test"],
    ] {
        let answer = to(&gateway, hosts, "/ws/").refused();
        assert_eq!(answer.status, 400, "{hosts:?}: {answer:?}");
    }
    assert!(main.requests().is_empty());
    to(&gateway, &["unknown.test:5000"], "/ws/").connect();
    assert_eq!(main.requests().len(), 1);
}
