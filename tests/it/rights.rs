//! Keys of the internal listener that are restricted to some of its endpoints.

use serde_json::{Value, json};

use crate::support::{Gateway, StubBackend, http};
use crate::triggers::listener;

const BODY: &[u8] = br#"{"rooms": [{"room": 1}], "data": 1}"#;

#[test]
fn a_restricted_key_may_do_what_it_says() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file(
            "[[internal.keys]]\nkey = \"geheim-news\"\nmay = [\"publish\"]\n\
             [[internal.keys]]\nkey = \"geheim-scraper\"\nmay = [\"read\"]\n\
             [[internal.keys]]\nkey = \"geheim-rights\"\nmay = [\"command\"]\n\
             [[internal.keys]]\nkey = \"geheim-admin\"\nmay = [\"admin\"]\n",
        )
        .set("HT_INTERNAL__API_KEY", "geheim-all")
        .set("HT_LOG__LEVEL", "trace")
        .start();
    let mut client = listener(&gateway);
    let ask = |key: &str, method: &str, path: &str, body: &str| {
        let headers = [("Authorization", &*format!("Bearer geheim-{key}"))];
        http::request(gateway.internal(), method, path, &headers, body.as_bytes())
    };
    let trigger = r#"{"rooms": [{"room": 1}], "data": 1}"#;
    let command = r#"{"command": "disconnect", "user": "nobody", "rooms": [], "data": null}"#;
    let mixed = format!("[{trigger}, {trigger}, {command}]");
    for (key, statuses) in [
        ("all", [200, 200, 200, 200]),
        ("news", [200, 403, 403, 403]),
        ("scraper", [403, 403, 403, 200]),
        ("rights", [403, 200, 403, 403]),
        ("admin", [403, 403, 403, 403]),
        ("other", [401, 401, 401, 401]),
    ] {
        let sent = [trigger, command, &*mixed].map(|body| ask(key, "POST", "/trigger/", body));
        let [one, other, both] = sent.map(|answer| answer.status);
        let read = ask(key, "GET", "/metrics", "").status;
        assert_eq!([one, other, both, read], statuses, "{key}");
    }
    // The entry is named, and nothing of the request was published.
    let answer = ask("news", "POST", "/trigger/", &mixed);
    let body: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(body["trigger"], 2);
    let sentence = body["error"].as_str().unwrap();
    assert!(
        sentence.starts_with("trigger 2: this key lacks the right command"),
        "{sentence}"
    );
    let answer = ask("scraper", "POST", "/trigger/", trigger);
    assert!(
        answer.text().contains("this key lacks the right publish"),
        "{answer:?}"
    );
    // A dry run only reads.
    let dry_run = command.replace("\"nobody\"", "\"nobody\", \"dry_run\": true");
    for (key, status) in [
        ("all", 200),
        ("scraper", 200),
        ("rights", 403),
        ("news", 403),
    ] {
        assert_eq!(
            ask(key, "POST", "/trigger/", &dry_run).status,
            status,
            "{key}"
        );
    }
    let answer = ask("scraper", "POST", "/trigger/", command);
    assert!(
        answer.text().contains("this key lacks the right command"),
        "{answer:?}"
    );
    // One and two of the key that may do everything, one of the publisher's.
    for _ in 0..4 {
        assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    }
    client.fence();
    gateway.wait_for_line("refused an internal request: its key lacks a right");
    let metrics = ask("all", "GET", "/metrics", "");
    let used = r#"high_templar_api_key_uses_total{position="keys-2"} "#;
    let mut lines = metrics.text().lines();
    assert_eq!(lines.find_map(|line| line.strip_prefix(used)), Some("7"));
    assert!(!gateway.log().contains("geheim"), "{}", gateway.log());
}

#[test]
fn restricted_keys_alone_close_the_listener_to_others() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let post = |key: Option<&str>| {
        let header = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = header.iter().map(|key| ("Authorization", &**key)).collect();
        http::request(gateway.internal(), "POST", "/trigger/", &headers, BODY)
    };
    assert_eq!(post(None).status, 200);
    let keys = "[internal]\nkeys = [{ key = \"of-the-test\", may = [\"publish\"] }]\n";
    let log = gateway.reload(keys);
    assert!(log.contains("in effect now: internal.keys"), "{log}");
    let answer = post(None);
    assert_eq!(answer.status, 401);
    assert!(
        answer.text().contains("Send a key of internal.keys"),
        "{answer:?}"
    );
    assert_eq!(post(Some("of-the-test")).status, 200);
    gateway.reload(&keys.replace("publish", "read"));
    assert_eq!(post(Some("of-the-test")).status, 403);
    assert!(!log.contains("of-the-test"), "{log}");
}
