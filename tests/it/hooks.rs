//! The backend is notified of connections, pings and disconnects, and no client waits for it.

use serde_json::json;

use crate::support::{
    Client, Frame, Gate, Gateway, Handshake, NEVER, Reply, StubBackend, eventually, frame,
};

/// A backend whose hooks are treated like this.
fn backend(hooks: Reply) -> StubBackend {
    StubBackend::new(move |seen| {
        if !seen.is_bootstrap() {
            hooks.clone()
        } else if seen.header("cookie") == Some("no") {
            Reply::forbidden()
        } else {
            Reply::rooms(&json!([{"room": "*"}]))
        }
    })
}

#[test]
fn hooks_carry_the_headers_of_the_bootstrap_call() {
    let backend = backend(Reply::ok());
    let gateway = Gateway::with(&backend)
        .hooks()
        .file("[backend.headers]\nX-Session-Token = { param = \"session_token\" }\n")
        .start();
    let mut client = Handshake::new(&gateway)
        .path("/ws/?token=t&session_token=s")
        .header("Cookie", "csrftoken=c; sessionid=\u{e9}")
        .header("User-Agent", "Browser")
        .header("X-Real-IP", "192.0.2.7")
        .header("Origin", "https://gateway.test")
        .connect();
    client.fence();
    client.leave();
    let requests = backend.wait_for(4);
    let targets: Vec<_> = requests
        .iter()
        .map(|seen| (&*seen.method, &*seen.target))
        .collect();
    let wanted = [
        ("GET", "/api/bootstrap/"),
        ("POST", "/api/user/notify_online/"),
        ("POST", "/api/user/notify_online/"),
        ("POST", "/api/user/notify_offline/"),
    ];
    assert_eq!(targets, wanted);
    let sorted = |n: usize| {
        let mut headers = requests[n].headers.clone();
        headers.retain(|(name, _)| name != "content-length");
        headers.sort();
        headers
    };
    assert_eq!(sorted(0).len(), 9, "{:?}", requests[0]);
    for (n, seen) in requests.iter().enumerate().skip(1) {
        assert_eq!(sorted(n), sorted(0));
        assert_eq!(seen.header("content-length"), Some("0"));
        assert!(seen.body.is_empty());
    }
    assert_eq!(requests[0].header("content-length"), None);
}

#[test]
fn every_kind_of_disconnect_is_reported() {
    let backend = backend(Reply::ok());
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_LIMITS__MESSAGE_BYTES", 1_024)
        .start();
    let mut moments = Vec::new();
    for way in ["close frame", "end", "reset", "violation", "too big"] {
        let mut client = Client::connect(&gateway);
        moments.push("online");
        backend.wait_for_moments(&moments);
        match way {
            "close frame" => client.send(&Frame::close(1000, "")),
            "end" => client.stream.finish(),
            "reset" => client.stream.reset_on_drop(),
            "violation" => client.send(&Frame {
                masked: false,
                ..Frame::new(frame::TEXT, "")
            }),
            _ => client.send(&Frame::new(frame::TEXT, [b'x'; 1_025])),
        }
        // The hooks of the others are sent while their socket is still open at this end.
        let open = (way != "reset").then_some(client);
        moments.push("offline");
        backend.wait_for_moments(&moments);
        drop(open);
    }
}

#[test]
fn refused_clients_and_other_messages_cause_none() {
    let backend = backend(Reply::ok());
    let gateway = Gateway::with(&backend).hooks().start();
    let mut refused = Handshake::new(&gateway).header("Cookie", "no").open();
    assert_eq!(refused.expect_json(), json!({"is_authorized": false}));
    refused.send_text("ping");
    refused.expect_close(1000);
    let mut client = Client::connect(&gateway);
    client.send(&Frame::new(frame::PING, ""));
    client.frame();
    client.send(&Frame::new(frame::BINARY, "ping"));
    client.expect_json();
    client.subscribe(&json!({"room": 1}), 1);
    client.fence();
    client.leave();
    backend.wait_for_moments(&["online", "online", "offline"]);
}

#[test]
fn the_response_to_a_hook_does_not_affect_the_connection() {
    for answer in [
        Reply::forbidden(),
        Reply::http(
            "302 Found",
            &[("Location", "https://elsewhere.example/")],
            "",
        ),
        Reply::http("500 Internal Server Error", &[], "x".repeat(100_000)),
        Reply::Reset,
        Reply::Close(b"rubbish\r\n\r\n".into()),
    ] {
        let backend = backend(answer.clone());
        let gateway = Gateway::with(&backend).hooks().start();
        let mut client = Client::connect(&gateway);
        client.fence();
        client.subscribe(&json!({"room": 1}), 1);
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
        assert_eq!(client.expect_publish(), (json!(1), json!(1)));
        client.leave();
        let moments: &[_] = match answer {
            // The bootstrap call's connection is used again; that it ends may be a close for being
            // idle that was on its way, so that the first hook is sent once more.
            Reply::Reset => &["online", "online", "online", "offline"],
            Reply::Send(_) | Reply::Close(_) | Reply::Hang(_) | Reply::Behind(..) => {
                &["online", "online", "offline"]
            }
        };
        backend.wait_for_moments(moments);
        let errors = match answer {
            Reply::Reset => ("closed", 3),
            Reply::Close(_) => ("protocol", 3),
            Reply::Send(_) | Reply::Hang(_) | Reply::Behind(..) => ("status", 0),
        };
        let (reason, count) = errors;
        let name = format!("high_templar_hook_errors_total{{reason=\"{reason}\"}}");
        gateway.wait_for_metric(&name, count);
    }
}

