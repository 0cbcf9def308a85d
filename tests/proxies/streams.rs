//! Event streams and long polls through nginx.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Proxy, Server};
use crate::support::source::Asking;
use crate::support::stream::Address;
use crate::support::{Gateway, StubBackend};

/// How soon an event must be there. A buffer would hold it until the stream ends.
const SOON: Duration = Duration::from_secs(3);

fn node(backend: &StubBackend) -> Gateway {
    Gateway::with(backend)
        .set("HT_SSE__ENABLED", true)
        .set("HT_POLL__ENABLED", true)
        .start()
}

/// What browsers speak to the proxy.
#[derive(Clone, Copy, Debug)]
enum Http {
    One,
    Two,
}

/// curl, which prints each line as it comes, and ends with the test.
struct Curl(Child);

impl Curl {
    fn open(http: Http, address: &Address) -> Self {
        let Address::Tcp(address) = address else {
            panic!("a TCP address");
        };
        let version = match http {
            Http::One => "--http1.1",
            Http::Two => "--http2-prior-knowledge",
        };
        let url = format!("http://{address}/sse/?room=%7B%22room%22%3A1%7D");
        let child = Command::new("curl")
            .args([
                "-sSN",
                "--compressed",
                version,
                "-H",
                "Accept: text/event-stream",
                &url,
            ])
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("curl is installed"))
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs nginx: ./test proxies"]
fn nginx_passes_every_event_at_once() {
    let backend = StubBackend::open();
    let nodes = [node(&backend), node(&backend)];
    let buffers = (
        "proxy_read_timeout 75s;",
        "proxy_read_timeout 75s; proxy_buffering on; gzip on; gzip_types *;",
    );
    for (http, changes) in [
        (Http::One, &[][..]),
        (Http::One, &[buffers]),
        (Http::Two, &[buffers]),
    ] {
        let mut changes = changes.to_vec();
        if matches!(http, Http::Two) {
            // With prior knowledge: what a browser negotiates over TLS.
            changes.push(("; # listens", " http2;"));
        }
        let proxy = Proxy::start_with(Server::Nginx, addresses(&nodes), &changes);
        let mut curl = Curl::open(http, proxy.address());
        let mut lines = BufReader::new(curl.0.stdout.take().expect("its output")).lines();
        let mut expect = |text: &str| {
            let begun = Instant::now();
            let found = lines
                .by_ref()
                .map_while(Result::ok)
                .find(|line| line.contains(text));
            assert!(found.is_some(), "{text:?} over {http:?} with {changes:?}");
            assert!(
                begun.elapsed() < SOON,
                "{text:?} over {http:?} with {changes:?}"
            );
        };
        expect("\"is_authorized\": true");
        for number in 0..3 {
            for node in &nodes {
                node.trigger(&json!({"rooms": [{"room": 1}], "data": format!("event {number}")}));
            }
            expect(&format!("event {number}"));
        }
    }
}

#[test]
#[ignore = "needs nginx: ./test proxies"]
fn nginx_sends_a_poll_to_a_node_that_is_there() {
    let backend = StubBackend::open();
    let mut nodes = [node(&backend), node(&backend)];
    let proxy = Proxy::start(Server::Nginx, addresses(&nodes));
    let body = json!({"subscriptions": [{"requestId": 1, "room": {"room": 1}}], "wait": 0});
    let poll = Asking::event_source("/poll/").post(&body);
    nodes[0].signal("TERM");
    assert_eq!(nodes[0].wait_for_end(), Some(0));
    for _ in 0..4 {
        assert_eq!(poll.open(proxy.address()).status, 200);
    }
}

fn addresses(nodes: &[Gateway; 2]) -> [&Address; 2] {
    [nodes[0].public(), nodes[1].public()]
}
