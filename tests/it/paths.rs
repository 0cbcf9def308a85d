//! The path of the websocket, and the response to load balancers.

use crate::support::{Gateway, Handshake, NEVER, StubBackend, http};

fn status(gateway: &Gateway, path: &str) -> u16 {
    http::request(gateway.public(), "GET", path, &[], b"").status
}

#[test]
fn the_websocket_has_the_configured_path() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_WEBSOCKET_PATH", "/app/ws/")
        .start();
    gateway.wait_for_line(" at /app/ws/");
    for path in ["/app/ws/", "/app/ws", "/app/ws/?token=a"] {
        let mut client = Handshake::new(&gateway).path(path).connect();
        client.fence();
    }
    for path in ["/ws/", "/ws", "/app/", "/"] {
        let refused = Handshake::new(&gateway).path(path).refused();
        assert_eq!(refused.status, 404, "{path}");
        assert!(
            refused.text().contains("Websockets: /app/ws/"),
            "{refused:?}"
        );
    }
    assert_eq!(status(&gateway, "/app/ws/"), 426);
    assert_eq!(status(&gateway, "/health"), 200);
}

#[test]
fn the_root_is_answered_where_load_balancers_need_it() {
    let backend = StubBackend::open();
    let plain = Gateway::start(&backend);
    assert_eq!(status(&plain, "/"), 404);
    assert_eq!(status(&plain, "/health"), 200);
    // A proxy that keeps the prefix of a site.
    let prefixed = Handshake::new(&plain).path("/app/ws/").refused();
    assert_eq!(prefixed.status, 404);
    let remedy = "remove /app, or set websocket_path = \"/app/ws/\"";
    assert!(prefixed.text().contains(remedy), "{prefixed:?}");

    let mut gateway = Gateway::with(&backend)
        .set("HT_ROOT_HEALTH", "true")
        .set("HT_DRAIN__DELAY", NEVER)
        .start();
    assert_eq!(status(&gateway, "/"), 200);
    assert_eq!(status(&gateway, "/ws/"), 426);
    assert_eq!(Handshake::new(&gateway).path("/").refused().status, 404);
    let posted = http::request(gateway.public(), "POST", "/", &[], b"");
    assert_eq!(posted.status, 405);
    gateway.signal("TERM");
    gateway.wait_for_line("traffic is served for drain.delay");
    assert_eq!(status(&gateway, "/"), 503);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
}
