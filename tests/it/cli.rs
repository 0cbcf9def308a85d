//! The command line: exit codes and output.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::binary::{ANY_PORTS, Running, answer, command, folder, run, stub_backend};
use crate::support::{Reply, StubBackend};

#[test]
fn all_mistakes_in_the_configuration_are_reported_with_exit_code_78() {
    let folder = folder();
    fs::write(
        folder.path().join("high-templar.toml"),
        "[backend]\nurl = 'http://api'\n[limits]\ninbux = 1\n",
    )
    .unwrap();
    for subcommand in ["serve", "check"] {
        let found = run(folder.path(), &[subcommand], &[("HT_THREADS", "many")]);
        assert_eq!(found.code, Some(78), "{found:?}");
        for part in [
            "3 mistakes",
            "high-templar.toml:2: backend.url: end it with a slash",
            "high-templar.toml:4: limits.inbux: there is no such setting; did you mean limits.inbox?",
            "HT_THREADS: expected a whole number from 0 to 1024; found \"many\"",
        ] {
            assert!(found.stderr.contains(part), "{part:?} in {}", found.stderr);
        }
    }
    let found = run(folder.path(), &["serve", "--config", "none.toml"], &[]);
    assert_eq!(found.code, Some(78), "{found:?}");
    assert!(
        found.stderr.contains("none.toml: cannot read"),
        "{}",
        found.stderr
    );
}

#[test]
fn an_address_in_use_is_named_with_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables = [
        ("HT_BACKEND__URL", "http://127.0.0.1:9/"),
        ("HT_LISTEN", &address),
        ANY_PORTS[1],
    ];
    let found = run(folder().path(), &["serve"], &variables);
    assert_eq!(found.code, Some(1), "{found:?}");
    let last = found.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(&address) && last.contains("listen"), "{last}");
}

#[test]
fn serve_logs_its_addresses_and_shuts_down_gracefully() {
    let folder = folder();
    for signal in ["TERM", "INT"] {
        let variables = [&ANY_PORTS[..], &[("APP_URL", "http://127.0.0.1:9")]].concat();
        let mut serve = Running::start(command(folder.path(), &["serve"], &variables));
        serve.line_with("variables of the Python version in use: APP_URL");
        let public = serve.line_with("browsers connect to ");
        assert!(
            public.starts_with("127.0.0.1:") && !public.starts_with("127.0.0.1:0 "),
            "{public}"
        );
        serve.line_with("triggers, metrics and health are on 127.0.0.1:");
        serve.signal(signal);
        let (status, log) = serve.end();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            log.contains(&format!("SIG{signal}: shutting down gracefully")),
            "{log}"
        );
        assert!(
            log.contains("shutdown complete: all connections are closed"),
            "{log}"
        );
    }
}

#[test]
fn the_log_can_be_json() {
    let variables = [
        &ANY_PORTS[..],
        &[
            ("HT_BACKEND__URL", "http://127.0.0.1:9/"),
            ("HT_LOG__FORMAT", "json"),
        ],
    ]
    .concat();
    let mut serve = Running::start(command(folder().path(), &["serve"], &variables));
    serve.line_with("browsers connect to ");
    serve.signal("TERM");
    let (_, log) = serve.end();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["message"].is_string(), "{line}");
    }
}

