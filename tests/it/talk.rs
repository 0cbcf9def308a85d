//! `publish` and `listen` against a running gateway.

use std::net::TcpListener;
use std::thread;

use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

use crate::binary::{ANY_PORTS, Running, answer, command, folder, run, stub_backend};

/// An API that grants one room to every client.
fn admitting() -> String {
    let body = r#"{"allowed_rooms":[{"target":"order","customer":"*"}]}"#;
    stub_backend(&answer("200 OK", "application/json", body))
}

#[test]
fn publish_reaches_listen() {
    let folder = folder();
    let backend = admitting();
    let variables = [
        &ANY_PORTS[..],
        &[
            ("HT_BACKEND__URL", &*backend),
            ("HT_INTERNAL__API_KEY", "geheim"),
        ],
    ]
    .concat();
    let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
    let public = serve.line_with("browsers connect to ");
    let (public, _) = public.split_once(' ').expect("an address");
    let internal = serve.line_with("triggers, metrics and health are on ");
    let (socket, trigger) = (format!("ws://{public}/ws/"), format!("http://{internal}"));

    let room = r#"{"target":"order","customer":"7"}"#;
    let args = ["listen", "--url", &socket, "--room", room];
    let mut listen = Running::start(command(folder.path(), &args, &[]));
    listen.line_with("connected; allowed rooms: 1");
    listen.line_with("listening to {");

    let publish = |data: &str, more: &[&str], key: &str| {
        let args = ["publish", "--url", &trigger, "--room", room, "--data", data];
        let args = [&args[..], more].concat();
        run(folder.path(), &args, &[("HT_INTERNAL__API_KEY", key)])
    };
    let found = publish(
        "{ \"id\": 1.0,\n \"b\": \"\\u00e9\" }",
        &["--id", "x"],
        "geheim",
    );
    assert_eq!(
        (found.code, &*found.stdout),
        (Some(0), "position 1\n"),
        "{found:?}"
    );
    let found = publish("2", &["--id", "x"], "geheim");
    assert!(
        found.stdout.starts_with("position 1, known already"),
        "{found:?}"
    );
    let found = publish("3", &[], "geheim");
    assert_eq!(&*found.stdout, "position 2\n", "{found:?}");
    // The same bytes on one line; the duplicate is not delivered.
    listen.line_with("{ \"id\": 1.0,  \"b\": \"\\u00e9\" }");
    assert_eq!(listen.line_with("3"), "");

    let found = publish("4", &[], "");
    assert_eq!(found.code, Some(1));
    assert!(
        found.stderr.contains("requires a key: give --api-key"),
        "{found:?}"
    );
    let found = publish("4", &[], "other");
    assert!(
        found.stderr.contains("does not accept this key"),
        "{found:?}"
    );
    let args = [
        "publish",
        "--url",
        &format!("http://{public}"),
        "--room",
        room,
        "--data",
        "4",
    ];
    let found = run(folder.path(), &args, &[]);
    assert!(
        found.stderr.contains("use the address of internal.listen"),
        "{found:?}"
    );

    let foreign = r#"{"target":"secret"}"#;
    let found = run(
        folder.path(),
        &["listen", "--url", &socket, "--room", foreign],
        &[],
    );
    assert_eq!(found.code, Some(1));
    assert!(
        found
            .stderr
            .contains("does not grant {\"target\":\"secret\"}"),
        "{found:?}"
    );
    let args = [
        "listen",
        "--url",
        &format!("ws://{public}/other/"),
        "--room",
        room,
    ];
    let found = run(folder.path(), &args, &[]);
    assert!(
        found.stderr.contains("websockets are served at /ws/"),
        "{found:?}"
    );

    serve.signal("TERM");
    let (status, log) = serve.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("geheim"), "{log}");
    let (status, seen) = listen.end();
    assert_eq!(status.code(), Some(1), "{seen}");
    assert!(
        seen.contains("the gateway closed the connection with code "),
        "{seen}"
    );
}

