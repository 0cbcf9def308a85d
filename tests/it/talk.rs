//! `publish` and `listen` against a running gateway.

use crate::binary::{ANY_PORTS, Running, answer, command, folder, run, stub_backend};

/// Answers as the usual API: one grant, for whoever asks.
fn admitting() -> String {
    let body = r#"{"allowed_rooms":[{"target":"order","customer":"*"}]}"#;
    stub_backend(&answer("200 OK", "application/json", body))
}

#[test]
fn what_is_published_is_listened_to() {
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
    let (socket, door) = (format!("ws://{public}/ws/"), format!("http://{internal}"));

    let room = r#"{"target":"order","customer":"7"}"#;
    let args = ["listen", "--url", &socket, "--room", room];
    let mut listen = Running::start(command(folder.path(), &args, &[]));
    listen.line_with("connected; allowed rooms: 1");
    listen.line_with("listening to {");

    let publish = |data: &str, more: &[&str], key: &str| {
        let args = ["publish", "--url", &door, "--room", room, "--data", data];
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
    // The very bytes, on one line; the repetition is not delivered.
    listen.line_with("{ \"id\": 1.0,  \"b\": \"\\u00e9\" }");
    assert_eq!(listen.line_with("3"), "");

    let found = publish("4", &[], "");
    assert_eq!(found.code, Some(1));
    assert!(
        found.stderr.contains("asks for a key: give --api-key"),
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
fn a_refused_listener_is_told_where_to_look() {
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

#[test]
fn a_listener_is_not_asked_about_its_credentials_when_the_api_is_down() {
    let folder = folder();
    // A port that is free, so that nobody listens there.
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
