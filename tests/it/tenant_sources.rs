//! Tenants come from files, from requests of an operator or from a registry, and change while the
//! gateway runs.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Answer, Builder, Gateway, Handshake, Reply, StubBackend, eventually, http};

/// A gateway whose tenants are in a folder, which it looks at often, and that folder.
fn of_folder(main: &StubBackend) -> (Builder, PathBuf) {
    let builder = Gateway::with(main)
        .file("[tenants]\nsource = \"file\"\nfile = \"tenants\"\ninterval = \"100ms\"\n");
    let folder = builder.folder().join("tenants");
    fs::create_dir(&folder).expect("a folder");
    (builder, folder)
}

fn tenant(backend: &StubBackend) -> String {
    format!("backend = {{ url = \"{}\" }}\n", backend.url)
}

/// The status of a handshake at the path of a tenant.
fn status(gateway: &Gateway, name: &str) -> u16 {
    let (answer, _) = at(gateway, name).send().answer();
    answer.status
}

fn at(gateway: &Gateway, name: &str) -> Handshake {
    Handshake::new(gateway).path(&format!("/t/{name}/ws/"))
}

#[track_caller]
fn wait_for(gateway: &Gateway, name: &str, expected: u16) {
    eventually(&format!("{expected} for {name}"), || {
        (status(gateway, name) == expected).then_some(())
    });
}

#[test]
fn files_of_tenants_come_change_and_go_without_a_restart() {
    let (main, acme, other) = (
        StubBackend::open(),
        StubBackend::open(),
        StubBackend::open(),
    );
    let (builder, folder) = of_folder(&main);
    let file = |name: &str| folder.join(format!("{name}.toml"));
    fs::write(file("acme"), tenant(&acme)).unwrap();
    let gateway = builder.start();
    at(&gateway, "acme").connect().leave();
    assert_eq!(acme.requests().len(), 1);
    assert_eq!(status(&gateway, "second"), 404);

    fs::write(file("second"), "hosts = ['a b']\n").unwrap();
    gateway.wait_for_line("tenants/second.toml:1: tenant second: hosts:");
    gateway.wait_for_line("tenants not changed: see the mistakes above");
    let ready = gateway.get("/ready").json();
    assert_eq!(ready["ready"], true);
    let notes = ready["notes"].to_string();
    assert!(notes.contains("there are mistakes in the files"), "{notes}");
    at(&gateway, "acme").connect().leave();

    fs::write(file("second"), tenant(&other)).unwrap();
    wait_for(&gateway, "second", 101);
    assert!(gateway.get("/ready").json().get("notes").is_none());

    fs::write(
        file("second"),
        format!("suspended = true\n{}", tenant(&other)),
    )
    .unwrap();
    gateway.wait_for_line("suspended=\"second\"");
    fs::remove_file(file("second")).unwrap();
    wait_for(&gateway, "second", 404);
    assert!(
        main.requests().is_empty(),
        "nobody was taken for a client of main"
    );
}

#[test]
fn a_node_starts_beside_a_mistake_and_says_so() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let start = |files: &[(&str, &str)], more: &str| {
        let (builder, folder) = of_folder(&main);
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        builder
            .file(more)
            .set("HT_INTERNAL__API_KEY", ADMIN)
            .start()
    };
    let good = tenant(&acme);
    let gateway = start(
        &[("acme.toml", &good), ("second.toml", "backend = 7\n")],
        "",
    );
    gateway.wait_for_line("tenants/second.toml:1: tenant second: backend: this is a section");
    gateway.wait_for_line("starting without the tenants that have mistakes");
    gateway.wait_for_line("tenants at the start tenants=1 suspended=0 main=true from=\"tenants\"");
    at(&gateway, "acme").connect().leave();
    assert_eq!(status(&gateway, "second"), 404);
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("mistakes in the files"), "{ready:?}");

    // None of them is good: another node may serve them.
    let gateway = start(&[("second.toml", "backend = 7\n")], "");
    gateway.wait_for_line("no tenant is served until the mistakes above are corrected");
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("no list of them has been read"),
        "{ready:?}"
    );
    let folder = gateway.folder().join("tenants");
    fs::write(folder.join("second.toml"), &good).unwrap();
    wait_for(&gateway, "second", 101);
    assert_eq!(gateway.get("/ready").status, 200);

    let mut gateway = start(&[("acme.toml", &good)], "default = \"nobody\"\n");
    gateway.wait_for_line("tenants.default is nobody, which is no tenant now");
    gateway.signal("TERM");
    gateway.wait_for_end();
}

