//! Tests of tenants as they are written: tables of what is read, and of every mistake.

mod logs;

use std::fs;
use std::time::{Duration, Instant};

use ht_backend::config::HeaderSource;
use ht_node::config::{HostName, KeyHash, PublishKey, Right};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::document::of_several;
use super::*;
use crate::config::{Config, Sources};

/// A folder with a configuration file and others.
struct Site(tempfile::TempDir);

impl Site {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let variables = variables.iter();
        let variables = variables.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Sources {
            file: None,
            environment: variables.collect(),
            folder: self.0.path().to_owned(),
        }
        .load()
    }
}

const MAIN: &str = "[backend]\nurl = 'http://main/'\n[tenants]\nsource = 'file'\n";

#[track_caller]
fn good(files: &[(&str, &str)]) -> Vec<TenantConfig> {
    let found = Site::with(files).load(&[("ACME_TOKEN", "geheim"), ("HT_TENANT_X", "x")]);
    let config = found.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mistakes = config.survey.all_mistakes();
    assert!(mistakes.is_empty(), "{mistakes}");
    config.server.tenants.list
}

/// The mistakes, a line each.
#[track_caller]
fn bad(files: &[(&str, &str)]) -> Vec<String> {
    let mistakes = match Site::with(files).load(&[("ACME_TOKEN", "geheim")]) {
        Ok(config) => config.survey.all_mistakes(),
        Err(mistakes) => mistakes,
    };
    assert!(!mistakes.is_empty(), "expected mistakes in {files:?}");
    mistakes.lines().collect()
}

/// A tenant with every setting, one of the sections that it shares for each kind.
const ACME: &str = r#"
name = "acme"
hosts = ["Live.Acme.example.", "bücher.example", "192.0.2.1"]
path = "/acme/"
key = "pk_7f"
origins = ["https://acme.example"]
suspended = true
publish_keys = [
  { hash = "sha256:9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08", may = ["publish"] },
  { key = { file = "acme.key" }, may = ["publish", "command", "read"] },
]
limits = { connections = 1, connections_per_user = 2, messages_per_second = 50_000, publish_per_second = 4, bytes_per_second = "20MiB", handshakes_per_second = 6, window_bytes = "8MiB" }

[backend]
url = "https://api.acme.example/"
timeout = "5s"
max_in_flight = 7
headers = { Authorization = { fixed = { env = "ACME_TOKEN" } }, X-Tenant = { fixed = "acme" } }

[hooks]
connect = "POST online/"
timeout = "3s"
"#;

fn acme() -> TenantConfig {
    let tables = format!(
        "{MAIN}[[tenant]]\n{}",
        ACME.replace("[backend]", "[tenant.backend]")
            .replace("[hooks]", "[tenant.hooks]")
    );
    let files = [
        ("high-templar.toml", &*tables),
        ("acme.key", "a-secret-of-acme\n"),
    ];
    good(&files).remove(0)
}

#[test]
fn every_setting_of_a_tenant_is_read() {
    let tenant = acme();
    assert_eq!(tenant.name.as_str(), "acme");
    let hosts: Vec<_> = tenant.hosts.iter().map(HostName::as_str).collect();
    assert_eq!(
        hosts,
        ["live.acme.example", "xn--bcher-kva.example", "192.0.2.1"]
    );
    assert_eq!(
        (&*tenant.path, tenant.key.as_deref()),
        ("/acme/", Some("pk_7f"))
    );
    assert!(tenant.is_suspended);
    let test = KeyHash::new(Sha256::digest(b"test").into());
    let own = KeyHash::new(Sha256::digest(b"a-secret-of-acme").into());
    let may = |rights: &[Right]| rights.iter().copied().collect();
    let all = [Right::Publish, Right::Command, Right::Read];
    let keys = [
        PublishKey {
            hash: test,
            may: may(&all[..1]),
        },
        PublishKey {
            hash: own,
            may: may(&all),
        },
    ];
    assert_eq!(tenant.publish_keys, keys);
    let limits = TenantLimits {
        connections: 1,
        connections_per_user: 2,
        messages_per_second: 50_000,
        publish_per_second: 4,
        bytes_per_second: 20 << 20,
        handshakes_per_second: 6,
        window_bytes: 8 << 20,
    };
    assert_eq!(tenant.limits, limits);
    let backend = &tenant.backend;
    assert_eq!(backend.url, "https://api.acme.example/");
    assert_eq!(backend.timeout, Duration::from_secs(5));
    assert_eq!(backend.guard.max_in_flight, 7);
    assert_eq!(backend.hooks.connect.as_ref().unwrap().path, "online/");
    assert_eq!(backend.hooks.timeout, Duration::from_secs(3));
    let fixed = |name: &str| {
        let rule = backend.headers.iter().find(|rule| rule.name == name);
        rule.unwrap().source.clone()
    };
    assert_eq!(
        fixed("authorization"),
        HeaderSource::Fixed("geheim".to_owned())
    );
    assert_eq!(fixed("x-tenant"), HeaderSource::Fixed("acme".to_owned()));
    assert_eq!(tenant.origins.allow[0].to_string(), "https://acme.example");
}