#[test]
fn listen_reports_a_refusal_and_what_to_check() {
    let folder = folder();
    let backend = stub_backend(&answer("403 No", "application/json", "{}"));
    let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", &*backend)]].concat();
    let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
    let public = serve.line_with("browsers connect to ");
    let (public, _) = public.split_once(' ').expect("an address");
    let args = [
        "listen",
        "--url",
        &format!("ws://{public}/ws/"),
        "--room",
        "{}",
    ];
    let args = [&args[..], &["--token", "geheim", "--cookie", "a=b"]].concat();
    let found = run(folder.path(), &args, &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found.stderr.contains("the API refused this client"),
        "{found:?}"
    );
    let why = "(the gateway closed the connection with code 4300: refused; sign in again first)";
    assert!(found.stderr.contains(why), "{found:?}");
    assert!(!found.stderr.contains("geheim"), "{found:?}");
}

/// Without our subprotocol, one close code has both meanings; so `listen` always offers it.
#[test]
fn listen_distinguishes_a_failing_api_from_a_refusal() {
    let folder = folder();
    for (status, why, code, is_refusal) in [
        (
            "500 No",
            "the API gave no usable answer",
            "code 1013: backend",
            false,
        ),
        (
            "429 No",
            "the API gave no usable answer",
            "code 1013: backend",
            false,
        ),
        (
            "401 No",
            "the API refused this client",
            "code 4300: refused",
            true,
        ),
        (
            "404 No",
            "the API refused this client",
            "code 4300: refused",
            true,
        ),
    ] {
        let backend = stub_backend(&answer(status, "application/json", "{}"));
        let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", &*backend)]].concat();
        let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
        let public = serve.line_with("browsers connect to ");
        let (public, _) = public.split_once(' ').expect("an address");
        let url = format!("ws://{public}/ws/");
        for more in [&[][..], &["--token", "geheim"]] {
            let args = [&["listen", "--url", &url, "--room", "{}"], more].concat();
            let found = run(folder.path(), &args, &[]);
            assert_eq!(found.code, Some(1), "{found:?}");
            assert!(found.stderr.contains(why), "{status}: {found:?}");
            assert!(found.stderr.contains(code), "{status}: {found:?}");
            let blames = found.stderr.contains("those of a user");
            assert_eq!(blames, is_refusal, "{status}: {found:?}");
        }
    }
}

/// A server that selects no subprotocol, as Python high-templar 3.1: its client fails the first
/// connection (RFC 6455 section 4.1).
#[test]
fn listen_connects_to_a_server_without_subprotocols() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/ws/", server.local_addr().expect("an address"));
    let offers = thread::spawn(move || {
        let mut offers = Vec::new();
        loop {
            let (stream, _) = server.accept().expect("a connection");
            let mut offer = None;
            #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
            let socket = accept_hdr(stream, |request: &Request, response: Response| {
                let headers = request.headers();
                offer = headers.get("sec-websocket-protocol").cloned();
                Ok(response)
            })
            .ok();
            let is_last = offer.is_none();
            offers.push(offer);
            let Some(mut socket) = socket else { continue };
            let first = r#"{"is_authorized": true, "allowed_rooms": [{"a": 1}]}"#;
            let sent = socket.send(Message::text(first));
            if is_last && sent.is_ok() {
                let subscribe = socket.read().expect("a subscribe");
                assert!(
                    subscribe
                        .to_text()
                        .is_ok_and(|text| text.contains("subscribe"))
                );
                for text in [
                    r#"{"code": "success"}"#,
                    r#"{"type": "publish", "data": 7, "requestId": 0}"#,
                ] {
                    socket.send(Message::text(text)).expect("sent");
                }
                while socket.read().is_ok() {}
                return offers;
            }
        }
    });
    let args = ["listen", "--url", &url, "--room", r#"{"a":1}"#];
    let mut listen = Running::start(command(folder().path(), &args, &[]));
    listen.line_with("connected; allowed rooms: 1");
    listen.line_with("listening to {");
    assert_eq!(listen.line_with("7"), "");
    listen.signal("INT");
    let (status, seen) = listen.end();
    assert_eq!(status.code(), Some(0), "{seen}");
    let offers = offers.join().expect("the server");
    let names: Vec<_> = offers.iter().flatten().collect();
    assert_eq!(names, ["high-templar.v1"], "one offer, then none");
    assert_eq!(offers.len(), 2);
}