#[test]
fn a_node_starts_beside_a_mistake_with_the_copy_of_the_last_good_list() {
    let (main, acme, other) = (
        StubBackend::open(),
        StubBackend::open(),
        StubBackend::open(),
    );
    let shared = tempfile::tempdir().expect("a folder");
    let copy = shared.path().join("copy.json");
    let start = |second: &str| {
        let (builder, folder) = of_folder(&main);
        fs::write(folder.join("acme.toml"), tenant(&acme)).expect("a file");
        fs::write(folder.join("second.toml"), second).expect("a file");
        let builder = builder.file(&format!("copy = \"{}\"\n", copy.display()));
        builder.set("HT_INTERNAL__API_KEY", ADMIN).start()
    };
    let secret = "backend.headers = { X-Key = { fixed = { env = \"HT_INTERNAL__API_KEY\" } } }\n";
    let good = format!("backend.url = \"{}\"\n{secret}", other.url);
    let mut first = start(&good);
    let text = eventually("a copy", || fs::read_to_string(&copy).ok());
    assert!(text.contains("second") && !text.contains(ADMIN), "{text}");
    first.signal("KILL");
    first.wait_for_end();

    let second = start("backend = 7\n");
    second.wait_for_line("starting with the last good list of tenants (tenants.copy)");
    for name in ["acme", "second"] {
        at(&second, name).connect().leave();
    }
    let seen = other.requests();
    assert_eq!(seen[0].header("x-key"), Some(ADMIN));
    let ready = second.get("/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("mistakes in the files"), "{ready:?}");
    fs::write(second.folder().join("tenants/second.toml"), &good).expect("a file");
    eventually("the files are in force again", || {
        second
            .get("/ready")
            .json()
            .get("notes")
            .is_none()
            .then_some(())
    });
    assert!(!second.log().contains("tenants changed"), "nothing differs");
}

#[test]
fn a_node_without_a_list_of_tenants_is_not_ready() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let body = json!({ "tenants": [{ "name": "acme", "backend": { "url": acme.url } }] });
    let answers = Arc::new(Mutex::new(("500 No", body.to_string())));
    let registry = StubBackend::new({
        let answers = Arc::clone(&answers);
        move |_| {
            let (status, body) = answers.lock().unwrap().clone();
            Reply::json(status, body)
        }
    });
    let gateway = Gateway::with(&main)
        .set("HT_INTERNAL__API_KEY", ADMIN)
        .file(&format!(
            "[tenants]\nsource = \"http\"\nurl = \"{}\"\ninterval = \"100ms\"\n",
            registry.url
        ))
        .start();
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("no list of them has been read"),
        "{ready:?}"
    );
    let age = "high_templar_tenants_age_seconds ";
    assert!(metrics(&gateway).contains(age));
    eventually("the list grows old", || {
        let text = metrics(&gateway);
        let line = text.lines().find_map(|line| line.strip_prefix(age));
        (line != Some("0")).then_some(())
    });
    *answers.lock().unwrap() = ("200 OK", body.to_string());
    wait_for(&gateway, "acme", 101);
    assert_eq!(gateway.get("/ready").status, 200);
    assert!(metrics(&gateway).contains("high_templar_tenants_age_seconds 0\n"));
    assert!(metrics(&gateway).contains("high_templar_tenants 2\n"));
    *answers.lock().unwrap() = (
        "200 OK",
        json!({ "complete": true, "tenants": [] }).to_string(),
    );
    gateway.wait_for_line("says that there are no tenants");
    wait_for(&gateway, "acme", 404);
}

fn metrics(gateway: &Gateway) -> String {
    let answer = request(gateway, ADMIN, "GET", "/metrics", &Value::Null);
    answer.text().to_owned()
}

#[test]
fn a_reload_takes_up_the_tables_of_the_configuration_file() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let table = |name: &str| {
        format!(
            "[[tenant]]\nname = \"{name}\"\nbackend = {{ url = \"{}\" }}\n",
            acme.url
        )
    };
    let source = "[tenants]\nsource = \"file\"\ndefault = \"main\"\n";
    let gateway = Gateway::with(&main)
        .file(&format!("{source}{}", table("acme")))
        .start();
    at(&gateway, "acme").connect().leave();
    Handshake::new(&gateway).connect().leave();
    assert_eq!((main.requests().len(), acme.requests().len()), (1, 1));
    gateway.reload(&format!("{source}{}{}", table("acme"), table("two")));
    wait_for(&gateway, "two", 101);
    let log = gateway.reload(&format!("{source}{}{}", table("acme"), table("acme")));
    assert!(
        log.contains("settings reloaded, but not the tenants"),
        "{log}"
    );
    assert_eq!(status(&gateway, "two"), 101, "a mistake changes nothing");
    let log = gateway.reload(&format!("{source}{}", table("two")));
    assert!(log.contains("in effect now: the tenants"), "{log}");
    wait_for(&gateway, "acme", 404);
}

const ADMIN: &str = "key-of-the-operator";

