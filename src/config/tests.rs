//! Tests of the whole configuration.

use std::fs;
use std::time::Duration;

use ht_backend::config::HeaderSource;
use ht_server::config::Listen;
use ht_server::config::Matching;

use super::layers::variable_of;
use super::settings::KEYS;
use super::settings::SECTIONS;
use super::settings::described;
use super::*;

/// A folder of this test's own, with files in it.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        use std::sync::atomic::AtomicUsize;
        use std::sync::atomic::Ordering;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ht-config-{}-{next}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
        Sources {
            file: None,
            environment: variables
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            folder: self.0.clone(),
        }
        .load()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const URL: (&str, &str) = ("HT_BACKEND__URL", "http://api/");

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Folder::with(&[("high-templar.toml", file)]).load(variables)
}

#[track_caller]
fn good(file: &str, variables: &[(&str, &str)]) -> Config {
    load(file, variables).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The mistakes, a line each, without the headline.
#[track_caller]
fn bad(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let Err(mistakes) = load(file, variables) else {
        panic!("expected mistakes in {file:?} {variables:?}");
    };
    mistakes.0.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_each(found: &[String], expected: &[(&str, &str)]) {
    for (place, part) in expected {
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(place) && line.contains(part)),
            "no {place:?} with {part:?} in\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[test]
fn only_the_backend_must_be_given() {
    let config = good("[backend]\nurl = \"http://localhost:8000/api/\"\n", &[]);
    assert_eq!(config.backend.url, "http://localhost:8000/api/");
    assert_eq!(config.backend.bootstrap, "bootstrap/");
    assert_eq!(config.backend.timeout, Duration::from_secs(10));
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:5000");
    assert_eq!(config.server.internal.listen.to_string(), "127.0.0.1:8002");
    assert!(config.server.threads >= 1);
    assert_eq!(config.server.matching, Matching::Wildcard);
    assert_eq!(config.server.idle_timeout, Duration::from_secs(300));
    assert_eq!(config.server.session, ht_core::limits::Limits::default());
    assert_eq!(
        config.server.limits,
        ht_server::config::ServerLimits::default()
    );
    assert_eq!(
        config.server.hooks,
        ht_server::config::HookQueueConfig::default()
    );
    assert!(config.rabbitmq.is_none());
    assert!(config.backend.hooks.connect.is_none());
    assert_each(&bad("", &[]), &[("backend.url: ", "missing")]);
}

/// Every setting with a value that is not its default, as TOML.
const EVERY: &[(&str, &str)] = &[
    ("listen", r#""unix:/run/ht.sock""#),
    ("listen_mode", r#""0600""#),
    ("threads", "3"),
    ("internal.listen", r#""127.0.0.1:9""#),
    ("internal.api_key", r#""key""#),
    ("backend.url", r#""http://api/v1/""#),
    ("backend.socket", r#""/run/api.sock""#),
    ("backend.bootstrap", r#""hello/""#),
    ("backend.timeout", r#""300ms""#),
    ("backend.user_id_path", r#"["user", "id"]"#),
    ("backend.headers", r#"{ X-A = { param = "a" } }"#),
    ("backend.max_in_flight", "7"),
    ("backend.answer_bytes_max", r#""2MiB""#),
    ("backend.tls_verify", "false"),
    ("backend.tls_ca_file", r#""/ca.pem""#),
    ("hooks.connect", r#""POST c/""#),
    ("hooks.ping", r#""PUT p/""#),
    ("hooks.disconnect", r#""DELETE d/""#),
    ("hooks.timeout", "4"),
    ("hooks.queue", "8"),
    ("hooks.max_in_flight", "9"),
    ("hooks.ping_min_interval", r#""1m""#),
    ("rabbitmq.url", r#""amqp://mq""#),
    ("rabbitmq.exchange", r#""other""#),
    ("rabbitmq.prefetch", "11"),
    ("rabbitmq.publish_timeout", "1.5"),
    ("rooms.matching", r#""exact""#),
    ("status.clients", "false"),
    ("limits.connections", "101"),
    ("limits.handshakes", "102"),
    ("limits.head_timeout", "103"),
    ("limits.head_bytes", "10400"),
    ("limits.idle_timeout", "105"),
    ("limits.message_bytes", "10600"),
    ("limits.subscriptions", "107"),
    ("limits.request_id_bytes", "108"),
    ("limits.room_bytes", "109"),
    ("limits.room_depth", "10"),
    ("limits.outbox_bytes", "11100"),
    ("limits.trigger_bytes", "11200"),
    ("limits.triggers_per_request", "113"),
    ("limits.rooms_per_trigger", "114"),
    ("limits.trigger_ids", "115"),
    ("limits.inbox", "116"),
    ("drain.timeout", r#""2s""#),
    ("log.level", r#""debug""#),
    ("log.format", r#""json""#),
];

#[track_caller]
fn assert_every(config: &Config) {
    let server = &config.server;
    let unix = Listen::Unix {
        path: "/run/ht.sock".into(),
        mode: 0o600,
    };
    assert_eq!((&server.listen, server.threads), (&unix, 3));
    assert_eq!(server.internal.listen.to_string(), "127.0.0.1:9");
    assert_eq!(server.internal.api_key.as_ref().unwrap().0, "key");
    assert_eq!(
        (server.matching, server.status_clients),
        (Matching::Exact, false)
    );
    assert_eq!(server.idle_timeout.as_secs(), 105);
    assert_eq!(server.drain_timeout.as_secs(), 2);
    let session = &server.session;
    assert_eq!(
        [
            session.message_bytes,
            session.subscriptions,
            session.request_id_bytes
        ],
        [10600, 107, 108]
    );
    assert_eq!(
        [session.room_bytes, session.room_depth, session.outbox_bytes],
        [109, 10, 11100]
    );
    let limits = &server.limits;
    assert_eq!(
        [limits.connections, limits.handshakes, limits.head_bytes],
        [101, 102, 10400]
    );
    assert_eq!(limits.head_timeout.as_secs(), 103);
    assert_eq!(
        [limits.trigger_bytes, limits.triggers_per_request],
        [11200, 113]
    );
    assert_eq!(
        [limits.rooms_per_trigger, limits.trigger_ids, limits.inbox],
        [114, 115, 116]
    );
    let hooks = &server.hooks;
    assert_eq!(
        (
            hooks.queue,
            hooks.max_in_flight,
            hooks.ping_min_interval.as_secs()
        ),
        (8, 9, 60)
    );

    let backend = &config.backend;
    assert_eq!(backend.url, "http://api/v1/");
    assert_eq!(backend.socket.as_deref(), Some(Path::new("/run/api.sock")));
    assert_eq!(backend.bootstrap, "hello/");
    assert_eq!(backend.timeout.as_millis(), 300);
    assert_eq!(backend.user_id_path, ["user", "id"]);
    assert_eq!(
        backend.headers.last().unwrap().source,
        HeaderSource::Param("a".into())
    );
    assert_eq!(
        (backend.max_in_flight, backend.answer_bytes_max),
        (7, 2 << 20)
    );
    assert!(!backend.tls_verify);
    assert_eq!(backend.tls_ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(backend.hooks.connect.as_ref().unwrap().path, "c/");
    assert_eq!(
        backend.hooks.ping.as_ref().unwrap().method,
        http::Method::PUT
    );
    assert_eq!(backend.hooks.disconnect.as_ref().unwrap().path, "d/");
    assert_eq!(backend.hooks.timeout.as_secs(), 4);

    let rabbitmq = config.rabbitmq.as_ref().unwrap();
    assert_eq!(
        (&*rabbitmq.url, &*rabbitmq.exchange),
        ("amqp://mq", "other")
    );
    assert_eq!(
        (rabbitmq.prefetch, rabbitmq.publish_timeout.as_millis()),
        (11, 1500)
    );
    assert_eq!(
        (config.log.level, config.log.format),
        (Level::Debug, Format::Json)
    );
}

#[test]
fn every_setting_is_read_from_the_file() {
    let names: Vec<_> = EVERY.iter().map(|(key, _)| *key).collect();
    assert_eq!(names, KEYS, "a setting is missing in this test");
    let file: String = EVERY
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    assert_every(&good(&file, &[]));
}

#[test]
fn every_setting_is_read_from_the_environment_and_beats_the_file() {
    let variables: Vec<_> = EVERY
        .iter()
        .map(|(key, value)| (variable_of(key), value.trim_matches('"')))
        .collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    assert_every(&good("", &variables));
    let file = "threads = 9\n[limits]\ninbox = 5\n[backend.headers]\nX-B = false\n";
    assert_every(&good(file, &variables));
}

#[test]
fn lists_and_tables_in_variables_are_toml_or_json() {
    for text in [r#"{ X-A = { param = "a" } }"#, r#"{"X-A": {"param": "a"}}"#] {
        let config = good("", &[URL, ("HT_BACKEND__HEADERS", text)]);
        assert_eq!(config.backend.headers.last().unwrap().name, "x-a", "{text}");
    }
    let found = bad(
        "",
        &[
            URL,
            ("HT_BACKEND__HEADERS", "X-A"),
            ("HT_BACKEND__USER_ID_PATH", "[1]"),
        ],
    );
    assert_each(
        &found,
        &[
            ("HT_BACKEND__HEADERS: ", "a table"),
            ("HT_BACKEND__USER_ID_PATH: ", "a list of texts"),
        ],
    );
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let file = r#"threads = "two"
thread = 1
listen = "localhost:1"
[backend]
timeout = "soon"
bootstrap = "/bootstrap/"
[backend.headers]
X-A = { parm = "a" }
X-B = { param = "b", cookie = "b" }
Host = { fixed = "x" }
X-C = true
X-D = { param = "d", format = "Bearer" }
[limits]
mesage_bytes = 1
message_bytes = 0
room_depth = 1_000_000
[limit]
x = 1
[rooms]
matching = "fuzzy"
"#;
    let found = bad(
        file,
        &[
            ("HT_HOOKS__QUEUE", "many"),
            ("HT_BACKEND__URI", "http://api/"),
            ("HT_LOG__LEVEL", "loud"),
            ("UNRELATED", "x"),
        ],
    );
    assert_each(
        &found,
        &[
            ("high-templar.toml:1: threads: ", "found \"two\""),
            ("high-templar.toml:2: thread: ", "did you mean threads?"),
            ("high-templar.toml:3: listen: ", "an IP address with a port"),
            ("high-templar.toml:5: backend.timeout: ", "from 10ms to 1h"),
            (
                "high-templar.toml:6: backend.bootstrap: ",
                "without the leading slash",
            ),
            ("high-templar.toml:8: backend.headers.X-A: ", "no `parm`"),
            (
                "high-templar.toml:9: backend.headers.X-B: ",
                "one place only",
            ),
            (
                "high-templar.toml:10: backend.headers.Host: ",
                "sets this header itself",
            ),
            ("high-templar.toml:11: backend.headers.X-C: ", "or false"),
            ("high-templar.toml:12: backend.headers.X-D: ", "one {}"),
            (
                "high-templar.toml:14: limits.mesage_bytes: ",
                "did you mean limits.message_bytes?",
            ),
            (
                "high-templar.toml:15: limits.message_bytes: ",
                "from 1KiB to 64MiB",
            ),
            ("high-templar.toml:16: limits.room_depth: ", "from 1 to 100"),
            ("high-templar.toml:17: limit: ", "did you mean limits?"),
            (
                "high-templar.toml:20: rooms.matching: ",
                "\"wildcard\", \"exact\"",
            ),
            ("HT_HOOKS__QUEUE: ", "found \"many\""),
            ("HT_BACKEND__URI: ", "did you mean HT_BACKEND__URL?"),
            ("HT_LOG__LEVEL: ", "\"error\", \"warn\""),
            ("backend.url: ", "missing"),
        ],
    );
}

#[test]
fn a_broken_file_tells_its_lines_and_nothing_that_follows_from_them() {
    let found = bad("threads = \n\n[backend\nurl = 'http://api/'\n", &[]);
    assert!(
        found.iter().all(|line| line.contains("not valid TOML")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("high-templar.toml:1: ")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("high-templar.toml:3: ")),
        "{found:?}"
    );
    let found = bad("backend = 1", &[URL]);
    assert_each(&found, &[("high-templar.toml:1: backend: ", "[backend]")]);
    let found = bad("[backend]\nurl = 'http://a/'\nurl = 'http://b/'\n", &[]);
    assert_each(
        &found,
        &[("high-templar.toml:3: ", "not valid TOML: duplicate key")],
    );
}

#[test]
fn a_listener_for_other_machines_needs_a_key() {
    for listen in ["0.0.0.0:8002", "[::]:8002", "10.0.0.1:8002"] {
        let variables = [URL, ("HT_INTERNAL__LISTEN", listen)];
        assert_each(
            &bad("", &variables),
            &[("HT_INTERNAL__LISTEN: ", "set internal.api_key")],
        );
        let config = good("[internal]\napi_key = 'k'", &variables);
        assert_eq!(config.server.internal.listen.to_string(), listen);
    }
    for listen in [
        "127.0.0.9:8002",
        "[::1]:8002",
        "[::ffff:127.0.0.1]:8002",
        "unix:/run/i.sock",
    ] {
        good("", &[URL, ("HT_INTERNAL__LISTEN", listen)]);
    }
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let found = bad("", &[URL, ("HT_LISTEN", "0.0.0.0:8002")]);
    assert_each(&found, &[("internal.listen: ", "address of `listen`")]);
    let found = bad("[backend]\nsocket = '/x'\nurl = 'https://api/'", &[]);
    assert_each(
        &found,
        &[("high-templar.toml:2: backend.socket: ", "http://")],
    );
}

fn header_names(config: &Config) -> Vec<&str> {
    config
        .backend
        .headers
        .iter()
        .map(|rule| rule.name.as_str())
        .collect()
}

#[test]
fn headers_are_added_changed_and_switched_off() {
    let file = "[backend]\nurl = 'http://api/'\n[backend.headers]\n\
        X-Real-IP = false\nAuthorization = { param = 'token', format = 'Bearer {}' }\n\
        Z-Last = { fixed = 'z' }\nA-Last = { cookie = 'a' }\nX-None = false\n";
    let config = good(file, &[]);
    let names = [
        "cookie",
        "user-agent",
        "x-csrftoken",
        "authorization",
        "z-last",
        "a-last",
    ];
    assert_eq!(header_names(&config), names);
    assert_eq!(
        config.backend.headers[3].format.as_deref(),
        Some("Bearer {}")
    );
    let found = bad("[backend.headers]\nX-A = false\nx-a = false", &[URL]);
    assert_each(&found, &[("high-templar.toml:3: ", "twice")]);
}

fn hook(call: Option<&ht_backend::config::HookCall>) -> String {
    call.map_or("-".into(), |call| format!("{} {}", call.method, call.path))
}

#[test]
fn the_families_of_the_python_version_are_honoured() {
    type Row<'a> = (
        &'a [(&'a str, &'a str)],
        &'a str,
        Option<&'a str>,
        Option<&'a str>,
        bool,
    );
    let rows: &[Row<'_>] = &[
        // variables, url, socket, Referer, whether serve.py's code is meant
        (
            &[("APP_URL", "https://app.nl")],
            "https://app.nl/api/",
            None,
            Some("https://app.nl"),
            true,
        ),
        (
            &[("APP_URL", "https://app.nl/")],
            "https://app.nl/api/",
            None,
            Some("https://app.nl/"),
            true,
        ),
        (
            &[
                ("APP_URL", "https://app.nl"),
                ("BINDER_INTERNAL", "http://binder/x/"),
            ],
            "http://binder/x/",
            None,
            Some("https://app.nl"),
            true,
        ),
        (
            &[
                ("APP_URL", "https://app.nl"),
                ("BINDER_SOCKET", "/run/b.sock"),
            ],
            "http://localhost/api/",
            Some("/run/b.sock"),
            Some("https://app.nl"),
            true,
        ),
        (
            &[("BINDER_INTERNAL", "http://binder/")],
            "http://binder/",
            None,
            None,
            true,
        ),
        (
            &[
                ("BINDER_INTERNAL", "http://binder/"),
                ("BINDER_SOCKET", "/b"),
            ],
            "http://binder/",
            Some("/b"),
            None,
            true,
        ),
        (
            &[("CY_BINDER_INTERNAL", "http://cy/")],
            "http://cy/",
            None,
            None,
            false,
        ),
        (
            &[("CY_BINDER_SOCKET", "/cy")],
            "http://localhost/api/",
            Some("/cy"),
            None,
            false,
        ),
        (&[("API_URL", "http://a/")], "http://a/", None, None, false),
        (
            &[("API_URL", "http://a/"), ("API_SOCKET", "/a")],
            "http://a/",
            Some("/a"),
            None,
            false,
        ),
        (
            &[
                ("API_URL", "http://a/"),
                ("CY_BINDER_INTERNAL", "http://cy/"),
                ("APP_URL", ""),
            ],
            "http://cy/",
            None,
            None,
            false,
        ),
    ];
    for (variables, url, socket, referer, serve_py) in rows {
        let config = good("", variables);
        assert_eq!(config.backend.url, *url, "{variables:?}");
        assert_eq!(
            config.backend.socket.as_deref(),
            socket.map(Path::new),
            "{variables:?}"
        );
        let fixed = config
            .backend
            .headers
            .iter()
            .find(|rule| rule.name == "referer");
        let expected = referer.map(|referer| HeaderSource::Fixed(referer.to_owned()));
        assert_eq!(
            fixed.map(|rule| &rule.source),
            expected.as_ref(),
            "{variables:?}"
        );
        let session = header_names(&config).contains(&"x-session-token");
        assert_eq!(session, *serve_py, "{variables:?}");
        let hooks = &config.backend.hooks;
        let found =
            [&hooks.connect, &hooks.ping, &hooks.disconnect].map(|call| hook(call.as_ref()));
        let online = "POST user/notify_online/";
        let expected = match serve_py {
            true => [online, online, "POST user/notify_offline/"],
            false => ["-"; 3],
        };
        assert_eq!(found, expected, "{variables:?}");
        let note = config
            .notes
            .iter()
            .find(|note| note.contains("Python version"))
            .unwrap();
        for (name, text) in *variables {
            let used = !text.is_empty() && !(*name == "API_URL" && url.contains("cy"));
            assert_eq!(note.contains(name), used, "{note}: {name}");
        }
    }
}

#[test]
fn newer_settings_beat_those_of_the_python_version() {
    let file = "[backend]\nurl = 'http://new/'\n[hooks]\nping = ''\n\
        [backend.headers]\nX-Session-Token = false\nReferer = { fixed = 'r' }\n\
        [rabbitmq]\nurl = 'amqp://new'\n[log]\nlevel = 'error'\n";
    let variables = [
        ("APP_URL", "https://app.nl"),
        ("RABBITMQ_HOST", "old"),
        ("LOGFILE_LEVEL", "nonsense"),
        ("LOGFILE_PATH", "/var/log/x"),
    ];
    let config = good(file, &variables);
    assert_eq!(config.backend.url, "http://new/");
    assert!(config.backend.hooks.ping.is_none());
    assert!(config.backend.hooks.connect.is_some());
    assert!(!header_names(&config).contains(&"x-session-token"));
    let referer = config
        .backend
        .headers
        .iter()
        .find(|rule| rule.name == "referer")
        .unwrap();
    assert_eq!(referer.source, HeaderSource::Fixed("r".to_owned()));
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://new");
    assert_eq!(config.log.level, Level::Error);
    let notes = config.notes.join("\n");
    assert!(notes.contains("in use: APP_URL\n"), "{notes}");
    assert!(notes.contains("LOGFILE_PATH is not used"), "{notes}");
}

#[test]
fn rabbitmq_and_log_level_come_from_old_variables() {
    let login = [URL, ("RABBITMQ_USERNAME", "u"), ("RABBITMQ_PASSWORD", "p@")];
    let config = good("", &login);
    assert!(config.rabbitmq.is_none());
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("without RABBITMQ_HOST"))
    );
    let config = good("", &[&login[..], &[("RABBITMQ_HOST", "mq:1/v")]].concat());
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://u:p%40@mq:1/v");
    let notes = config.notes.join("\n");
    assert!(
        notes.contains("RABBITMQ_HOST, RABBITMQ_USERNAME, RABBITMQ_PASSWORD"),
        "{notes}"
    );
    assert!(!notes.contains("p%40") && !notes.contains("p@"), "{notes}");
    for (name, level) in [
        ("DEBUG", Level::Debug),
        ("warning", Level::Warn),
        ("CRITICAL", Level::Error),
    ] {
        assert_eq!(
            good("", &[URL, ("LOGFILE_LEVEL", name)]).log.level,
            level,
            "{name}"
        );
    }
    assert_each(
        &bad("", &[URL, ("LOGFILE_LEVEL", "LOUD")]),
        &[("LOGFILE_LEVEL: ", "WARNING")],
    );
    assert_each(
        &bad("", &[("BINDER_INTERNAL", "http://x")]),
        &[("BINDER_INTERNAL: ", "slash")],
    );
}

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

#[test]
fn the_printed_file_is_valid_and_all_default() {
    let printed = super::toml();
    let config = good(&printed, &[]);
    assert_eq!(config.backend.url, "http://localhost:8000/api/");
    // Uncommented, every default is what the setting reads.
    let plain: String = printed
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let same = good(&plain, &[]);
    assert_eq!(format!("{:?}", same.server), format!("{:?}", config.server));
    assert_eq!(
        format!("{:?}", same.backend),
        format!("{:?}", config.backend)
    );
    assert!(same.rabbitmq.is_none());
    assert_eq!(
        printed.matches(" = ").count(),
        KEYS.len()
            + printed.matches("X-Session-Token = ").count()
            + printed.matches("{ param = ").count()
    );
}

#[test]
fn every_setting_is_documented_in_a_section() {
    let page = markdown();
    for setting in described() {
        assert!(
            page.contains(&format!("### `{}`", setting.key)),
            "{}",
            setting.key
        );
        assert!(setting.doc.ends_with('.'), "{}", setting.key);
    }
    for key in KEYS {
        let section = layers::section_of(key);
        assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{key}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in proptest::prop_oneof![
        ".{0,80}",
        "([a-z.]{1,6}|limits|backend|headers|listen|\\[|\\]|=|\"|'|\\{|\\}|\n| |,|[0-9]|true|1979-05-27){0,40}",
    ]) {
        let mut layers = Layers::default();
        let mut mistakes = Mistakes::default();
        layers.file(&text, Path::new("x.toml"), &mut mistakes);
        let values = settings::read(&layers, &mut mistakes);
        build::check(&values, &mut mistakes);
        let _ = build::config(values, Vec::new(), Vec::new());
        let _ = mistakes.to_string();
    }

    #[test]
    fn no_value_panics(at in 0..EVERY.len(), value in proptest::prop_oneof![
        proptest::sample::select(EVERY.iter().map(|(_, value)| *value).collect::<Vec<_>>()),
        proptest::sample::select(vec!["-1", "nan", "inf", "1e400", "[]", "{}", "[[1]]", "99999999999999999999", "''", "false", "1979-05-27"]),
    ]) {
        let mut layers = Layers::default();
        let mut mistakes = Mistakes::default();
        layers.file(&format!("{} = {value}", EVERY[at].0), Path::new("x.toml"), &mut mistakes);
        let values = settings::read(&layers, &mut mistakes);
        build::check(&values, &mut mistakes);
        let _ = build::config(values, Vec::new(), Vec::new());
    }
}
