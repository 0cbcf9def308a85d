//! Tests of the sources: files that change, and a registry that answers everything possible.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use ht_node::config::TenantName;
use ht_node::directory::conflicts;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Config, Sources};

/// The tenants in force, as a gateway has them.
#[derive(Default)]
struct Recorded(Mutex<Vec<Arc<TenantConfig>>>);

impl Apply for Recorded {
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
        let found = conflicts(&[], &tenants);
        if !found.is_empty() {
            return Err(found);
        }
        let new: Vec<_> = tenants.into_iter().map(Arc::new).collect();
        let mut now = self.0.lock().unwrap();
        let changes = Changes::between(&now, &new);
        *now = new;
        Ok(changes)
    }

    fn in_force(&self) -> Vec<Arc<TenantConfig>> {
        self.0.lock().unwrap().clone()
    }
}

impl Recorded {
    /// Each tenant with the URL of its API.
    fn now(&self) -> Vec<(String, String)> {
        let now = self.0.lock().unwrap();
        let pair = |it: &Arc<TenantConfig>| (it.name.to_string(), it.backend.url.clone());
        let mut now: Vec<_> = now.iter().map(pair).collect();
        now.sort();
        now
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, url): &(&str, &str)| ((*name).to_owned(), (*url).to_owned());
    expected.iter().map(own).collect()
}

fn load(folder: &Path) -> Config {
    let sources = Sources {
        file: None,
        environment: [("HT_TENANT_A__TOKEN".to_owned(), "geheim".to_owned())].into(),
        folder: folder.to_owned(),
    };
    sources
        .load()
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// A folder of tenants whose keeper puts them in force there.
async fn of_folder() -> (tempfile::TempDir, Tenancy, Keeper, Recorded) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tenants")).unwrap();
    let main = "backend.url = 'http://main/'\ntenants = { source = 'file', file = 'tenants' }\n";
    fs::write(folder.path().join("high-templar.toml"), main).unwrap();
    write(folder.path(), "a", "http://a/");
    let config = load(folder.path());
    let (keeper, recorded) = start(&config).await;
    assert_eq!(recorded.now(), pairs(&[("a", "http://a/")]));
    (folder, config.tenancy, keeper, recorded)
}

/// A node that starts.
async fn start(config: &Config) -> (Keeper, Recorded) {
    let (mut keeper, recorded) = (Keeper::new(&config.tenancy).unwrap(), Recorded::default());
    let first = keeper.first(&config.survey).await;
    let first = first.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    recorded.apply(first).unwrap();
    (keeper, recorded)
}

/// The tenants with which a node of a registry starts.
async fn first(keeper: &mut Keeper) -> Vec<TenantConfig> {
    keeper.first(&Survey::default()).await.unwrap()
}

fn write(folder: &Path, name: &str, url: &str) {
    let text = format!("backend = {{ url = \"{url}\" }}\n");
    fs::write(folder.join(format!("tenants/{name}.toml")), text).unwrap();
}

#[tokio::test]
async fn files_that_change_are_read_and_a_mistake_changes_nothing() {
    let (folder, tenancy, mut keeper, recorded) = of_folder().await;
    let file = |name: &str| folder.path().join(format!("tenants/{name}.toml"));
    write(folder.path(), "b", "http://b/");
    keeper.look(&recorded).await;
    let both = pairs(&[("a", "http://a/"), ("b", "http://b/")]);
    assert_eq!(recorded.now(), both);
    for rubbish in [
        "",
        "backend = ",
        "backend = { url = 7 }",
        "\u{0}",
        "hosts = ['a', 'a']",
    ] {
        fs::write(file("b"), rubbish).unwrap();
        write(folder.path(), "c", "http://c/");
        keeper.look(&recorded).await;
        assert_eq!(recorded.now(), both, "{rubbish:?}");
        keeper.reload(&tenancy, &recorded).await;
        assert_eq!(recorded.now(), both, "{rubbish:?}, at a reload");
    }
    write(folder.path(), "b", "http://new/");
    fs::remove_file(file("c")).unwrap();
    keeper.look(&recorded).await;
    assert_eq!(
        recorded.now(),
        pairs(&[("a", "http://a/"), ("b", "http://new/")])
    );
    fs::remove_file(file("a")).unwrap();
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), pairs(&[("b", "http://new/")]));
}