fn request(gateway: &Gateway, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {key}");
    let headers = [("Authorization", &*authorization)];
    let body = body.to_string();
    http::request(gateway.internal(), method, path, &headers, body.as_bytes())
}

#[test]
fn an_operator_puts_and_deletes_tenants_and_gets_no_secret() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let (builder, folder) = of_folder(&main);
    let keys = format!(
        r#"[{{ key = "{ADMIN}", may = ["admin"] }}, {{ key = "reader", may = ["publish", "command", "read"] }}]"#
    );
    let gateway = builder
        .set("HT_INTERNAL__KEYS", keys)
        .set("HT_TENANT_ACME__TOKEN", "geheim")
        .set("HT_TENANTS__INTERVAL", "1h")
        .start();
    let ask = |method: &str, path: &str, body: &Value| request(&gateway, ADMIN, method, path, body);
    let written = json!({
        "name": "acme",
        "hosts": ["live.acme.example"],
        "backend": {
            "url": acme.url,
            "headers": { "Authorization": { "fixed": { "env": "HT_TENANT_ACME__TOKEN" } } },
        },
    });
    let answer = ask("PUT", "/tenants/acme", &written);
    assert_eq!(answer.status, 201, "{answer:?}");
    // It is in force with the answer.
    at(&gateway, "acme").connect().leave();
    assert_eq!(acme.requests()[0].header("authorization"), Some("geheim"));
    assert!(folder.join("acme.toml").exists());

    let shown = ask("GET", "/tenants/acme", &Value::Null);
    assert_eq!((shown.status, shown.json()), (200, written.clone()));
    let list = ask("GET", "/tenants/", &Value::Null).json();
    assert_eq!(list["tenants"][0]["name"], "acme");
    assert!(!gateway.log().contains("geheim"));

    let put = |body: Value| ask("PUT", "/tenants/second", &body);
    for (body, part) in [
        (json!([]), "no object"),
        (json!({ "name": "acme" }), "not that of the path"),
        (json!({}), "backend.url: this setting is missing"),
        (
            json!({ "backend": { "url": "http://a/" }, "hosts": ["live.acme.example"] }),
            "both have the host",
        ),
        (
            json!({ "backend": { "url": "http://a/", "socket": "/run/docker.sock" } }),
            "may name a file or a socket",
        ),
        (
            json!({ "backend": { "url": "http://a/", "headers": { "X-A": { "fixed": { "file": "/etc/passwd" } } } } }),
            "tenants.secrets",
        ),
        (
            json!({ "backend": { "url": "http://a/", "headers": { "X-A": { "fixed": { "env": "HT_INTERNAL__KEYS" } } } } }),
            "begin with HT_TENANT_SECOND__",
        ),
    ] {
        let answer = put(body.clone());
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains(part), "{body}: {}", answer.text());
        assert!(!folder.join("second.toml").exists());
    }
    for path in ["/tenants/..%2f..%2fetc", "/tenants/A", "/tenants/main%00"] {
        assert_eq!(ask("PUT", path, &written).status, 404, "{path}");
    }
    assert_eq!(put(json!({ "backend": { "url": acme.url } })).status, 201);
    assert_eq!(
        put(json!({ "backend": { "url": acme.url }, "suspended": true })).status,
        200
    );

    for (method, path) in [
        ("GET", "/tenants/"),
        ("GET", "/tenants/acme"),
        ("DELETE", "/tenants/acme"),
    ] {
        assert_eq!(
            request(&gateway, "reader", method, path, &Value::Null).status,
            403
        );
        assert_eq!(
            request(&gateway, "unknown", method, path, &Value::Null).status,
            401
        );
    }
    assert_eq!(ask("POST", "/tenants/acme", &Value::Null).status, 405);
    assert_eq!(ask("DELETE", "/tenants/", &Value::Null).status, 405);
    assert_eq!(ask("DELETE", "/tenants/acme", &Value::Null).status, 200);
    assert_eq!(status(&gateway, "acme"), 404);
    assert_eq!(ask("DELETE", "/tenants/acme", &Value::Null).status, 404);
    assert_eq!(ask("GET", "/tenants/acme", &Value::Null).status, 404);
}