#[test]
fn a_tenant_is_the_same_from_every_source() {
    let key = ("acme.key", "a-secret-of-acme");
    let folder = format!("{MAIN}file = 'tenants'\n");
    let one = format!("{MAIN}file = 'all.toml'\n");
    let tables = format!(
        "[[tenant]]\n{}",
        ACME.replace("[backend]", "[tenant.backend]")
            .replace("[hooks]", "[tenant.hooks]")
    );
    let json = of_one(ACME, Path::new("acme.toml")).to_json();
    let json = json.to_string();
    let expected = |mut tenant: TenantConfig| {
        tenant.origins.written = OriginsWritten::Nowhere;
        tenant
    };
    for files in [
        [("high-templar.toml", &*one), ("all.toml", &*tables), key],
        [
            ("high-templar.toml", &*folder),
            ("tenants/acme.toml", ACME),
            key,
        ],
        [
            ("high-templar.toml", &*folder),
            ("tenants/acme.json", &*json),
            key,
        ],
    ] {
        let found = good(&files);
        assert_eq!(found.len(), 1, "{files:?}");
        for tenant in found {
            assert_eq!(expected(tenant), expected(acme()), "{files:?}");
        }
    }
}

#[test]
fn what_a_tenant_leaves_out_has_its_default_and_not_that_of_the_node() {
    let main = "[backend]\nurl = 'http://main/'\ntimeout = '1s'\nheaders = { X-Secret = { fixed = 'geheim' } }\n\
                [hooks]\nconnect = 'POST c/'\n[limits]\nconnections = 7\n\
                [tenants]\nsource = 'file'\n[[tenant]]\nname = 'a'\nbackend = { url = 'http://a/' }\n";
    let tenant = good(&[("high-templar.toml", main)]).remove(0);
    assert_eq!(&*tenant.path, "/t/a/ws/");
    assert_eq!(tenant.backend.timeout, Duration::from_secs(10));
    assert!(tenant.backend.hooks.connect.is_none());
    assert!(
        tenant
            .backend
            .headers
            .iter()
            .all(|rule| rule.name != "x-secret")
    );
    assert_eq!(tenant.limits, TenantLimits::default());
    assert!(tenant.hosts.is_empty() && tenant.publish_keys.is_empty() && tenant.key.is_none());
}