#[tokio::test]
async fn a_secret_file_of_a_tenant_that_is_put_is_the_one_that_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    let main = "backend.url = 'http://main/'\n\
                tenants = { source = 'file', file = 'tenants', secrets = 'secrets' }\n";
    fs::write(folder.path().join("high-templar.toml"), main).unwrap();
    for new in ["tenants", "secrets/b", "secrets/c"] {
        fs::create_dir_all(folder.path().join(new)).unwrap();
    }
    // Files by the same name in the folder of the configuration, and of somebody else.
    fs::write(folder.path().join("token"), "of the operator").unwrap();
    fs::write(folder.path().join("secrets/c/token"), "of c").unwrap();
    fs::write(folder.path().join("secrets/b/token"), "of b").unwrap();
    fs::write(folder.path().join("own"), "of the operator").unwrap();
    let tenancy = load(folder.path()).tenancy;
    let name: TenantName = "b".parse().unwrap();
    let put = |file: &str| {
        let headers = json!({ "X-A": { "fixed": { "file": file } } });
        let body = json!({ "backend": { "url": "http://b/", "headers": headers } });
        let request = TenantRequest::Put(name.clone(), body.to_string().into());
        files::answer(&tenancy, request, &[]).status.as_u16()
    };
    let sent = || {
        let tenants = tenancy.of_files();
        let tenants = tenants.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        format!("{:?}", tenants[0].backend.headers)
    };
    assert_eq!(put("token"), 201);
    assert!(sent().contains("of b"), "{}", sent());
    // What is shown may be put again.
    let shown = files::answer(&tenancy, TenantRequest::Show(name.clone()), &[]).body;
    let file = &shown["backend"]["headers"]["X-A"]["fixed"]["file"];
    assert_eq!(file, "secrets/b/token");
    assert_eq!(put(file.as_str().unwrap()), 200);
    assert!(sent().contains("of b"), "{}", sent());
    for bad in [
        "own",
        "../c/token",
        "secrets/c/token",
        "secrets/b/../../own",
    ] {
        assert_eq!(put(bad), 400, "{bad}");
        assert!(sent().contains("of b"), "{bad}: {}", sent());
    }
}

#[tokio::test]
async fn an_empty_or_missing_folder_removes_nobody_unless_it_is_meant() {
    let (folder, tenancy, mut keeper, recorded) = of_folder().await;
    let one = recorded.now();
    let (tenants, away) = (folder.path().join("tenants"), folder.path().join("away"));
    fs::rename(&tenants, &away).unwrap();
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), one, "missing");
    fs::create_dir(&tenants).unwrap();
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), one, "empty");
    keeper.reload(&tenancy, &recorded).await;
    assert_eq!(recorded.now(), [], "meant");
}

/// A registry that gives these answers, one for each request; it returns the heads of the requests.
async fn registry(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tenants/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let byte = socket.read_u8().await.unwrap();
                head.push(byte);
            }
            heads.push(String::from_utf8(head).unwrap());
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
        heads
    });
    (url, serving)
}

fn ok(body: &serde_json::Value, more: &str) -> String {
    status("200 OK", &body.to_string(), more)
}