#[test]
fn no_change_is_accepted_that_is_not_in_force_because_of_another_file() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let (builder, folder) = of_folder(&main);
    fs::write(folder.join("acme.toml"), tenant(&acme)).unwrap();
    let gateway = builder.set("HT_INTERNAL__API_KEY", ADMIN).start();
    at(&gateway, "acme").connect().leave();
    let body = json!({ "backend": { "url": acme.url } });
    let ask = |method: &str, name: &str| {
        request(&gateway, ADMIN, method, &format!("/tenants/{name}"), &body)
    };
    for broken in ["backend = \n", "hosts = ['a b']\n"] {
        let file = folder.join("broken.toml");
        fs::write(&file, broken).unwrap();
        for (method, name) in [("PUT", "new"), ("PUT", "acme"), ("DELETE", "acme")] {
            let answer = ask(method, name);
            assert_eq!(answer.status, 409, "{method} {name}: {answer:?}");
            let mistakes = answer.json()["mistakes"].to_string();
            assert!(mistakes.contains("broken.toml"), "{mistakes}");
        }
        assert!(!folder.join("new.toml").exists() && folder.join("acme.toml").exists());
        at(&gateway, "acme").connect().leave();
        // What is wrong itself can be replaced, and removed.
        assert_eq!(ask("PUT", "broken").status, 200);
        assert_eq!(status(&gateway, "broken"), 101);
        fs::write(&file, broken).unwrap();
        assert_eq!(ask("DELETE", "broken").status, 200);
        assert_eq!(status(&gateway, "broken"), 404);
    }
    assert_eq!(ask("PUT", "new").status, 201);
    assert_eq!(ask("DELETE", "acme").status, 200);
    assert_eq!(
        (status(&gateway, "new"), status(&gateway, "acme")),
        (101, 404)
    );
}

#[test]
fn without_a_key_tenants_are_not_changed_and_without_tenants_there_is_no_list() {
    let main = StubBackend::open();
    let (builder, folder) = of_folder(&main);
    let gateway = builder.start();
    let put = |gateway: &Gateway| {
        let body = json!({ "backend": { "url": "http://a/" } }).to_string();
        http::request(
            gateway.internal(),
            "PUT",
            "/tenants/a",
            &[],
            body.as_bytes(),
        )
    };
    assert_eq!(put(&gateway).status, 401);
    assert!(!folder.join("a.toml").exists());
    assert_eq!(gateway.get("/tenants/").status, 401);
    let plain = Gateway::start(&main);
    assert_eq!(put(&plain).status, 404);
    assert!(plain.get("/tenants/").text().contains("set tenants.source"));
}

#[test]
fn a_registry_is_followed_and_a_node_starts_without_it() {
    let (main, acme) = (StubBackend::open(), StubBackend::open());
    let one = |name: &str| json!({ "name": name, "backend": { "url": acme.url } });
    let list = Arc::new(Mutex::new(
        json!({ "version": 1, "complete": true, "tenants": [one("acme")] }).to_string(),
    ));
    let answers = Arc::clone(&list);
    let registry =
        StubBackend::new(move |_| Reply::json("200 OK", answers.lock().unwrap().clone()));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.json");
    let node = |url: &str| {
        let builder = Gateway::with(&main).set("HT_INTERNAL__API_KEY", ADMIN);
        builder.file(&format!(
            "[tenants]\nsource = \"http\"\nurl = \"{url}\"\ninterval = \"100ms\"\ntimeout = \"1s\"\n\
             copy = \"{}\"\nregistry_key = \"registry-key\"\n",
            copy.display()
        ))
    };
    let gateway = node(&registry.url).start();
    at(&gateway, "acme").connect().leave();
    let answer = |body: Value| *list.lock().unwrap() = body.to_string();
    answer(json!({ "version": 2, "tenants": [one("two")] }));
    wait_for(&gateway, "two", 101);
    answer(json!({ "version": 3, "tenants": [{ "name": "two", "backend": {} }] }));
    gateway.wait_for_line("tenant two: backend.url: this setting is missing");
    let notes = gateway.get("/ready").json()["notes"].to_string();
    assert!(
        notes.contains("tenants: no change has been taken up"),
        "{notes}"
    );
    assert!(!notes.contains("tenant two"), "not for everybody: {notes}");
    let ready = request(&gateway, ADMIN, "GET", "/ready", &Value::Null).json();
    let notes = ready["notes"].to_string();
    assert!(notes.contains("tenant two: backend.url"), "{notes}");
    assert_eq!(status(&gateway, "two"), 101);
    let ask = |method: &str| request(&gateway, ADMIN, method, "/tenants/two", &one("two"));
    assert_eq!(ask("GET").json(), one("two"));
    for method in ["PUT", "DELETE"] {
        let refused = ask(method);
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(
            refused.text().contains("those of the registry"),
            "{refused:?}"
        );
    }
    drop(gateway);

    let seen = registry.requests();
    assert!(
        seen.iter()
            .all(|seen| seen.header("authorization") == Some("Bearer registry-key"))
    );
    assert!(seen.iter().any(|seen| seen.target.ends_with("?after=2")));
    let url = registry.url.clone();
    *list.lock().unwrap() = "rubbish".to_owned();
    let gateway = node(&url).start();
    gateway.wait_for_line("starting with the last good list of the registry");
    at(&gateway, "two").connect().leave();
    assert!(!gateway.log().contains("registry-key"));
}