#[test]
fn all_mistakes_of_all_tenants_are_told_at_once_with_file_and_line() {
    let folder = format!("{MAIN}file = 'tenants'\n[[tenant]]\nname = 'A'\n");
    let found = bad(&[
        ("high-templar.toml", &folder),
        (
            "tenants/a.toml",
            "hosts = ['x.example']\n[backend]\nurl = 'http://a'\n[limits]\nconnections = -1\n",
        ),
        (
            "tenants/b.toml",
            "hosts = ['x.example', '*.b']\nbackend = { url = 'http://b/', timeout = 'soon' }\n",
        ),
        (
            "tenants/c.toml",
            "name = 'other-c'\nbackend = { url = 'http://c/' }\n",
        ),
        ("tenants/d.toml", "backend = 7\nnoise = 1\n"),
        ("tenants/e.toml", "backend = {\n"),
        ("tenants/f.json", "{\n\"backend\": }"),
        ("tenants/main.toml", "backend = { url = 'http://m/' }\n"),
        ("tenants/.hidden.toml", "rubbish"),
        ("tenants/README.md", "rubbish"),
    ]);
    for part in [
        "high-templar.toml:7: tenant A: name: expected a name of 1 to 40",
        "high-templar.toml:6: tenant A: backend.url: this setting is missing",
        "tenants/a.toml:3: tenant a: backend.url: end it with a slash",
        "tenants/a.toml:5: tenant a: limits.connections: expected a whole number",
        "tenants/b.toml:1: tenant b: hosts: \"*.b\": a tenant's hosts are listed one by one",
        "tenants/b.toml:2: tenant b: backend.timeout: expected a time",
        "tenants/c.toml:1: tenant other-c: name: the file of a tenant has its name",
        "tenants/d.toml:1: tenant d: backend: this is a section",
        "tenants/d.toml:2: tenant d: noise: there is no such setting",
        "tenants/e.toml:1: this is not valid TOML",
        "tenants/f.json:2: this is not valid JSON",
        "tenants/main.toml: tenant main: name: main is the tenant of [backend]",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(part)),
            "no {part:?} in\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), 12, "{}", found.join("\n"));
}

#[test]
fn a_rule_that_a_tenant_breaks_is_told() {
    let hash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (text, part) in [
        (
            "hooks = { queue = 7 }",
            "hooks.queue: this is a setting of the node",
        ),
        ("threads = 7", "threads: this is a setting of the node"),
        (
            "tcp = { send_buffer = 7 }",
            "tcp.send_buffer: this is a setting of the node",
        ),
        (
            "limits = { trigger_bytes = 7 }",
            "limits.trigger_bytes: this is a setting of the node",
        ),
        (
            "limits = { conections = 7 }",
            "did you mean limits.connections?",
        ),
        ("host = ['a']", "did you mean hosts?"),
        (
            "features = { presence = true }",
            "features: there is no such section",
        ),
        (
            "path = 'ws'",
            "path: expected a path that begins with a slash",
        ),
        ("path = '/'", "a tenant's path has a name of its own"),
        ("path = '/health/'", "this is the path of the health check"),
        ("key = 'a b'", "key: expected a text of up to 100 letters"),
        ("hosts = ['https://a.example']", "write the host alone"),
        ("hosts = ['https://bücher.example']", "write the host alone"),
        ("hosts = ['a.example:80']", "leave the port out"),
        ("hosts = ['xn--a-ecp.ru.']", ""),
        (
            "publish_keys = ['geheim']",
            "publish_keys: key 1: expected { hash =",
        ),
        (
            "publish_keys = [{ hash = 'geheim', may = ['read'] }]",
            "SHA-256 digest of the key",
        ),
        (
            "publish_keys = [{ key = 'geheimgeheimgeheim', may = ['read'] }]",
            "a key itself is not written here",
        ),
        (
            "publish_keys = [{ key = { env = 'ACME_TOKEN' }, may = ['read'] }]",
            "a key of at least 16",
        ),
        (
            &format!("publish_keys = [{{ hash = '{hash}', may = ['admin'] }}]"),
            "cannot have the right admin",
        ),
        (
            &format!("publish_keys = [{{ hash = '{hash}', may = [] }}]"),
            "a list of at least one of",
        ),
        (
            &format!("publish_keys = [{{ hash = '{hash}' }}]"),
            "expected { hash =",
        ),
        (
            &format!(
                "publish_keys = [{{ hash = '{hash}', key = {{ env = 'LONG' }}, may = ['read'] }}]"
            ),
            "the variable LONG is not set",
        ),
        (
            &format!(
                "publish_keys = [{{ hash = '{hash}', may = ['read'] }}, {{ hash = '{hash}', may = ['read'] }}]"
            ),
            "key 2 is written twice",
        ),
        (
            "key = { file = 'no.key' }",
            "cannot read the secret in no.key: there is no such file",
        ),
        ("key = { env = 'NO' }", "the variable NO is not set"),
        (
            "backend.headers = { Authorization = { fixed = 'geheim' } }",
            "looks like a secret",
        ),
        (
            "backend.headers = { X-Api-Key = { fixed = 'geheim' } }",
            "looks like a secret",
        ),
        (
            "backend.headers = { Connection = { header = 'a' } }",
            "the gateway sets this header itself",
        ),
        ("backend.bootstrap = '../a'", "cannot be called"),
        ("backend.tls_ca_file = 'no.pem'", ""),
    ] {
        let url = "backend.url = 'https://a/'\n";
        let tenant = format!("{url}{text}\n");
        let main = format!("{MAIN}file = 'tenants'\n");
        let files = [("high-templar.toml", &*main), ("tenants/a.toml", &*tenant)];
        if part.is_empty() {
            // Whether it is one depends on more than the text.
            let _ = Site::with(&files).load(&[]);
            continue;
        }
        let found = bad(&files);
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{text}: {}",
            found.join("\n")
        );
        let shown = found.join("\n");
        assert!(!shown.contains("geheim"), "{shown}");
    }
}

