//! The log: the gateway never waits for its readers, a connection's lines share its id, and it
//! contains no secrets.

use std::fs::File;
use std::io;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::json;

use crate::support::stream::Address;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend, eventually, http};

const DROPPED: &str = "high_templar_log_lines_dropped_total";

/// Each of its lines is a mistake, and so a line of the log.
fn mistakes() -> String {
    let networks: String = (0..3_000)
        .map(|n| format!("\"no network {n}\",\n"))
        .collect();
    format!("trusted_proxies = [\n{networks}]\n")
}

fn start(backend: &StubBackend, log: impl Into<Stdio>) -> Gateway {
    let [public, internal] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = |socket: &TcpListener| Address::Tcp(socket.local_addr().expect("an address"));
    let addresses = (address(&public), address(&internal));
    Gateway::with(backend)
        .pass("public", public)
        .pass("internal", internal)
        .start_unheard(log, &addresses.0, &addresses.1)
}

#[track_caller]
fn serves(gateway: &Gateway) {
    let mut client = Client::connect(gateway);
    client.subscribe(&json!({"room": 1}), 1);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    assert_eq!(client.expect_publish().0, 1);
    client.leave();
}

#[test]
fn a_full_pipe_holds_nothing_and_what_was_lost_is_told_once_it_is_read() {
    let backend = StubBackend::open();
    let (reader, writer) = io::pipe().unwrap();
    let mut gateway = start(&backend, writer);
    serves(&gateway);
    gateway.reload_unheard(&mistakes());
    let dropped = eventually("lines are dropped", || {
        Some(gateway.metric(DROPPED)).filter(|dropped| *dropped > 0)
    });
    serves(&gateway);
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("log lines were dropped"));
    assert!(told.is_some(), "{dropped} were lost");
    drop(lines);
    // Now the pipe has no reader at all.
    gateway.reload_unheard(&mistakes());
    eventually("more are dropped", || {
        (gateway.metric(DROPPED) > dropped).then_some(())
    });
    serves(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn a_full_pipe_does_not_delay_shutdown() {
    let backend = StubBackend::open();
    let (_reader, writer) = io::pipe().unwrap();
    let mut gateway = start(&backend, writer);
    serves(&gateway);
    gateway.reload_unheard(&mistakes());
    eventually("lines are dropped", || {
        (gateway.metric(DROPPED) > 0).then_some(())
    });
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn a_full_disk_stops_nothing() {
    let backend = StubBackend::open();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut gateway = start(&backend, full);
    serves(&gateway);
    assert!(
        gateway.metric(DROPPED) > 0,
        "the first lines are lost already"
    );
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn the_lines_of_a_connection_share_its_id() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LOG__LEVEL", "debug")
        .start();
    let mut client = Client::connect(&gateway);
    // The client has its id, too.
    client.send_text("no message");
    let id = client.expect_json()["requestId"].to_string();
    client.leave();
    let id = id.trim_matches('"');
    let mut other = Client::connect(&gateway);
    gateway.wait_for_open(&mut other, 1);
    for event in ["connection opened", "connection closed"] {
        let line = format!("{event} connection={id} address=");
        gateway.wait_for_line(&line);
    }
}

/// Part of every secret in the test.
const SECRET: &str = "s3cr3t";

#[test]
fn no_secret_is_logged_at_any_level() {
    let backend = StubBackend::new(|seen| {
        if seen.is_bootstrap() {
            Reply::rooms(&json!([{"room": "*"}]))
        } else {
            Reply::forbidden()
        }
    });
    for level in [
        "trace",
        "ht_node=trace,ht_edge=trace,ht_backend=trace,ht_broker=trace,info",
    ] {
        let gateway = Gateway::with(&backend)
            .hooks()
            .set("RUST_LOG", level)
            .set("HT_AUTH__FIRST_FRAME", "true")
            .set("HT_INTERNAL__API_KEY", "s3cr3t-key-of-the-operator")
            .set(
                "HT_RABBITMQ__URL",
                "amqp://user:s3cr3t-password@127.0.0.1:1",
            )
            .file("[backend.headers]\nX-Fixed = { fixed = \"s3cr3t-fixed\" }\n")
            .start();
        visit(&gateway);
        let bearer = [("Authorization", "Bearer s3cr3t-wrong")];
        let to = gateway.internal();
        let answer = http::request(to, "POST", "/trigger/", &bearer, b"{\"s3cr3t\": 1}");
        assert_eq!(answer.status, 401);
        gateway.wait_for_line("RabbitMQ");
        let said = gateway.reload(
            "[internal]\napi_key = \"s3cr3t-other-key\"\n\
             [backend.headers]\nX-Fixed = { fixed = \"s3cr3t\\u0000\" }\n",
        );
        assert!(said.contains("X-Fixed"), "{said}");
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains(SECRET));
        assert!(line.is_none(), "{line:?}");
    }
}

/// Connects in every way, with secrets everywhere, and sends messages.
fn visit(gateway: &Gateway) {
    let mut client = Handshake::new(gateway)
        .path("/ws/?token=s3cr3t-token&session_token=s3cr3t-session")
        .header("Cookie", "sessionid=s3cr3t-cookie; csrftoken=s3cr3t-csrf")
        .header("Authorization", "Bearer s3cr3t-own")
        .connect();
    client.subscribe(&json!({"room": "s3cr3t-room"}), "s3cr3t-request");
    client.send_text("s3cr3t, which is no JSON");
    client.expect_json();
    client.fence();
    client.leave();
    // "s3cr3t-subprotocol" in base64url.
    let offer = "high-templar.v1, high-templar.token.czNjcjN0LXN1YnByb3RvY29s";
    let mut client = Handshake::new(gateway)
        .header("Sec-WebSocket-Protocol", offer)
        .connect();
    client.fence();
    client.leave();
    let mut client = Handshake::new(gateway).open();
    client.send_json(&json!({"type": "authenticate", "token": "s3cr3t-frame"}));
    assert_eq!(client.expect_json()["is_authorized"], true);
    client.leave();
    let answer = Handshake::new(gateway)
        .header("Cookie", "sessionid=s3cr3t\u{7f}")
        .header("Origin", "https://elsewhere.test")
        .refused();
    assert!([400, 403].contains(&answer.status), "{answer:?}");
}
