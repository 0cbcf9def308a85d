//! Tests of the whole configuration.

mod every;
mod legacy;
mod secrets;
mod sources;

use std::fs;
use std::time::Duration;

use ht_node::config::Matching;

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
pub(crate) fn good(file: &str, variables: &[(&str, &str)]) -> Config {
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
        ht_node::config::ServerLimits::default()
    );
    assert_eq!(
        config.server.hooks,
        ht_node::config::HookQueueConfig::default()
    );
    let compression = ht_node::config::Compression::default();
    assert_eq!(config.server.compression, Some(compression));
    assert!(config.rabbitmq.is_none());
    assert!(config.backend.hooks.connect.is_none());
    assert_each(&bad("", &[]), &[("backend.url: ", "missing")]);
}

#[test]
fn origins_and_proxies_are_lists_in_several_forms() {
    let texts = |config: &Config| {
        let origins = config.server.public.origins.allow.iter();
        origins.map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = ["https://a.example", "*.b.example:81"];
    let list = "[\"https://a.example\", \"*.b.example:81\"]";
    for config in [
        good(&format!("origins = {list}\n"), &[URL]),
        good(&format!("[origins]\nallow = {list}\n"), &[URL]),
        good("", &[URL, ("HT_ORIGINS", list)]),
        good(
            "",
            &[URL, ("HT_ORIGINS", "https://a.example, *.b.example:81,")],
        ),
        good(
            "origins = [\"x.example\"]",
            &[URL, ("HT_ORIGINS__ALLOW", list)],
        ),
    ] {
        assert_eq!(texts(&config), both);
    }
    assert!(
        texts(&good(
            "origins = [\"a.example\"]",
            &[URL, ("HT_ORIGINS", "")]
        ))
        .is_empty()
    );
    let nobody = good("trusted_proxies = []\n", &[URL]);
    assert!(nobody.server.public.trusted_proxies.entries().is_empty());
    let file = "origins = [\"https://a.example/\", \"a*.example\"]\ntrusted_proxies = [\"localhost\", \"::1\"]\n";
    assert_each(
        &bad(file, &[URL, ("HT_PROXY_PROTOCOL", "maybe")]),
        &[
            (
                "high-templar.toml:1: origins.allow: ",
                "\"https://a.example/\": an origin ends with",
            ),
            (
                "high-templar.toml:1: origins.allow: ",
                "\"a*.example\": * stands for",
            ),
            (
                "high-templar.toml:2: trusted_proxies: ",
                "\"localhost\": expected an address",
            ),
            ("HT_PROXY_PROTOCOL: ", "true or false"),
        ],
    );
    assert_each(
        &bad("origins = \"https://a.example\"\n[limits]\n", &[URL]),
        &[("high-templar.toml:1: origins: ", "write its settings under")],
    );
    assert_each(
        &bad("trusted_proxies = \"unix\"\n", &[URL]),
        &[("high-templar.toml:1: trusted_proxies: ", "a list of texts")],
    );
}

#[test]
fn compression_can_be_switched_off() {
    let config = good("[compression]\nenabled = false\nlevel = 9\n", &[URL]);
    assert_eq!(config.server.compression, None);
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
Host = { header = "X-Forwarded-Host" }
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
                "clients must not choose it",
            ),
            ("high-templar.toml:11: backend.headers.X-C: ", "or false"),
            ("high-templar.toml:12: backend.headers.X-D: ", "one {}"),
            (
                "high-templar.toml:14: limits.mesage_bytes: ",
                "did you mean limits.message_bytes?",
            ),
            (
                "high-templar.toml:15: limits.message_bytes: ",
                "from 1KiB to 2MiB",
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
fn a_list_without_an_end_is_one_mistake_in_the_line_where_it_begins() {
    let after = "threads = 1\n[backend]\nurl = 'http://api/'\n[origins]\nallow = ['a', 'b']\n";
    for (before, list) in [
        ("", "trusted_proxies = [\"127.0.0.1\"\n"),
        (
            "# [\n[limits]\nrooms_per_trigger = 3\n",
            "x = [\n  'a', # one\n  'b',\n",
        ),
        ("\n\n", "x = [[1], [2]\n"),
    ] {
        let line = before.lines().count() + 1;
        let found = bad(&format!("{before}{list}{after}"), &[]);
        let place = format!("high-templar.toml:{line}: ");
        assert_each(
            &found,
            &[(&place, "the list that begins in this line has no `]`")],
        );
    }
    // Mistakes found before it are reported as well.
    let found = bad("threads = \nx = [1\ny = 2\n", &[]);
    assert_each(
        &found,
        &[
            ("high-templar.toml:1: ", "not valid TOML"),
            ("high-templar.toml:2: ", "has no `]`"),
        ],
    );
}

#[test]
fn a_broken_file_reports_its_lines_and_no_consequences() {
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
}

#[test]
fn a_name_that_is_written_twice_is_reported_with_both_lines() {
    for (file, place, sentence) in [
        (
            "[backend]\nurl = 'http://a/'\nurl = 'http://b/'\n",
            "high-templar.toml:3: backend.url: ",
            "line 2 sets it already: keep one of the two",
        ),
        (
            "threads = 1\nlisten = '127.0.0.1:1'\n\"threads\" = 2\n[backend]\nurl = 'http://a/'\n",
            "high-templar.toml:3: threads: ",
            "line 1 sets it already: keep one of the two",
        ),
        (
            "backend.url = 'http://a/'\nbackend.timeout = 1\nbackend.url = 'http://b/'\n",
            "high-templar.toml:3: backend.url: ",
            "line 1 sets it already: keep one of the two",
        ),
        (
            "[backend.headers]\nX-A = false\n[limits]\n[backend]\nurl = 'http://a/'\n\
             [backend.headers]\n",
            "high-templar.toml:6: backend.headers: ",
            "the section [backend.headers] begins in line 1 already: move its settings there",
        ),
        (
            "[log]\n\n# again\n[ log ]\nlevel = 'debug'\n",
            "high-templar.toml:4: log: ",
            "the section [log] begins in line 1 already: move its settings there",
        ),
        (
            "origins = ['https://a.example']\n[origins]\nrequire = true\n",
            "high-templar.toml:2: origins: ",
            "line 1 sets `origins` already, which cannot stand beside the section [origins]: write \
             it as `allow = …` under [origins] instead",
        ),
        (
            "threads = 1\n[threads]\n",
            "high-templar.toml:2: threads: ",
            "line 1 sets it already: keep one of the two",
        ),
        // It is ambiguous which of them is meant: the line is named all the same.
        (
            "[backend]\nheaders = { X-A = false, X-A = false }\n",
            "high-templar.toml:2: ",
            "duplicate key",
        ),
    ] {
        assert_each(&bad(file, &[URL]), &[(place, sentence)]);
    }
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
        good(
            "[internal]\nkeys = [{ key = 'k', may = ['read'] }]",
            &variables,
        );
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
    let keys = "[internal]\napi_key = ['geheim', 'k']\nkeys = [{ key = 'k', may = ['read'] }]";
    let found = bad(keys, &[URL]);
    assert_each(
        &found,
        &[(
            "high-templar.toml:3: internal.keys: ",
            "key 1 is in internal.api_key as well",
        )],
    );
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