#[test]
fn mistakes_of_one_tenant_leave_the_others_as_they_are() {
    let folder = format!("{MAIN}file = 'tenants'\n");
    let fixed = |what: &str| {
        format!("backend = {{ url = 'http://x/', headers = {{ X-A = {{ fixed = {what} }} }} }}\n")
    };
    let site = Site::with(&[
        ("high-templar.toml", &folder),
        ("tenants/a.toml", "backend = { url = 'http://a/' }\n"),
        ("tenants/broken.toml", "backend = {\n"),
        ("tenants/wrong.toml", "backend = { url = 'http://a' }\n"),
        (
            "tenants/b.toml",
            "hosts = ['x.example']\nbackend = { url = 'http://b/' }\n",
        ),
        (
            "tenants/c.toml",
            "hosts = ['x.example']\nbackend = { url = 'http://c/' }\n",
        ),
        ("tenants/elsewhere.toml", &fixed("{ env = 'NOT_HERE' }")),
        ("tenants/lost.toml", &fixed("{ file = 'not-here' }")),
        ("tenants/twice.toml", "backend = { url = 'http://t/' }\n"),
        (
            "tenants/twice.json",
            "{\"backend\": {\"url\": \"http://u/\"}}",
        ),
    ]);
    let config = site
        .load(&[])
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    // Whose the host is, and which of two files counts, is not for the gateway to guess.
    let served = config.server.tenants.list.iter();
    let served: Vec<_> = served.map(|it| it.name.as_str()).collect();
    assert_eq!(served, ["a"]);
    let survey = config.survey;
    let shown: Vec<_> = survey
        .tenants
        .iter()
        .map(|it| {
            let state = (it.mistakes.lines().count(), it.missing.len());
            (it.document.name(), state, it.config().is_some())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a", (0, 0), true),
            ("b", (0, 0), true),
            ("broken", (1, 0), false),
            ("c", (1, 0), true),
            ("elsewhere", (0, 1), true),
            ("lost", (1, 0), true),
            ("twice", (0, 0), true),
            ("twice", (1, 0), false),
            ("wrong", (1, 0), false),
        ]
    );
    assert_eq!(survey.all_mistakes().lines().count(), 6);
}

#[test]
fn a_reference_that_cannot_be_read_is_told_once_whatever_it_is_for() {
    let folder = format!("{MAIN}file = 'tenants'\n");
    for text in [
        "backend.headers = { Authorization = { fixed = { env = 'NO' } } }",
        "backend.headers = { Authorization = { fixed = 'geheim' } }",
        "publish_keys = [{ key = { env = 'NO' }, may = ['read'] }]",
        "hosts = [{ env = 'NO' }]",
        "hosts = { env = 'NO' }",
        "key = { env = 'NO' }",
        "backend.timeout = { file = 'no' }",
        "limits = { connections = { env = 'NO' } }",
    ] {
        let tenant = format!("backend.url = 'http://a/'\n{text}\n");
        let found = bad(&[("high-templar.toml", &folder), ("tenants/a.toml", &tenant)]);
        assert_eq!(found.len(), 1, "{text}: {}", found.join("\n"));
    }
    let tenant = "backend.url = { env = 'NO' }\n";
    let found = bad(&[("high-templar.toml", &folder), ("tenants/a.toml", tenant)]);
    assert_eq!(found.len(), 1, "{}", found.join("\n"));
}

