//! Websockets that a page of another site opens.

use crate::support::{Gateway, Handshake, StubBackend};

fn from_page(gateway: &Gateway, origin: &str) -> Handshake {
    Handshake::new(gateway).header("Origin", origin)
}

#[test]
fn another_site_is_refused_before_the_backend_is_asked() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    for origin in [
        "https://evil.example",
        "https://gateway.test.evil.example",
        "null",
        "gateway.test",
    ] {
        let answer = from_page(&gateway, origin)
            .header("Cookie", "sessionid=s")
            .refused();
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.text().contains("Origin"), "{answer:?}");
    }
    let doubled =
        from_page(&gateway, "https://gateway.test").header("Origin", "https://evil.example");
    assert_eq!(doubled.refused().status, 403);
    assert!(backend.requests().is_empty());
    let name = "high_templar_handshake_errors_total{reason=\"origin\"}";
    gateway.wait_for_metric(name, 5);

    let answer = from_page(&gateway, "https://evil.example:8443").refused();
    let remedy = "add \"https://evil.example:8443\" to the origins that the gateway allows";
    assert!(answer.text().contains(remedy), "{answer:?}");
    gateway.wait_for_line("write allow = [\"https://evil.example\"] under [origins]");
    // However many there are, the log reports it at intervals.
    assert_eq!(gateway.log().matches("refused a websocket with").count(), 1);
}

#[test]
fn the_setting_that_the_log_suggests_admits_the_page() {
    const PAGE: &str = "https://new.example";
    let backend = StubBackend::open();
    let refuse = |gateway: &Gateway| {
        let answer = from_page(gateway, PAGE).refused();
        assert!(!answer.text().contains("old.example"), "{answer:?}");
        gateway.wait_for_line("refused a websocket with the Origin https://new.example. ")
    };
    // Beside other tables and a table of its own, if the list is not set.
    let file = "[limits]\nsubscriptions = 9\n[origins]\nrequire = false\n";
    let gateway = Gateway::with(&backend).file(file).start();
    let said = refuse(&gateway);
    let (line, rest) = said
        .split_once("write ")
        .expect(&said)
        .1
        .split_once(" under [origins]")
        .expect(&said);
    gateway.reload(&format!("{file}{line}\n"));
    from_page(&gateway, PAGE).connect().fence();
    let variable = rest.split_once(" or set ").expect(rest).1;
    assert!(
        variable.starts_with("HT_ORIGINS=https://new.example; "),
        "{rest}"
    );

    // In either form of the list.
    for (before, after) in [
        ("[log]\nlevel = 'info'\n[origins]\nallow = [", "]\n"),
        ("threads = 2\n\norigins = [", "]\n[log]\n"),
    ] {
        let file = |list: &str| format!("{before}{list}{after}");
        let list = "'https://old.example'";
        let gateway = Gateway::with(&backend).file(&file(list)).start();
        let said = refuse(&gateway);
        let line = before.lines().count();
        let place = format!("add \"{PAGE}\" to the list in ");
        let rest = said.split_once(&place).expect(&said).1;
        assert!(
            rest.contains(&format!("high-templar.toml:{line}; ")),
            "{rest}"
        );
        gateway.reload(&file(&format!("{list}, \"{PAGE}\"")));
        from_page(&gateway, PAGE).connect().fence();
    }

    // In the environment, where the list is one value.
    let with = |name: &str, list: &str| Gateway::with(&backend).set(name, list);
    for name in ["HT_ORIGINS", "HT_ORIGINS__ALLOW"] {
        let gateway = with(name, "https://old.example").start();
        let said = refuse(&gateway);
        let set = said.split_once("set HT_ORIGINS=").expect(&said).1;
        let list = set.split([' ', ';']).next().expect(set);
        let gateway = with(name, "https://old.example")
            .set("HT_ORIGINS", list)
            .start();
        for page in [PAGE, "https://old.example"] {
            from_page(&gateway, page).connect().fence();
        }
    }
}

#[test]
fn pages_of_the_same_host_and_programs_are_admitted() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    for handshake in [
        Handshake::new(&gateway),
        from_page(&gateway, "https://gateway.test"),
        from_page(&gateway, "http://GATEWAY.test:8000"),
        from_page(&gateway, "http://[::1]:3000")
            .without("Host")
            .header("Host", "[::1]:5000"),
        // From the loopback address, so from a proxy that is trusted.
        from_page(&gateway, "https://app.example").header("X-Forwarded-Host", "app.example"),
    ] {
        handshake.connect().fence();
    }
}

#[test]
fn the_configuration_admits_other_pages() {
    let backend = StubBackend::open();
    let listed = Gateway::with(&backend)
        .file("origins = [\"https://*.example.com\", \"app.example:8443\"]\n")
        .start();
    for (origin, is_served) in [
        ("https://a.b.example.com", true),
        ("https://gateway.test", true),
        ("http://app.example:8443", true),
        ("http://a.b.example.com", false),
        ("https://example.com", false),
        ("https://app.example", false),
        ("null", false),
    ] {
        let (answer, _) = from_page(&listed, origin).send().answer();
        let status = if is_served { 101 } else { 403 };
        assert_eq!(answer.status, status, "{origin}");
    }
    let all = Gateway::with(&backend).set("HT_ORIGINS", "*").start();
    for origin in ["https://evil.example", "null"] {
        from_page(&all, origin).connect();
    }
    let browsers = Gateway::with(&backend)
        .file("[origins]\nallow = [\"https://app.example\"]\nrequire = true\n")
        .start();
    from_page(&browsers, "https://app.example").connect();
    let answer = Handshake::new(&browsers).refused();
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("origins.require"), "{answer:?}");
}

#[test]
fn the_site_of_a_python_deployment_needs_no_new_setting() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("APP_URL", "https://shop.example")
        .set("HT_RABBITMQ__URL", "")
        .start();
    from_page(&gateway, "https://shop.example").connect();
    let other = from_page(&gateway, "https://other.example").refused();
    assert_eq!(other.status, 403);
}

#[test]
fn apps_and_pages_without_an_origin_get_the_value_that_admits_them() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    for origin in [
        "null",
        "file://",
        "app://",
        "app://bundle",
        "tauri://localhost",
        "http://tauri.localhost",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "vscode-webview://1qvjd2b6k7s4i2o1pr0mk9sbbhqkrk2q2o0mlmbhh3q2g8hbd1i0",
    ] {
        let refused = from_page(&gateway, origin).refused();
        assert_eq!(refused.status, 403, "{origin}");
        let remedy = format!("add \"{origin}\" to the origins that the gateway allows");
        assert!(refused.text().contains(&remedy), "{refused:?}");
    }
    let origins = "null, file://, app://*, tauri://localhost, chrome-extension://abcdefghijklmnopabcdefghijklmnop";
    let gateway = Gateway::with(&backend).set("HT_ORIGINS", origins).start();
    for origin in [
        "null",
        "file://",
        "app://",
        "app://bundle",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    ] {
        from_page(&gateway, origin).connect().fence();
    }
    let other = from_page(
        &gateway,
        "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba",
    );
    assert_eq!(other.refused().status, 403);
}