fn status(status: &str, body: &str, more: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn tenant(name: &str) -> serde_json::Value {
    json!({ "name": name, "backend": { "url": format!("http://{name}/") } })
}

/// A node of that registry.
fn of_registry(folder: &Path, url: &str) -> Keeper {
    let main = format!(
        "[backend]\nurl = 'http://main/'\n[tenants]\nsource = 'http'\nurl = '{url}'\n\
         registry_key = 'the-key'\ncopy = 'copy.json'\ntimeout = '1s'\n"
    );
    fs::write(folder.join("high-templar.toml"), main).unwrap();
    Keeper::new(&load(folder).tenancy).unwrap()
}

#[tokio::test]
async fn a_registry_is_asked_for_what_has_changed_since_the_last_version() {
    let folder = tempfile::tempdir().unwrap();
    let (url, serving) = registry(vec![
        ok(
            &json!({ "version": 1, "complete": true, "tenants": [tenant("a"), tenant("b")] }),
            "ETag: \"x\"\r\n",
        ),
        status("304 Not Modified", "", ""),
        ok(
            &json!({ "version": 2, "tenants": [tenant("c")], "removed": ["a"] }),
            "",
        ),
        status("410 Gone", "", ""),
        ok(
            &json!({ "version": "n", "complete": true, "tenants": [tenant("d")] }),
            "",
        ),
    ])
    .await;
    let (mut keeper, recorded) = (of_registry(folder.path(), &url), Recorded::default());
    recorded.apply(first(&mut keeper).await).unwrap();
    let a_b = pairs(&[("a", "http://a/"), ("b", "http://b/")]);
    let b_c = pairs(&[("b", "http://b/"), ("c", "http://c/")]);
    assert_eq!(recorded.now(), a_b);
    for expected in [a_b, b_c.clone(), b_c, pairs(&[("d", "http://d/")])] {
        keeper.look(&recorded).await;
        assert_eq!(recorded.now(), expected);
    }
    let heads = serving.await.unwrap();
    let targets = heads.iter().map(|head| head.split(' ').nth(1).unwrap());
    let targets: Vec<_> = targets.collect();
    let after = |version: &str| format!("/tenants/?after={version}");
    assert_eq!(
        targets,
        [
            "/tenants/".to_owned(),
            after("1"),
            after("1"),
            after("2"),
            "/tenants/".to_owned()
        ]
    );
    let has = |head: &str, line: &str| head.to_ascii_lowercase().contains(line);
    assert!(
        heads
            .iter()
            .all(|head| has(head, "authorization: bearer the-key\r\n"))
    );
    let tagged: Vec<_> = heads
        .iter()
        .map(|head| has(head, "if-none-match: \"x\"\r\n"))
        .collect();
    assert_eq!(tagged, [false, true, true, false, false]);
}

#[tokio::test]
async fn rubbish_of_every_kind_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json!({ "version": 1, "complete": true, "tenants": [tenant("a")] });
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tenants\": []".to_owned();
    let host = |name: &str| json!({ "name": name, "hosts": ["same.example"], "backend": { "url": "http://x/" } });
    let with = |tenant: serde_json::Value| ok(&json!({ "version": 2, "tenants": [tenant] }), "");
    let rubbish = vec![
        status("500 Internal Server Error", "{}", ""),
        status("401 Unauthorized", "{}", ""),
        status("302 Found", "", "Location: http://elsewhere/\r\n"),
        status("200 OK", "<html>", ""),
        status("200 OK", "", ""),
        status("200 OK", "\u{0}\u{1}", "Content-Encoding: gzip\r\n"),
        truncated,
        String::new(),
        "rubbish\r\n\r\n".to_owned(),
        ok(&json!([]), ""),
        ok(&json!({ "version": 2, "tenants": {} }), ""),
        with(json!({ "name": "b" })),
        with(json!({ "name": "b", "backend": { "url": "ftp://b/" } })),
        with(json!({ "name": "main", "backend": { "url": "http://b/" } })),
        with(
            json!({ "name": "b", "backend": { "url": "http://b/", "socket": "/run/docker.sock" } }),
        ),
        with(
            json!({ "name": "b", "backend": { "url": "http://b/", "headers": { "X-A": { "fixed": { "env": "HOME" } } } } }),
        ),
        ok(
            &json!({ "version": 2, "tenants": [host("b"), host("c")] }),
            "",
        ),
        ok(&json!({ "version": 2, "tenants": [] }), ""),
    ];
    let count = rubbish.len();
    let mut answers = vec![ok(&whole, "")];
    answers.extend(rubbish);
    let (url, serving) = registry(answers).await;
    let (mut keeper, recorded) = (of_registry(folder.path(), &url), Recorded::default());
    recorded.apply(first(&mut keeper).await).unwrap();
    let one = pairs(&[("a", "http://a/")]);
    assert_eq!(recorded.now(), one);
    let copy = fs::read(folder.path().join("copy.json")).unwrap();
    for number in 0..count {
        keeper.look(&recorded).await;
        assert_eq!(recorded.now(), one, "answer {number}");
        let is_last = number + 1 == count;
        let same = fs::read(folder.path().join("copy.json")).unwrap() == copy;
        assert_eq!(
            same, !is_last,
            "answer {number}: an empty list has a version of its own"
        );
    }
    serving.await.unwrap();
    // Nobody listens there any more.
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), one);
}