#[test]
fn check_reports_the_response_of_the_backend_and_what_to_fix() {
    let json = "application/json";
    for (status, kind, body, code, line) in [
        (
            "401 No",
            json,
            "{}",
            0,
            "ok   backend: URL answers, and refuses a client without credentials (401)",
        ),
        (
            "403 No",
            "text/html",
            "<p>",
            0,
            "ok   backend: URL answers, and refuses a client without credentials (403)",
        ),
        (
            "200 OK",
            json,
            "{\"allowed_rooms\":[]}",
            0,
            "admits a client without any credentials",
        ),
        (
            "200 OK",
            json,
            "{\"labels\": 7}",
            1,
            "labels must be a list of at most 32 texts of 1 to 128 bytes; have the API correct it",
        ),
        (
            "200 OK",
            json,
            "{\"view\": 7}",
            1,
            "a member of the backend's answer is wrong: view must be a text",
        ),
        (
            "404 No",
            json,
            "{}",
            1,
            "FIX  backend: URL: the backend answered with status 404; check backend.url",
        ),
        (
            "502 No",
            json,
            "{}",
            1,
            "FIX  backend: URL: the backend answered with status 502; look at the log",
        ),
        (
            "200 OK",
            "text/html",
            "<html>",
            1,
            "FIX  backend: URL: the backend's answer has the content type \"text/html\"",
        ),
        (
            "200 OK",
            json,
            "{",
            1,
            "FIX  backend: URL: the backend's answer is not JSON",
        ),
    ] {
        let url = stub_backend(&answer(status, kind, body));
        let variables = [&ANY_PORTS[..], &[("HT_BACKEND__URL", &*url)]].concat();
        let found = run(folder().path(), &["check"], &variables);
        assert_eq!(found.code, Some(code), "{status} {body}: {found:?}");
        let line = line.replace("URL", &format!("{url}bootstrap/"));
        assert!(found.stdout.contains(&line), "{line:?} in {}", found.stdout);
        assert_eq!(
            found.stdout.contains("Everything works."),
            code == 0,
            "{}",
            found.stdout
        );
        assert!(
            found.stdout.contains("NOTE broker: none"),
            "{}",
            found.stdout
        );
    }
}

/// `check` in a shell does not have the environment of the service: it must be visible that the broker
/// was not tested, and which settings were.
#[test]
fn check_names_the_configuration_that_it_read() {
    let json = "application/json";
    let url = stub_backend(&answer("401 No", json, "{}"));
    let folder = folder();
    let check = |args: &[&str], variables: &[(&str, &str)]| {
        let args = [&["check"], args].concat();
        let found = run(folder.path(), &args, variables);
        assert_eq!(found.code, Some(0), "{found:?}");
        found.stdout
    };
    let printed = check(
        &[],
        &[&ANY_PORTS[..], &[("HT_BACKEND__URL", &url)]].concat(),
    );
    for line in [
        "     configuration file: none: there is no high-templar.toml in ",
        "     environment: HT_BACKEND__URL, HT_INTERNAL__LISTEN, HT_LISTEN\n",
    ] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }

    let file = format!(
        "listen = '127.0.0.1:0'\n[internal]\nlisten = '127.0.0.1:0'\n[backend]\nurl = '{url}'\n"
    );
    fs::write(folder.path().join("own.toml"), file).unwrap();
    let printed = check(&["--config", "own.toml"], &[]);
    for line in [
        "     configuration file: own.toml\n",
        "     environment: no variable HT_… is set\n",
        "NOTE broker: none: neither rabbitmq.url nor postgres.url nor nats.url nor redis.url is set",
    ] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    let mut last = printed.lines().rev();
    assert_eq!(last.next(), Some("Everything works."));
    assert!(
        last.next()
            .is_some_and(|line| line.starts_with("NOTE broker: none"))
    );
}

/// A server that reads heads of at most 4 KiB, as uWSGI does: behind a proxy the response is 502,
/// without one there is none.
#[test]
fn check_tests_the_longest_head_that_a_client_can_cause() {
    for long in [
        Reply::http("502 Bad Gateway", &[], ""),
        Reply::http("431 Too Long", &[], ""),
        Reply::http("400 Bad Request", &[], ""),
        Reply::Reset,
    ] {
        let backend = StubBackend::new(move |seen| {
            let length = |(name, value): &(String, Vec<u8>)| name.len() + value.len() + 4;
            match seen.headers.iter().map(length).sum() {
                0..=4_096usize => Reply::http("401 No", &[], ""),
                _ => long.clone(),
            }
        });
        let check = |limit| {
            let variables = [
                ("HT_BACKEND__URL", &*backend.url),
                ("HT_BACKEND__FORWARD_BYTES_MAX", limit),
            ];
            run(
                folder().path(),
                &["check"],
                &[&ANY_PORTS[..], &variables].concat(),
            )
        };
        let found = check("8KiB");
        assert_eq!(found.code, Some(1), "{found:?}");
        for part in [
            "a request head of 8192 bytes",
            "backend.forward_bytes_max",
            "buffer-size",
        ] {
            assert!(found.stdout.contains(part), "{part:?} in {}", found.stdout);
        }
        let found = check("3KiB");
        assert_eq!(found.code, Some(0), "{found:?}");
        assert!(
            found
                .stdout
                .contains("answers a request head of 3072 bytes")
        );
    }
}

