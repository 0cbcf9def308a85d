//! Files: the configuration file and `.env`.

use std::fs;

use super::*;

#[test]
fn dotenv_files_count_below_the_environment() {
    let folder = Folder::with(&[
        (".env", "APP_URL=https://file\nOTHER=x\nHT_THREADS=zero\n"),
        ("named.env", "APP_URL=https://named\nRABBITMQ_HOST=mq\n"),
    ]);
    let Err(mistakes) = folder.load(&[]) else {
        panic!("HT_THREADS is wrong")
    };
    let line = format!("{}/.env:3: HT_THREADS: ", folder.0.display());
    assert!(mistakes.to_string().contains(&line), "{mistakes}");
    let config = folder.load(&[("HT_THREADS", "2")]).unwrap();
    assert_eq!(config.backend.url, "https://file/api/");
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains(".env: APP_URL")),
        "{:?}",
        config.notes
    );
    assert!(
        config.notes.iter().all(|note| !note.contains("OTHER")),
        "{:?}",
        config.notes
    );
    let config = folder
        .load(&[("ENV_FILE", "named.env"), ("RABBITMQ_HOST", "real")])
        .unwrap();
    assert_eq!(config.backend.url, "https://named/api/");
    assert_eq!(
        config.rabbitmq.unwrap().url,
        "amqp://rabbitmq:rabbitmq@real"
    );
    let found = folder
        .load(&[("ENV_FILE", "none.env"), URL])
        .err()
        .unwrap()
        .to_string();
    assert!(found.contains("ENV_FILE: cannot read"), "{found}");

    fs::create_dir_all(folder.0.join("below/there")).unwrap();
    let below = Folder(folder.0.join("below/there"));
    assert_eq!(
        below.load(&[("HT_THREADS", "2")]).unwrap().backend.url,
        "https://file/api/"
    );
}

#[test]
fn the_file_can_be_named() {
    let folder = Folder::with(&[
        ("other.toml", "[backend]\nurl = 'http://other/'\n"),
        ("latin", ""),
    ]);
    fs::write(folder.0.join("latin"), b"# \xe9").unwrap();
    let config = folder.load(&[("HT_CONFIG", "other.toml")]).unwrap();
    assert_eq!(config.backend.url, "http://other/");
    for (name, part) in [
        ("none.toml", "no such file"),
        ("latin", "not UTF-8"),
        (".", "a folder"),
    ] {
        let found = folder
            .load(&[("HT_CONFIG", name), URL])
            .err()
            .unwrap()
            .to_string();
        assert!(
            found.contains("HT_CONFIG: ") && found.contains(part),
            "{found}"
        );
    }
}

/// What Kubernetes sets for Services named `ht` and `ht-web`.
const SERVICE_LINKS: &[(&str, &str)] = &[
    ("HT_PORT", "tcp://10.96.7.1:5000"),
    ("HT_PORT_5000_TCP", "tcp://10.96.7.1:5000"),
    ("HT_PORT_5000_TCP_ADDR", "10.96.7.1"),
    ("HT_PORT_5000_TCP_PORT", "5000"),
    ("HT_PORT_5000_TCP_PROTO", "tcp"),
    ("HT_SERVICE_HOST", "10.96.7.1"),
    ("HT_SERVICE_PORT", "5000"),
    ("HT_SERVICE_PORT_WEB", "5000"),
    ("HT_WEB_PORT", "tcp://10.96.7.2:80"),
    ("HT_WEB_SERVICE_HOST", "10.96.7.2"),
];