#[tokio::test]
async fn a_node_starts_with_the_last_good_list_while_the_registry_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json!({ "version": 1, "complete": true, "tenants": [tenant("a")] });
    let (url, serving) = registry(vec![ok(&whole, ""), "rubbish\r\n\r\n".to_owned()]).await;
    let start = async || {
        let mut keeper = of_registry(folder.path(), &url);
        let tenants = first(&mut keeper).await.into_iter();
        let names: Vec<_> = tenants.map(|tenant| tenant.name.to_string()).collect();
        (names, keeper.freshness)
    };
    let (names, freshness) = start().await;
    assert_eq!((names, freshness.note(true)), (vec!["a".to_owned()], None));
    for why in ["rubbish", "away"] {
        let (names, freshness) = start().await;
        assert_eq!(names, ["a"], "{why}");
        assert!(
            freshness.note(true).is_some() && !freshness.has_none(),
            "{why}"
        );
    }
    serving.await.unwrap();
    fs::write(folder.path().join("copy.json"), "{}").unwrap();
    let (names, freshness) = start().await;
    assert!(names.is_empty() && freshness.has_none());
}

#[tokio::test]
async fn a_registry_that_says_nothing_has_changed_has_given_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let (url, serving) = registry(vec![
        status("204 No Content", "", ""),
        status("304 Not Modified", "", ""),
        ok(&json!({ "complete": true, "tenants": [] }), ""),
    ])
    .await;
    let (mut keeper, recorded) = (of_registry(folder.path(), &url), Recorded::default());
    recorded.apply(first(&mut keeper).await).unwrap();
    for has_none in [true, false] {
        assert!(keeper.freshness.has_none());
        keeper.look(&recorded).await;
        assert_eq!(keeper.freshness.has_none(), has_none);
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn a_node_starts_beside_a_mistake_with_the_last_good_list_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tenants")).unwrap();
    let with = |more: &str| {
        let main = format!(
            "backend.url = 'http://main/'\ntenants = {{ source = 'file', file = 'tenants'{more} }}\n"
        );
        fs::write(folder.path().join("high-templar.toml"), main).unwrap();
        load(folder.path())
    };
    let bad = folder.path().join("tenants/b.toml");
    for name in ["a", "b"] {
        write(folder.path(), name, &format!("http://{name}/"));
    }
    let a = pairs(&[("a", "http://a/")]);
    let a_b = pairs(&[("a", "http://a/"), ("b", "http://b/")]);
    let copy = ", copy = 'copy.json'";
    let (mut keeper, recorded) = start(&with(copy)).await;
    // The copy is that of a list in force.
    keeper.look(&recorded).await;
    assert!(folder.path().join("copy.json").exists());

    fs::write(&bad, "backend = ").unwrap();
    let config = with("");
    let (keeper, recorded) = start(&config).await;
    assert_eq!(recorded.now(), a, "without a copy, those without mistakes");
    assert!(keeper.freshness.note(true).is_some() && !keeper.freshness.has_none());

    let (mut keeper, recorded) = start(&with(copy)).await;
    assert_eq!(recorded.now(), a_b, "with a copy, all of them");
    assert!(keeper.freshness.note(true).is_some() && !keeper.freshness.has_none());
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), a_b, "the mistake is still there");
    let before = recorded.in_force();
    write(folder.path(), "b", "http://b/");
    keeper.look(&recorded).await;
    assert_eq!(keeper.freshness.note(true), None);
    let same = before
        .iter()
        .zip(recorded.in_force())
        .all(|(one, other)| **one == *other);
    assert!(same, "nothing differs from the copy");

    // As where a folder is not mounted.
    let tenants = folder.path().join("tenants");
    fs::rename(&tenants, folder.path().join("away")).unwrap();
    let (_, recorded) = start(&with(copy)).await;
    assert_eq!(recorded.now(), a_b, "no folder");
    fs::create_dir(&tenants).unwrap();
    let (_, recorded) = start(&with(copy)).await;
    assert_eq!(recorded.now(), a_b, "an empty folder");
    let (keeper, recorded) = start(&with("")).await;
    assert!(recorded.now().is_empty() && keeper.freshness.note(true).is_none());
    fs::remove_dir(&tenants).unwrap();
    let config = with("");
    let mut keeper = Keeper::new(&config.tenancy).unwrap();
    let found = keeper.first(&config.survey).await.unwrap_err().to_string();
    assert!(found.contains("tenants.file: cannot read it"), "{found}");
}