#[test]
fn commands_about_tenants_need_nothing_of_the_service() {
    let site = Site::with(&[
        (
            "high-templar.toml",
            "websocket_path = '/live/'\nlisten = 7\n[backend]\ntimeout = 'soon'\n\
             [internal]\nlisten = '0.0.0.0:8002'\napi_key_file = '/nowhere/at/all'\n\
             [tenants]\nsource = 'file'\nfile = 'tenants'\n",
        ),
        ("tenants/a.toml", "backend = { url = 'http://a/' }\n"),
    ]);
    assert!(site.load(&[]).is_err());
    let sources = Sources {
        folder: site.0.path().to_owned(),
        ..Sources::default()
    };
    let (tenancy, websocket_path) = sources.tenancy().unwrap();
    assert_eq!(websocket_path, "/live/");
    assert_eq!(tenancy.survey().good().len(), 1);
    for (text, part) in [
        ("[tenants\n", "not valid TOML"),
        ("[tenants]\nsource = 'flie'\n", "tenants.source: expected"),
        (
            "[tenants]\nfile = 'x'\n",
            "tenants.file: set tenants.source",
        ),
    ] {
        fs::write(site.0.path().join("high-templar.toml"), text).unwrap();
        let found = sources.tenancy().unwrap_err().to_string();
        assert!(found.contains(part), "{text}: {found}");
    }
}

#[test]
fn sources_that_contradict_each_other_are_mistakes() {
    let tenant = "[[tenant]]\nname = 'a'\nbackend.url = 'http://a/'\n";
    for (text, part) in [
        (tenant.to_owned(), "tenant: set tenants.source = \"file\""),
        (
            "[tenants]\nfile = 'x'\n".to_owned(),
            "tenants.file: set tenants.source",
        ),
        (
            "[tenants]\nurl = 'http://r/'\n".to_owned(),
            "tenants.url: set tenants.source",
        ),
        (
            "[tenants]\nsource = 'file'\n".to_owned(),
            "there are no tenants",
        ),
        (
            "[tenants]\nsource = 'file'\nfile = 'no'\n".to_owned(),
            "no: tenants.file: cannot read it",
        ),
        (
            "[tenants]\nsource = 'http'\n".to_owned(),
            "tenants.url is missing",
        ),
        (
            "[tenants]\nsource = 'http'\nurl = 'http://r'\n".to_owned(),
            "tenants.url: end it with a slash",
        ),
        (
            "[tenants]\nsource = 'flie'\nfile = 'x'\n".to_owned(),
            "tenants.source: expected",
        ),
        (
            format!("[tenants]\nsource = 'http'\nurl = 'http://r/'\n{tenant}"),
            "all tenants are those of the registry",
        ),
        (
            format!("[tenants]\nsource = 'file'\ndefault = 'A'\n{tenant}"),
            "\"main\" or the name of a tenant",
        ),
    ] {
        let text = format!("[backend]\nurl = 'http://main/'\n{text}");
        let found = bad(&[("high-templar.toml", &text)]);
        assert!(found[0].contains(part), "{text}: {found:?}");
        assert_eq!(found.len(), 1, "each mistake is told once: {found:?}");
    }
    let nobody = format!("[tenants]\nsource = 'file'\ndefault = 'main'\n{tenant}");
    let found = bad(&[("high-templar.toml", &nobody)]).join("\n");
    assert!(
        found.contains("no tenant main without backend.url"),
        "{found}"
    );
    let without = good(&[("high-templar.toml", &nobody.replace("'main'", "'a'"))]);
    assert_eq!(without.len(), 1, "backend.url is not needed");
}