#[test]
fn check_reports_what_cannot_be_reached() {
    let variables = [
        ("HT_BACKEND__URL", "http://127.0.0.1:9/api/"),
        ("HT_RABBITMQ__URL", "amqp://user:geheim@127.0.0.1:9"),
        ANY_PORTS[1],
        ("HT_LISTEN", "unix:/there/is/no/such.sock"),
    ];
    let found = run(folder().path(), &["check"], &variables);
    assert_eq!(found.code, Some(1), "{found:?}");
    for part in [
        "FIX  listen: there is no folder /there/is/no",
        "FIX  backend: http://127.0.0.1:9/api/bootstrap/: no connection",
        "FIX  broker: RabbitMQ at 127.0.0.1:9 (virtual host /): cannot connect",
    ] {
        assert!(found.stdout.contains(part), "{part:?} in {}", found.stdout);
    }
    assert!(
        !found.stdout.contains("geheim") && !found.stderr.contains("geheim"),
        "{found:?}"
    );
}

#[test]
fn the_committed_documentation_is_up_to_date() {
    for (option, page) in [
        ("--markdown", "docs/configuration.md"),
        ("--metrics", "docs/metrics.md"),
        ("--alerts", "packaging/monitoring/alerts.yml"),
        ("--dashboard", "packaging/monitoring/dashboard.json"),
    ] {
        let found = run(folder().path(), &["config", option], &[]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let committed = fs::read_to_string(path).expect(page);
        assert!(
            found.stdout == committed,
            "run: cargo run --bin high-templar -- config {option} > {page}"
        );
    }
}

#[test]
fn a_gateway_starts_with_the_printed_file() {
    let folder = folder();
    let printed = run(folder.path(), &["config", "--toml"], &[]);
    fs::write(folder.path().join("high-templar.toml"), printed.stdout).unwrap();
    let mut serve = Running::start(command(folder.path(), &["serve"], &ANY_PORTS));
    serve.line_with("configuration file: high-templar.toml");
    serve.line_with("browsers connect to 127.0.0.1:");
}

#[test]
fn wrong_arguments_are_explained() {
    let folder = folder();
    for (args, part) in [
        (
            &["publish", "--room", "[1]", "--data", "1"][..],
            "a room is a JSON object",
        ),
        (
            &["publish", "--room", "{\"a\":1}", "--data", "{"],
            "--data: this is not JSON",
        ),
        (
            &[
                "publish",
                "--room",
                "{\"a\":1}",
                "--data",
                "1",
                "--url",
                "https://x",
            ],
            "expected an address such as",
        ),
        (
            &[
                "publish",
                "--room",
                "{\"a\":1}",
                "--data",
                "1",
                "--url",
                "http://127.0.0.1:9",
            ],
            "is the gateway running",
        ),
        (
            &["listen", "--room", "{\"a\":1}", "--url", "http://x/"],
            "ws://127.0.0.1:5000/ws/",
        ),
        (
            &[
                "listen",
                "--room",
                "{\"a\":1}",
                "--url",
                "ws://127.0.0.1:9/ws/",
            ],
            "no connection to 127.0.0.1:9",
        ),
        (&["config"], "--toml"),
    ] {
        let found = run(folder.path(), args, &[]);
        assert!(matches!(found.code, Some(1 | 2)), "{args:?}: {found:?}");
        assert!(found.stderr.contains(part), "{part:?} in {}", found.stderr);
        assert!(found.stdout.is_empty(), "{found:?}");
    }
    assert!(
        run(folder.path(), &["--version"], &[])
            .stdout
            .starts_with("high-templar ")
    );
}