#[test]
fn listen_does_not_blame_the_credentials_if_the_api_is_down() {
    let folder = folder();
    // A free port, so that nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let backend = format!("http://{}/api/", free.expect("an address"));
    let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", &*backend)]].concat();
    let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
    let public = serve.line_with("browsers connect to ");
    let (public, _) = public.split_once(' ').expect("an address");
    let url = format!("ws://{public}/ws/");
    for token in [&[][..], &["--token", "geheim"]] {
        let args = [&["listen", "--url", &url, "--room", "{}"], token].concat();
        let found = run(folder.path(), &args, &[]);
        assert_eq!(found.code, Some(1), "{found:?}");
        for part in [
            "the API gave no usable answer",
            "`high-templar check`",
            "code 1013: backend",
        ] {
            assert!(found.stderr.contains(part), "{found:?}");
        }
        assert!(!found.stderr.contains("those of a user"), "{found:?}");
    }
}

#[test]
fn disconnect_closes_listen_and_invalidate_counts_it() {
    let folder = folder();
    let backend = admitting();
    let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", &*backend)]].concat();
    let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
    let public = serve.line_with("browsers connect to ");
    let (public, _) = public.split_once(' ').expect("an address");
    let internal = serve.line_with("triggers, metrics and health are on ");
    let (socket, trigger) = (format!("ws://{public}/ws/"), format!("http://{internal}"));

    let room = r#"{"target":"order","customer":"7"}"#;
    let args = ["listen", "--url", &socket, "--room", room];
    let mut listen = Running::start(command(folder.path(), &args, &[]));
    listen.line_with("listening to {");

    let sent = |verb: &str, options: &[&str]| {
        let args = [&[verb, "--url", &trigger], options].concat();
        run(folder.path(), &args, &[])
    };
    let disconnect = |options: &[&str]| sent("disconnect", options);
    for (options, line) in [
        (
            &["--user", "7", "--within", "60s"][..],
            "invalidated 0 connections of this node\n",
        ),
        (
            &["--room", room, "--dry-run"],
            "would invalidate 1 connection of this node\n",
        ),
    ] {
        let found = sent("invalidate", options);
        assert_eq!((found.code, &*found.stdout), (Some(0), line), "{found:?}");
    }
    let found = sent("invalidate", &["--user", "7", "--within", "2h"]);
    assert_eq!(found.code, Some(1));
    assert!(found.stderr.contains("within"), "{found:?}");
    for (options, line) in [
        (
            &["--user", "7"][..],
            "disconnected 0 connections of this node\n",
        ),
        (
            &["--room", room, "--dry-run"],
            "would disconnect 1 connection of this node\n",
        ),
        (
            &["--room", room, "--come-back", "later", "--reason", "moved"],
            "disconnected 1 connection of this node\n",
        ),
        (
            &["--everyone", "--id", "x"],
            "disconnected 0 connections of this node\n",
        ),
        (
            &["--everyone", "--id", "x"],
            "known already: a command with this id was carried out before\n",
        ),
    ] {
        let found = disconnect(options);
        assert_eq!((found.code, &*found.stdout), (Some(0), line), "{found:?}");
    }
    let found = disconnect(&["--connection", "x"]);
    assert_eq!(found.code, Some(1));
    assert!(
        found
            .stderr
            .contains("connection: must be the id of a connection"),
        "{found:?}"
    );
    let (status, seen) = listen.end();
    assert_eq!(status.code(), Some(1), "{seen}");
    assert!(
        seen.contains("closed the connection with code 4103: moved"),
        "{seen}"
    );
}