#[test]
fn kubernetes_service_links_are_ignored_with_one_line() {
    let config = good("", &[&[URL], SERVICE_LINKS].concat());
    let lines = config.notes.iter().filter(|note| note.contains("HT_PORT"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{:?}", config.notes);
    for (name, _) in SERVICE_LINKS {
        assert!(lines[0].contains(name), "{lines:?}");
    }
    assert!(lines[0].contains("enableServiceLinks"), "{lines:?}");
    let none = good("", &[URL]).notes;
    assert!(none.iter().all(|note| !note.contains("enableServiceLinks")));
}

#[test]
fn typos_in_variables_stay_mistakes_with_a_good_guess() {
    for (name, guess) in [
        ("HT_BAKEND__URL", "HT_BACKEND__URL"),
        ("HT_BACKEND_URL", "HT_BACKEND__URL"),
        ("HT_BACKEND__URI", "HT_BACKEND__URL"),
        ("HT_RABITMQ__URL", "HT_RABBITMQ__URL"),
        ("HT_API_KEY", "HT_INTERNAL__API_KEY"),
        ("HT_TRUSTED_PROXYS", "HT_TRUSTED_PROXIES"),
        ("HT_SERVER__THREADS", "HT_THREADS"),
    ] {
        let found = bad("", &[&[URL, (name, "x")], SERVICE_LINKS].concat());
        let part = format!("did you mean {guess}?");
        assert_each(&found, &[(&format!("{name}: "), &part)]);
    }
    assert_each(
        &bad("", &[URL, ("HT_PORT", "5000")]),
        &[("HT_PORT: ", "there is no such variable")],
    );
    assert_each(
        &bad("service_host = \"10.96.7.1\"", &[URL]),
        &[("high-templar.toml:1: service_host: ", "no such setting")],
    );
}

/// What a Laravel project has in its `.env`.
const LARAVEL: &str = "APP_NAME=Laravel\nAPP_URL=https://shop.example\nDB_HOST=db\n\
    RABBITMQ_HOST=mq\nRABBITMQ_PASSWORD=secret\n";

#[test]
fn another_programs_dotenv_enables_nothing_if_the_backend_is_set() {
    let plain = good("", &[URL]);
    let folder = Folder::with(&[(".env", LARAVEL)]);
    let named = ("HT_BACKEND__URL", "http://api/");
    let file = Folder::with(&[
        (".env", LARAVEL),
        ("high-templar.toml", "[backend]\nurl = 'http://api/'\n"),
    ]);
    let own = format!("{LARAVEL}HT_BACKEND__URL=http://api/\n");
    let own = Folder::with(&[(".env", &own)]);
    let never = [
        named,
        ("HT_PYTHON_VARIABLES", "never"),
        ("ENV_FILE", ".env"),
    ];
    for (folder, variables) in [
        (&folder, &[named][..]),
        (&file, &[]),
        (&own, &[]),
        (&folder, &never),
    ] {
        let config = folder.load(variables).unwrap();
        assert!(config.rabbitmq.is_none(), "{variables:?}");
        assert!(config.backend.hooks.connect.is_none(), "{variables:?}");
        assert!(
            config.server.public.origins.allow.is_empty(),
            "{variables:?}"
        );
        assert_eq!(header_names(&config), header_names(&plain), "{variables:?}");
        let notes = config.notes.join("\n");
        let line = "APP_URL, RABBITMQ_HOST, RABBITMQ_PASSWORD in ";
        assert_eq!(notes.matches(line).count(), 1, "{notes}");
        assert!(
            notes.contains("ENV_FILE") && !notes.contains("secret"),
            "{notes}"
        );
    }
}

#[test]
fn a_named_dotenv_a_switch_and_a_drop_in_use_the_old_names() {
    let folder = Folder::with(&[(".env", LARAVEL)]);
    for (variables, url) in [
        (&[URL, ("ENV_FILE", ".env")][..], "http://api/"),
        (&[URL, ("HT_PYTHON_VARIABLES", "always")], "http://api/"),
        // Nothing new but settings that do not concern the API.
        (&[("HT_THREADS", "2")], "https://shop.example/api/"),
    ] {
        let config = folder.load(variables).unwrap();
        assert_eq!(config.backend.url, url, "{variables:?}");
        assert!(config.rabbitmq.is_some(), "{variables:?}");
        assert!(config.backend.hooks.connect.is_some(), "{variables:?}");
        let origins = &config.server.public.origins.allow;
        assert_eq!(origins[0].to_string(), "https://shop.example");
    }
    // In the environment itself they always count.
    let empty = Folder::with(&[]);
    let config = empty
        .load(&[
            URL,
            ("APP_URL", "https://shop.example"),
            ("HT_RABBITMQ__URL", ""),
        ])
        .unwrap();
    assert!(config.backend.hooks.connect.is_some());
    let wrong = bad("", &[URL, ("HT_PYTHON_VARIABLES", "sometimes")]);
    assert_each(&wrong, &[("HT_PYTHON_VARIABLES: ", "\"auto\", \"always\"")]);
}

/// A setting of each kind, with a value that is right.
const VARIABLES: &[(&str, &str)] = &[
    ("HT_ORIGINS", "https://a.example"),
    ("HT_LISTEN", "127.0.0.1:5001"),
    ("HT_LISTEN_MODE", "0600"),
    ("HT_THREADS", "2"),
    ("HT_PROXY_PROTOCOL", "true"),
    ("HT_TRUSTED_PROXIES", "unix"),
    ("HT_INTERNAL__API_KEY", "geheim"),
    ("HT_INTERNAL__HOSTS", "gateway"),
    ("HT_BACKEND__URL", "http://api/"),
    ("HT_BACKEND__SOCKET", "/run/api.sock"),
    ("HT_BACKEND__BOOTSTRAP", "bootstrap/"),
    ("HT_BACKEND__TIMEOUT", "3s"),
    ("HT_BACKEND__USER_ID_PATH", "[\"id\"]"),
    ("HT_BACKEND__HEADERS", "{ X-A = { param = \"a\" } }"),
    ("HT_HOOKS__CONNECT", "POST c/"),
    ("HT_RABBITMQ__URL", "amqp://u:geheim@mq"),
    ("HT_RABBITMQ__EXCHANGE", "other"),
    ("HT_ROOMS__MATCHING", "exact"),
    ("HT_LIMITS__MEMORY_BYTES", "auto"),
    ("HT_LIMITS__MESSAGE_BYTES", "1MiB"),
];

#[test]
fn quotes_of_an_env_file_are_named_for_every_kind_of_setting() {
    for (name, value) in VARIABLES {
        for quoted in [
            format!("\"{value}\""),
            format!("'{value}' "),
            format!("\u{201c}{value}\u{201d}"),
        ] {
            let found = bad("", &[URL, (name, &quoted)]);
            let ours: Vec<_> = found
                .iter()
                .filter(|line| line.starts_with(&format!("{name}: ")))
                .collect();
            assert_eq!(ours.len(), 1, "{name}={quoted}: {found:?}");
            assert!(ours[0].contains("quotes"), "{found:?}");
            assert!(!ours[0].contains("geheim"), "{found:?}");
        }
    }
}

#[test]
fn blanks_at_the_ends_of_variables_do_not_count() {
    let text = |values: &[(&str, &str)]| {
        let config = good("", &[&[URL], values].concat());
        format!(
            "{:?} {:?} {:?}",
            config.server,
            config.backend,
            config.rabbitmq.map(|it| it.exchange)
        )
    };
    for (name, value) in VARIABLES {
        let plain = text(&[(name, value)]);
        for blanks in [
            format!(" {value}"),
            format!("{value}\t "),
            format!("{value}\r"),
            format!("\u{feff}{value}"),
        ] {
            assert_eq!(text(&[(name, &blanks)]), plain, "{blanks:?}");
        }
    }
}

#[test]
fn blanks_and_quotes_within_a_value_are_named() {
    for (name, value, part) in [
        (
            "HT_ORIGINS",
            "https://a.example https://b.example",
            "a blank in it: put commas",
        ),
        (
            "HT_ORIGINS",
            "https://a.example;https://b.example",
            "put commas",
        ),
        (
            "HT_ORIGINS",
            "https://a.example, \"https://b.example\"",
            "quotes in it",
        ),
        (
            "HT_ORIGINS",
            "\"https://a.example\", \"https://b.example\"",
            "in quotes",
        ),
        ("HT_ORIGINS", "\"https://a.example", "quotes in it"),
        ("HT_ORIGINS", "https://a .example", "a blank in it"),
        (
            "HT_TRUSTED_PROXIES",
            "10.0.0.1 10.0.0.2",
            "a blank in it: put commas",
        ),
        ("HT_INTERNAL__HOSTS", "a b", "a blank in it: put commas"),
        ("HT_LISTEN", "0.0.0.0: 5000", "a blank in it"),
        ("HT_THREADS", "\"2", "quotes in it"),
        ("HT_INTERNAL__API_KEY", "a key", "a blank in it"),
        (
            "HT_INTERNAL__API_KEY",
            "a\u{200b}key",
            "invisible character in it (U+200B)",
        ),
        ("HT_RABBITMQ__URL", "amqp://u:a b@mq", "a blank in it"),
        ("HT_BACKEND__BOOTSTRAP", "boot strap/", "a blank in it"),
        ("HT_LIMITS__MESSAGE_BYTES", "'1MiB", "quotes in it"),
        ("HT_LOG__LEVEL", "inf\u{a0}o", "a blank in it"),
    ] {
        let found = bad("", &[URL, (name, value)]);
        assert_each(&found, &[(&format!("{name}: "), part)]);
    }
    let file = "origins = [\"https://a.example https://b.example\", \"'https://c.example'\"]\n";
    assert_each(
        &bad(file, &[URL]),
        &[
            ("high-templar.toml:1: origins.allow: ", "a blank in it"),
            ("high-templar.toml:1: origins.allow: ", "quotes in it"),
        ],
    );
}

#[test]
fn bounds_that_together_reach_the_memory_are_refused_with_what_to_change() {
    let mib = |number: usize| number << 20;
    let (inboxes, window) = (mib(100) / 32 * 3, mib(100) / 32);
    for (written, named, sizes) in [
        // Publications that wait for threads count, too.
        (
            &[("HT_LIMITS__INBOX_BYTES", "25MiB")][..],
            "HT_LIMITS__INBOX_BYTES: ",
            [mib(50), mib(25), mib(25), window, 1, 0],
        ),
        (
            &[("HT_LIMITS__OUTBOX_TOTAL_BYTES", "38MiB")],
            "HT_LIMITS__OUTBOX_TOTAL_BYTES: ",
            [mib(50), mib(38), inboxes, window, 1, 0],
        ),
        // The largest of those that were written is named.
        (
            &[
                ("HT_LIMITS__CLIENT_TOTAL_BYTES", "40MiB"),
                ("HT_LIMITS__INBOX_BYTES", "60MiB"),
            ],
            "HT_LIMITS__INBOX_BYTES: ",
            [mib(40), mib(25), mib(60), window, 1, 0],
        ),
        // The last publications do.
        (
            &[("HT_WINDOW__BYTES", "22MiB")],
            "HT_WINDOW__BYTES: ",
            [mib(50), mib(25), mib(100) / 32, mib(22), 1, 0],
        ),
        // Bodies of triggers and connections that are not websockets yet take memory, too.
        (
            &[("HT_LIMITS__TRIGGERS_IN_FLIGHT", "12MiB")],
            "HT_LIMITS__TRIGGERS_IN_FLIGHT: ",
            [mib(50), mib(25), inboxes, window, mib(12), mib(100) / 8 / 4],
        ),
        (
            &[("HT_LIMITS__HANDSHAKES", "3000")],
            "HT_LIMITS__HANDSHAKES: ",
            [
                mib(50),
                mib(25),
                inboxes,
                window,
                mib(100) / 8 / 2,
                (4_024 << 13) - mib(50) / 4,
            ],
        ),
    ] {
        let all = |written: &[(&'static str, &'static str)]| {
            [&[URL, ("HT_LIMITS__MEMORY_BYTES", "100MiB")], written].concat()
        };
        let folder = Folder::with(&[]);
        let Err(mistakes) = folder.load(&all(written)) else {
            panic!("{written:?}")
        };
        let text = mistakes.to_string();
        let [clients, outboxes, inboxes, window, triggers, unfinished] = sizes;
        let sentence = format!(
            "limits.client_total_bytes ({clients} bytes), limits.outbox_total_bytes ({outboxes} \
             bytes), limits.inbox_bytes ({inboxes} bytes), window.bytes ({window} bytes), \
             limits.triggers_in_flight ({triggers} bytes) and limits.handshakes (connections of 8 KiB each: {unfinished} bytes beyond a \
             quarter of limits.client_total_bytes) together reach limits.memory_bytes (104857600 \
             bytes): lower one of them or raise limits.memory_bytes"
        );
        assert!(text.contains(&sentence), "{text}");
        assert!(text.contains(named), "{text}");
        // By default, and with a little less, they fit.
        assert!(folder.load(&all(&[])).is_ok());
        let fits = [
            ("HT_LIMITS__CLIENT_TOTAL_BYTES", "40MiB"),
            ("HT_LIMITS__INBOX_BYTES", "30MiB"),
        ];
        assert!(folder.load(&all(&fits)).is_ok());
    }
}

#[test]
fn a_lease_is_at_least_twice_as_long_as_a_beacon() {
    let folder = Folder::with(&[]);
    for (written, named) in [
        (&[("HT_NODES__LEASE", "9s")][..], Some("HT_NODES__LEASE: ")),
        (&[("HT_NODES__BEACON", "8s")], Some("HT_NODES__BEACON: ")),
        (&[("HT_NODES__BEACON", "7s")], None),
        (
            &[("HT_NODES__BEACON", "30s"), ("HT_NODES__LEASE", "60s")],
            None,
        ),
    ] {
        let loaded = folder.load(&[&[URL], written].concat());
        match named {
            None => assert!(loaded.is_ok(), "{written:?}"),
            Some(named) => {
                let text = loaded.err().map(|mistakes| mistakes.to_string());
                assert!(text.is_some_and(|text| text.contains(named)), "{written:?}");
            }
        }
    }
}