#[tokio::test]
async fn a_node_none_of_whose_tenants_is_good_waits_for_them() {
    let (folder, _, _, _) = of_folder().await;
    fs::write(folder.path().join("tenants/a.toml"), "backend = ").unwrap();
    let (mut keeper, recorded) = start(&load(folder.path())).await;
    assert!(recorded.now().is_empty() && keeper.freshness.has_none());
    write(folder.path(), "a", "http://a/");
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), pairs(&[("a", "http://a/")]));
    assert!(!keeper.freshness.has_none());
}

#[tokio::test]
async fn the_list_has_what_is_in_force_and_what_waits() {
    let (folder, _, mut keeper, recorded) = of_folder().await;
    for name in ["b", "c", "d"] {
        write(folder.path(), name, &format!("http://{name}/"));
    }
    keeper.look(&recorded).await;
    write(folder.path(), "b", "http://new/");
    // It claims the path of a, whose text is that which is in force.
    let thief = "path = '/t/a/ws/'\nbackend = { url = 'http://e/' }\n";
    fs::write(folder.path().join("tenants/e.toml"), thief).unwrap();
    fs::remove_file(folder.path().join("tenants/d.toml")).unwrap();
    fs::write(folder.path().join("tenants/c.toml"), "backend = 7\n").unwrap();
    keeper.look(&recorded).await;
    let answer = keeper.answer(TenantRequest::List, &recorded).await;
    let tenants = answer.body["tenants"].as_array().unwrap().iter();
    let found: Vec<_> = tenants
        .map(|it| {
            let mistakes = it["mistakes"].as_array().map_or(0, Vec::len);
            let text = |member: &str| it[member].as_str().unwrap_or_default();
            let in_force = it["in_force"].as_bool().unwrap();
            (text("name"), in_force, text("waiting"), mistakes > 0)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a", true, "", false),
            ("b", true, "changed", false),
            ("c", true, "changed", true),
            ("e", false, "added", true),
            ("d", true, "removed", false),
        ],
        "{}",
        answer.body
    );
}