#[test]
fn a_tenant_that_others_wrote_reaches_neither_files_nor_variables() {
    let folder = tempfile::tempdir().unwrap();
    for owner in ["a", "b"] {
        fs::create_dir_all(folder.path().join("secrets").join(owner)).unwrap();
        fs::write(
            folder.path().join("secrets").join(owner).join(owner),
            "geheim",
        )
        .unwrap();
    }
    fs::write(folder.path().join("secrets/a/acme"), "from a file").unwrap();
    for other in ["other", "secrets/other"] {
        fs::write(folder.path().join(other), "geheim").unwrap();
    }
    let environment = [("HT_TENANT_A__X", "a"), ("HT_INTERNAL__API_KEY", "geheim")];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let environment = environment.into_iter().collect();
    let read = |backend: serde_json::Value, secrets: Option<&str>| {
        let reader = Reader {
            main_hosts: &[],
            environment: &environment,
            folder: folder.path(),
            trust: Trust::Others(secrets.map(PathBuf::from)),
            logs: &LogRules::default(),
        };
        let json = json!({ "name": "a", "backend": backend });
        let mut mistakes = Mistakes::default();
        let document = tenant_of_json(json, "the registry");
        let found = reader.one(&document, &mut mistakes);
        assert_eq!(found.is_some(), mistakes.is_empty());
        mistakes.to_string()
    };
    let with = |reference: serde_json::Value| {
        json!({
            "url": "http://a/", "headers": { "Authorization": { "fixed": reference } },
        })
    };
    for good in [
        json!({ "file": "acme" }),
        json!({ "file": "secrets/a/acme" }),
        json!({ "env": "HT_TENANT_A__X" }),
    ] {
        let found = read(with(good.clone()), Some("secrets"));
        assert_eq!(found, Mistakes::default().to_string(), "{good}");
    }
    for (bad, secrets, part) in [
        (
            json!({ "file": "acme" }),
            None,
            "tenants.secrets, which is not set",
        ),
        (
            json!({ "file": "../other" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": "/etc/passwd" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": ".." }),
            Some("secrets"),
            "by its name alone",
        ),
        (json!({ "file": "" }), Some("secrets"), "by its name alone"),
        (
            json!({ "file": "b" }),
            Some("secrets"),
            "there is no such file",
        ),
        (
            json!({ "file": "../b/b" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": "secrets/b/b" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": "secrets/a/../b/b" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": "secrets/other" }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "file": "secrets/a/.." }),
            Some("secrets"),
            "by its name alone",
        ),
        (
            json!({ "env": "HT_TENANT_B__X" }),
            Some("secrets"),
            "begin with HT_TENANT_A__",
        ),
        (
            json!({ "file": "no" }),
            Some("secrets"),
            "there is no such file",
        ),
        (
            json!({ "env": "HT_INTERNAL__API_KEY" }),
            Some("secrets"),
            "begin with HT_TENANT_A__",
        ),
        (json!("geheim"), Some("secrets"), "looks like a secret"),
    ] {
        let found = read(with(bad.clone()), secrets);
        assert!(found.contains(part), "{bad}: {found}");
        assert!(!found.contains("geheim"), "{found}");
    }
    for backend in [
        json!({ "url": "http://a/", "socket": "/run/docker.sock" }),
        json!({ "url": "https://a/", "tls_ca_file": "/etc/passwd" }),
        json!({ "url": "http://a/", "headers_file": "/etc/passwd" }),
    ] {
        let found = read(backend.clone(), Some("secrets"));
        assert!(
            found.contains("may name a file or a socket"),
            "{backend}: {found}"
        );
    }
}

#[test]
fn no_spelling_of_a_setting_gets_around_what_tenants_may_have() {
    let headers = json!({ "Authorization": { "fixed": "geheim" } });
    for (json, part) in [
        (json!({ "backend.socket": "/x.sock" }), "\"backend.socket\""),
        (
            json!({ "backend.tls_ca_file": "/x.pem" }),
            "backend.tls_ca_file",
        ),
        (json!({ "backend.headers": headers }), "\"backend.headers\""),
        (
            json!({ "backend.headers.Authorization": { "fixed": "geheim" } }),
            "no setting",
        ),
        (json!({ "hooks.connect": "POST a/" }), "\"hooks.connect\""),
        (json!({ "": { "backend.socket": "/x.sock" } }), "no setting"),
        (
            json!({ "": { "backend": { "socket": "/x.sock" } } }),
            "no setting",
        ),
        (json!({ "": { "backend.headers": headers } }), "no setting"),
        (
            json!({ "": { "": { "backend.headers": headers } } }),
            "no setting",
        ),
        (json!({ ".backend": { "headers": headers } }), "no setting"),
        (json!({ "backend.": { "headers": headers } }), "no setting"),
        (
            json!({ "backend": { "headers.Authorization": { "fixed": "geheim" } } }),
            "no such",
        ),
        (
            json!({ "backend": { "": { "headers": headers } } }),
            "no such",
        ),
        (
            json!({ "backend": { "backend.headers": headers } }),
            "no such",
        ),
        (
            json!({ "backend": { "backend": { "headers": headers } } }),
            "no such",
        ),
        (
            json!({ "tenant": { "backend": { "headers": headers } } }),
            "no such",
        ),
        (json!({ "Backend": { "headers": headers } }), "no such"),
    ] {
        let mut json = json;
        json["name"] = json!("a");
        if json["backend"].is_null() {
            json["backend"] = json!({});
        }
        json["backend"]["url"] = json!("https://a/");
        for trust in [Trust::Operator, Trust::Others(Some("secrets".into()))] {
            let reader = Reader {
                main_hosts: &[],
                environment: &BTreeMap::new(),
                folder: Path::new("/nonexistent"),
                trust: trust.clone(),
                logs: &LogRules::default(),
            };
            let mut mistakes = Mistakes::default();
            let found = reader.one(&tenant_of_json(json.clone(), "the registry"), &mut mistakes);
            let shown = mistakes.to_string();
            assert!(found.is_none(), "{trust:?} {json}");
            assert!(shown.contains(part), "{trust:?} {json}: {shown}");
            assert!(!shown.contains("geheim"), "{shown}");
        }
    }
    for text in [
        "'backend.headers' = { Authorization = { fixed = 'geheim' } }",
        "['backend.headers']\nAuthorization = { fixed = 'geheim' }",
        "[''.'backend.headers']\nAuthorization = { fixed = 'geheim' }",
        "['backend.headers'.Authorization]\nfixed = 'geheim'",
    ] {
        let main = format!("{MAIN}file = 'tenants'\n");
        let tenant = format!("backend.url = 'https://a/'\n{text}\n");
        let files = [("high-templar.toml", &*main), ("tenants/a.toml", &*tenant)];
        let found = bad(&files).join("\n");
        assert!(found.contains("no setting"), "{text}: {found}");
        assert!(!found.contains("geheim"), "{found}");
    }
}

#[test]
fn a_variable_is_of_one_tenant_alone() {
    let names = [
        "a", "a-", "a-b", "a--b", "a-b-", "b", "-b", "x", "a--x", "a---x",
    ];
    let variables = [
        ("HT_TENANT_A__X", Some("a")),
        ("HT_TENANT_A__X_Y", Some("a")),
        ("HT_TENANT_A___X", Some("a-")),
        ("HT_TENANT_A_B__X", Some("a-b")),
        ("HT_TENANT_A__B__X", Some("a--b")),
        ("HT_TENANT_A_B___X", Some("a-b-")),
        ("HT_TENANT__B__X", Some("-b")),
        ("HT_TENANT_A__B_X", Some("a")),
        ("HT_TENANT_A__X__", None),
        ("HT_TENANT_A__", None),
        ("HT_TENANT_A_X", None),
        ("HT_TENANT_A", None),
        ("HT_TENANT_", None),
        ("HT_TENANT_a__X", None),
        ("XHT_TENANT_A__X", None),
        ("A__X", None),
    ];
    let environment = variables.map(|(variable, _)| (variable.to_owned(), "text".to_owned()));
    let environment = environment.into_iter().collect();
    let may = |name: serde_json::Value, variable: &str| {
        let reader = Reader {
            main_hosts: &[],
            environment: &environment,
            folder: Path::new("/nonexistent"),
            trust: Trust::Others(None),
            logs: &LogRules::default(),
        };
        let headers = json!({ "X-A": { "fixed": { "env": variable } } });
        let json = json!({ "name": name, "backend": { "url": "http://a/", "headers": headers } });
        let mut mistakes = Mistakes::default();
        reader.one(&tenant_of_json(json, "the registry"), &mut mistakes);
        mistakes.is_empty()
    };
    for (variable, owner) in variables {
        for name in names {
            let is_own = owner == Some(name);
            assert_eq!(may(json!(name), variable), is_own, "{name} {variable}");
        }
    }
    for name in [
        json!({ "env": "HT_TENANT_A__X" }),
        json!(""),
        json!("A"),
        json!(null),
        json!(["a"]),
    ] {
        assert!(!may(name.clone(), "HT_TENANT_A__X"), "{name}");
    }
}

#[test]
fn ten_thousand_tenants_are_read_in_one_file() {
    let one = |number: usize| {
        format!(
            "[[tenant]]\nname = \"t{number}\"\nhosts = [\"t{number}.example\"]\nkey = \"pk_{number}\"\n\
             backend = {{ url = \"https://t{number}.example/api/\", timeout = \"5s\" }}\n\
             origins = [\"https://t{number}.example\"]\nlimits = {{ connections = 5000 }}\n"
        )
    };
    let text: String = (0..10_000).map(one).collect();
    let main = format!("{MAIN}file = 'all.toml'\n");
    let site = Site::with(&[("high-templar.toml", &main), ("all.toml", &text)]);
    let began = Instant::now();
    let config = site
        .load(&[])
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let took = began.elapsed();
    assert_eq!(config.server.tenants.list.len(), 10_000);
    // A debug build, beside other tests; a release build takes a small part of it.
    assert!(took < Duration::from_secs(30), "{took:?}");
    eprintln!("10,000 tenants: {took:?}");
}

#[test]
fn the_schema_names_every_setting_and_no_other() {
    let schema = json_schema();
    let properties = &schema["properties"];
    for key in KEYS.iter() {
        let found = match key.split_once('.') {
            None => &properties[key],
            Some(("origins", name)) => &properties["origins"]["anyOf"][1]["properties"][name],
            Some((section, name)) => &properties[section]["properties"][name],
        };
        assert!(found["description"].is_string(), "{key}: {found}");
    }
    let published = include_str!("../../../docs/tenant.schema.json");
    assert_eq!(
        published,
        format!("{schema:#}\n"),
        "high-templar tenant schema > docs/tenant.schema.json"
    );
}

proptest! {
    #[test]
    fn no_tenant_panics(text in prop_oneof![
        ".{0,80}",
        "([a-z.]{1,6}|name|hosts|backend|headers|limits|publish_keys|env|file|url|\\[|\\]|=|\"|'|\\{|\\}|\n| |,|[0-9]|true){0,40}",
    ]) {
        for name in ["a.toml", "a.json"] {
            let mut mistakes = Mistakes::default();
            for is_one in [true, false] {
                let documents = if is_one {
                    vec![of_one(&text, Path::new(name))]
                } else {
                    of_several(&text, Path::new(name), &mut mistakes)
                };
                let reader = Reader {
                    main_hosts: &[],
                    environment: &BTreeMap::new(),
                    folder: Path::new("/nonexistent"),
                    trust: Trust::Others(None),
                    logs: &LogRules::default(),
                };
                let _ = documents.iter().map(Document::to_json).collect::<Vec<_>>();
                let count = documents.len();
                let survey = Survey::of(documents, Mistakes::default(), &reader);
                prop_assert!(survey.good().len() <= count);
                prop_assert_eq!(survey.whole().is_ok(), survey.good().len() == count);
            }
            let _ = mistakes.to_string();
        }
    }
}

#[test]
fn a_format_has_the_name_of_a_scheme_and_no_secret() {
    for (format, is_fine) in [
        ("Token {}", true),
        ("Bearer {}", true),
        ("Token token=\"{}\"", true),
        ("session-id={};", true),
        ("Basic c2VjcmV0OnM= {}", false),
        ("Bearer sk_live_123 {}", false),
        ("{} and a long text that nobody needs beside it", false),
    ] {
        for (name, matters) in [
            ("Authorization", true),
            ("X-Api-Key", true),
            ("X-Site", false),
        ] {
            let json = serde_json::json!({
                "name": "acme",
                "backend": {
                    "url": "http://a/",
                    "headers": { name: { "param": "t", "format": format } },
                },
            });
            let mut mistakes = Mistakes::default();
            let reader = Reader {
                main_hosts: &[],
                environment: &BTreeMap::new(),
                folder: Path::new("."),
                trust: Trust::Others(None),
                logs: &LogRules::default(),
            };
            reader.one(&tenant_of_json(json, "here"), &mut mistakes);
            assert_eq!(
                mistakes.is_empty(),
                is_fine || !matters,
                "{name} {format}: {mistakes}"
            );
        }
    }
}
