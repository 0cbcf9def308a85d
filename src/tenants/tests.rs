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
        let found = conflicts(&tenants);
        if !found.is_empty() {
            return Err(found);
        }
        let new: Vec<_> = tenants.into_iter().map(Arc::new).collect();
        let mut now = self.0.lock().unwrap();
        let changes = Changes::between(&now, &new);
        *now = new;
        Ok(changes)
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
    let (mut keeper, recorded) = (
        Keeper::new(&config.tenancy, true).unwrap(),
        Recorded::default(),
    );
    keeper.look(&recorded).await;
    assert_eq!(recorded.now(), pairs(&[("a", "http://a/")]));
    (folder, config.tenancy, keeper, recorded)
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
        files::answer(&tenancy, request).status.as_u16()
    };
    let sent = || {
        let tenants = tenancy.of_files();
        let tenants = tenants.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        format!("{:?}", tenants[0].backend.headers)
    };
    assert_eq!(put("token"), 201);
    assert!(sent().contains("of b"), "{}", sent());
    // What is shown may be put again.
    let shown = files::answer(&tenancy, TenantRequest::Show(name.clone())).body;
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
    Keeper::new(&load(folder).tenancy, false).unwrap()
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
    let first = keeper.first().await.unwrap();
    recorded.apply(first).unwrap();
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
    recorded.apply(keeper.first().await.unwrap()).unwrap();
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
    let names = |tenants: Option<Vec<TenantConfig>>| {
        let tenants = tenants.unwrap().into_iter();
        tenants
            .map(|tenant| tenant.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(of_registry(folder.path(), &url).first().await), ["a"]);
    assert_eq!(
        names(of_registry(folder.path(), &url).first().await),
        ["a"],
        "rubbish"
    );
    serving.await.unwrap();
    assert_eq!(
        names(of_registry(folder.path(), &url).first().await),
        ["a"],
        "away"
    );
    fs::write(folder.path().join("copy.json"), "{}").unwrap();
    assert!(names(of_registry(folder.path(), &url).first().await).is_empty());
}
