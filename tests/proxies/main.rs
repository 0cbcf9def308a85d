//! The configurations in docs/proxies.md, run by real servers: 200 clients stay connected through
//! them while one node after the other is restarted, and those of tenants find their paths.
//!
//! `./test proxies` installs nginx, HAProxy and Caddy and runs them all.

// Other tests use the rest of it.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;

mod server;
mod streams;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::server::{Proxy, Server};
use crate::support::stream::Address;
use crate::support::{Gateway, Handshake, StubBackend, eventually, frame};

const CLIENTS: usize = 200;

/// A client's stack: 200 of them run at once.
const STACK: usize = 256 << 10;

/// Shared report of all clients.
#[derive(Default)]
struct Report {
    subscribed: AtomicUsize,
    closed: AtomicUsize,
    heard: AtomicUsize,
    /// Responses to handshakes other than 101.
    refused: Mutex<Vec<u16>>,
    over: AtomicBool,
}

/// Connects through the proxy and reconnects as requested, until the end is published.
fn client(index: usize, proxy: &Address, report: &Report) {
    while !report.over.load(Ordering::SeqCst) {
        let (answer, mut client) = Handshake::at(proxy).send().answer();
        if answer.status != 101 {
            let mut refused = report
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refused.push(answer.status);
            drop(refused);
            thread::sleep(Duration::from_millis(100));
            continue;
        }
        client.frame();
        client.send_json(&json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1}));
        let answer = client.frame();
        if answer.opcode != frame::CLOSE {
            assert_eq!(answer.payload, br#"{"code": "success"}"#);
            report.subscribed.fetch_add(1, Ordering::SeqCst);
            let frame = client.frame();
            if frame.opcode != frame::CLOSE {
                report.heard.fetch_add(1, Ordering::SeqCst);
                return;
            }
            report.closed.fetch_add(1, Ordering::SeqCst);
            assert_eq!(frame.payload[..2], 1012_u16.to_be_bytes());
            let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
            let within = reason
                .strip_prefix("restart ")
                .expect("a time to reconnect");
            let within: usize = within.parse().expect("milliseconds");
            thread::sleep(Duration::from_millis((within * index / CLIENTS) as u64));
        }
    }
}

/// Ends the clients when a test ends, also by a panic.
struct Over<'a>(&'a Report);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

fn start(backend: &StubBackend, address: Option<&Address>) -> Gateway {
    let mut builder = Gateway::with(backend).set("HT_THREADS", 1);
    if let Some(Address::Tcp(address)) = address {
        builder = builder.set("HT_LISTEN", address);
    }
    builder.start()
}

/// Restarts one node after the other behind this proxy. Returns the responses to handshakes other
/// than 101.
fn rolling_restart(server: Server) -> Vec<u16> {
    let backend = StubBackend::open();
    let mut nodes = [start(&backend, None), start(&backend, None)];
    let proxy = Proxy::start(server, [nodes[0].public(), nodes[1].public()]);
    let report = Report::default();
    thread::scope(|scope| {
        let _over = Over(&report);
        for index in 0..CLIENTS {
            let (proxy, report) = (proxy.address(), &report);
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, move || client(index, proxy, report))
                .expect("a thread");
        }
        let all_are_connected = || {
            eventually("every client is connected", || {
                let closed = report.closed.load(Ordering::SeqCst);
                (report.subscribed.load(Ordering::SeqCst) == closed + CLIENTS).then_some(())
            });
        };
        all_are_connected();
        for node in &mut nodes {
            let address = node.public().clone();
            node.signal("TERM");
            assert_eq!(node.wait_for_end(), Some(0));
            all_are_connected();
            *node = start(&backend, Some(&address));
        }
        report.over.store(true, Ordering::SeqCst);
        for node in &nodes {
            node.trigger(&json!({"rooms": [{"room": 1}], "data": "over"}));
        }
    });
    assert_eq!(report.heard.load(Ordering::SeqCst), CLIENTS);
    let closed = report.closed.load(Ordering::SeqCst);
    assert!(closed >= CLIENTS, "each was moved: {closed}");
    report.refused.into_inner().expect("no panic")
}

/// The clients of tenants get through this proxy, by their path.
fn paths_of_tenants(server: Server) {
    let tenants = ["acme", "big-shop"].map(|name| (name, StubBackend::open()));
    let tables = tenants.each_ref().map(|(name, backend)| {
        let url = &backend.url;
        format!("[[tenant]]\nname = \"{name}\"\nbackend = {{ url = \"{url}\" }}\n")
    });
    let main = StubBackend::open();
    let start = || {
        let file = format!("[tenants]\nsource = \"file\"\n{}", tables.concat());
        let builder = Gateway::with(&main).set("HT_THREADS", 1);
        builder.file(&file).start()
    };
    let nodes = [start(), start()];
    let proxy = Proxy::start(server, [nodes[0].public(), nodes[1].public()]);
    for (name, backend) in &tenants {
        let path = format!("/t/{name}/ws/");
        Handshake::at(proxy.address()).path(&path).connect().fence();
        assert_eq!(backend.requests().len(), 1, "{name}");
    }
    assert!(main.requests().is_empty());
}

#[test]
#[ignore = "needs nginx: ./test proxies"]
fn nginx_passes_the_paths_of_tenants() {
    paths_of_tenants(Server::Nginx);
}

#[test]
#[ignore = "needs HAProxy: ./test proxies"]
fn haproxy_passes_the_paths_of_tenants() {
    paths_of_tenants(Server::HaProxy);
}

#[test]
#[ignore = "needs Caddy: ./test proxies"]
fn caddy_passes_the_paths_of_tenants() {
    paths_of_tenants(Server::Caddy);
}

#[test]
#[ignore = "needs nginx: ./test proxies"]
fn nginx_hides_a_rolling_restart() {
    assert_eq!(rolling_restart(Server::Nginx), [0_u16; 0]);
}

#[test]
#[ignore = "needs HAProxy: ./test proxies"]
fn haproxy_hides_a_rolling_restart() {
    assert_eq!(rolling_restart(Server::HaProxy), [0_u16; 0]);
}

#[test]
#[ignore = "needs Caddy: ./test proxies"]
fn caddy_hides_a_rolling_restart_except_for_handshakes_in_progress() {
    let refused = rolling_restart(Server::Caddy);
    assert!(refused.iter().all(|&status| status == 503), "{refused:?}");
}
