//! A network that drops everything: dead peers behind it are detected.
//!
//! Needs network namespaces, and so root; elsewhere the test is skipped.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::stream::Address;
use crate::support::{Client, Gateway, NEVER, StubBackend};

/// A namespace with one link to this one; gone when dropped.
struct Beyond {
    name: String,
    link: String,
    near: String,
    far: String,
}

impl Beyond {
    /// `None` if this is not permitted.
    fn new() -> Option<Self> {
        let id = std::process::id();
        // A network of benchmarks (RFC 2544), four addresses for each process.
        let network = u32::from_be_bytes([198, 18, 0, 0]) + (id * 4) % (1 << 17);
        let address = |host: u32| std::net::Ipv4Addr::from(network + host).to_string();
        let beyond = Self {
            name: format!("ht-test-{id}"),
            link: format!("htn{id}"),
            near: address(1),
            far: address(2),
        };
        if !ip(&["netns", "add", &beyond.name]) {
            return None;
        }
        let (one, other) = (&*beyond.link, format!("htf{id}"));
        let steps: [&[&str]; 7] = [
            &["link", "add", one, "type", "veth", "peer", "name", &other],
            &["link", "set", &other, "netns", &beyond.name],
            &["addr", "add", &format!("{}/30", beyond.near), "dev", one],
            &["link", "set", one, "up"],
            &[
                "-n",
                &beyond.name,
                "addr",
                "add",
                &format!("{}/30", beyond.far),
                "dev",
                &other,
            ],
            &[
                "-n",
                &beyond.name,
                "link",
                "set",
                &other,
                "address",
                "02:00:00:00:00:02",
                "up",
            ],
            // A permanent neighbour entry replaces address resolution.
            &[
                "neigh",
                "replace",
                &beyond.far,
                "lladdr",
                "02:00:00:00:00:02",
                "dev",
                one,
                "nud",
                "permanent",
            ],
        ];
        steps.iter().all(|step| ip(step)).then_some(beyond)
    }

    /// From now on packets are addressed to nobody there, and nothing responds.
    fn swallow(&self) {
        assert!(ip(&["-n", &self.name, "addr", "flush", "to", &self.far]));
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let binary = env!("CARGO_BIN_EXE_high-templar");
        Command::new("ip")
            .args(["netns", "exec", &self.name, binary])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a client starts")
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        // A namespace lives as long as a socket in it tries to send; its link need not.
        ip(&["link", "del", &self.link]);
        ip(&["netns", "del", &self.name]);
    }
}

/// Ended when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).output();
    output.is_ok_and(|output| {
        if !output.status.success() {
            eprintln!(
                "ip {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        output.status.success()
    })
}

#[test]
fn a_peer_that_acknowledges_nothing_is_found_without_a_ping() {
    let Some(beyond) = Beyond::new() else {
        eprintln!("skipped: no network namespace can be made here");
        return;
    };
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LISTEN", format!("{}:0", beyond.near))
        .set("HT_TCP__USER_TIMEOUT", "1s")
        // Nothing else detects it.
        .set("HT_KEEPALIVE__INTERVAL", 0)
        .set("HT_LIMITS__OUTBOX_AGE", 0)
        .set("HT_LIMITS__IDLE_TIMEOUT", NEVER)
        .start();
    let Address::Tcp(address) = gateway.public() else {
        unreachable!("listening on TCP");
    };
    let url = format!("ws://{address}/ws/");
    let _far = Ended(beyond.start(&["listen", "--url", &url, "--room", r#"{"room":1}"#]));
    gateway.wait_for_metric("high_templar_connections", 1);
    gateway.wait_for_metric("high_templar_subscriptions", 1);
    let mut near = Client::connect(&gateway);
    near.subscribe(&json!({"room": 1}), 1);
    beyond.swallow();
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "swallowed"}));
    assert_eq!(near.expect_publish().0, "swallowed");
    gateway.wait_for_open(&mut near, 1);
    near.fence();
}