#[test]
fn a_backend_that_hangs_in_hooks_delays_nothing() {
    let backend = backend(Reply::Hang(Vec::new()));
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_HOOKS__MAX_IN_FLIGHT", 2)
        .set("HT_BACKEND__TIMEOUT", NEVER)
        .start();
    let mut clients: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Client::connect(&gateway);
            client.subscribe(&json!({"room": 1}), 1);
            client
        })
        .collect();
    for n in 0..20 {
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": n}));
        for client in &mut clients {
            assert_eq!(client.expect_publish(), (json!(n), json!(1)));
            client.fence();
        }
    }
    // Those that hang are as many as may be under way.
    backend.wait_for_moments(&["online", "online"]);
}

#[test]
fn offline_follows_online_however_slow_the_backend_is() {
    let gate = Gate::default();
    let backend = backend(Reply::Behind(gate.clone(), Reply::ok().into()));
    let gateway = Gateway::with(&backend).hooks().start();
    let cookie = |n: usize| format!("n={n}");
    for n in 0..20 {
        let mut client = Handshake::new(&gateway)
            .header("Cookie", cookie(n))
            .connect();
        client.fence();
        client.leave();
    }
    gate.open();
    let requests = backend.wait_for(80);
    for n in 0..20 {
        let own = requests
            .iter()
            .filter(|seen| !seen.is_bootstrap() && seen.header("cookie") == Some(&*cookie(n)));
        let moments: Vec<_> = own.map(crate::support::Seen::moment).collect();
        assert_eq!(moments, ["online", "online", "offline"], "{n}");
    }
}

#[test]
fn pings_within_the_interval_are_not_reported() {
    let backend = backend(Reply::ok());
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_HOOKS__PING_MIN_INTERVAL", "1h")
        .start();
    for _ in 0..2 {
        let mut client = Client::connect(&gateway);
        for _ in 0..10 {
            client.fence();
        }
        client.leave();
    }
    let moments = backend.wait("hooks of two clients", |history| {
        let hooks = history.requests.iter().filter(|seen| !seen.is_bootstrap());
        let moments: Vec<_> = hooks.map(|seen| seen.moment().to_owned()).collect();
        (moments.iter().filter(|moment| *moment == "offline").count() == 2).then_some(moments)
    });
    // Each: at connect, at the first ping, at the end.
    assert_eq!(moments.len(), 6, "{moments:?}");
}

#[test]
fn a_full_queue_drops_counts_and_logs() {
    let gate = Gate::default();
    let backend = backend(Reply::Behind(gate.clone(), Reply::ok().into()));
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_HOOKS__QUEUE", 2)
        .set("HT_HOOKS__MAX_IN_FLIGHT", 1)
        .start();
    let clients: Vec<_> = (0..20).map(|_| Client::connect(&gateway)).collect();
    // One is in flight, and as many as the queue holds wait.
    gateway.wait_for_metric("high_templar_hooks_dropped_total", 17);
    gateway.wait_for_line("the hook queue is full (hooks.queue)");
    gate.open();
    gateway.wait_for_metric("high_templar_hooks_total", 3);
    for client in clients {
        client.leave();
    }
}

#[test]
fn without_hooks_nothing_is_called() {
    let backend = backend(Reply::ok());
    let gateway = Gateway::start(&backend);
    for _ in 0..3 {
        let mut client = Client::connect(&gateway);
        client.fence();
        client.leave();
    }
    drop(gateway);
    assert_eq!(backend.moments(), Vec::<String>::new());
}

/// One address whose connections open and close, and whose hooks hang.
#[test]
fn hooks_of_one_address_do_not_hold_those_of_others() {
    let gate = Gate::default();
    let shut = gate.clone();
    let backend = StubBackend::new(move |seen| {
        if seen.is_bootstrap() {
            Reply::rooms(&json!([]))
        } else if seen.header("x-real-ip") == Some("192.0.2.1") {
            Reply::Behind(shut.clone(), Reply::ok().into())
        } else {
            Reply::ok()
        }
    });
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_HOOKS__MAX_IN_FLIGHT", 4)
        .set("HT_HOOKS__QUEUE", 20)
        .set("HT_HOOKS__TIMEOUT", NEVER)
        .start();
    let visit = |address: &str| {
        let client = Handshake::new(&gateway)
            .header("X-Real-IP", address)
            .connect();
        client.leave();
    };
    for _ in 0..40 {
        visit("192.0.2.1");
    }
    let dropped = "high_templar_hooks_dropped_total";
    eventually("its hooks are dropped", || {
        (gateway.metric(dropped) > 0).then_some(())
    });
    gateway.wait_for_line("the hook queue is full");
    visit("192.0.2.2");
    let others = |seen: &&crate::support::Seen| {
        !seen.is_bootstrap() && seen.header("x-real-ip") == Some("192.0.2.2")
    };
    backend.wait("the hooks of the other", |history| {
        let moments: Vec<_> = history.requests.iter().filter(others).collect();
        let moments: Vec<_> = moments.iter().map(|seen| seen.moment()).collect();
        (moments == ["online", "offline"]).then_some(())
    });
    gate.open();
}
