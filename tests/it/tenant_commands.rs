//! `high-templar tenant` and what `check` says of tenants: commands about one tenant, whatever is
//! written about the others, and without the environment of the service.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::binary::{ANY_PORTS, Finished, folder, run};
use crate::support::stream::Address;
use crate::support::{Gateway, Reply, StubBackend, http};

/// A folder with this configuration of tenants and these files of them.
fn site(tenants: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = folder();
    let main = format!("[tenants]\nsource = \"file\"\n{tenants}");
    fs::write(folder.path().join("high-templar.toml"), main).expect("a file");
    fs::create_dir(folder.path().join("tenants")).expect("a file");
    for (name, text) in files {
        fs::write(folder.path().join("tenants").join(name), text).expect("a file");
    }
    folder
}

const IN_FOLDER: &str = "file = \"tenants\"\n";

/// A tenant that needs a variable of the service.
const SECRET: &str = "[backend]\nurl = \"http://127.0.0.1:9/\"\nheaders = { X-A = { fixed = { env = \"ACME_TOKEN\" } } }\n";

fn tenant(folder: &Path, words: &[&str]) -> Finished {
    let words = [&["tenant"], words].concat();
    run(folder, &words, &[])
}

#[track_caller]
fn expect(found: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(found.code, Some(code), "{found:?}");
    let all = format!("{}{}", found.stdout, found.stderr);
    for part in parts {
        assert!(all.contains(part), "{part:?} in\n{all}");
    }
}

#[test]
fn commands_about_one_tenant_work_whatever_is_written_about_another() {
    let site = site(
        IN_FOLDER,
        &[
            ("acme.toml", SECRET),
            ("broken.toml", "backend = {\n"),
            ("wrong.toml", "[backend]\nurl = \"http://w\"\n"),
        ],
    );
    let folder = site.path();
    let own = |name: &str| fs::read_to_string(folder.join(format!("tenants/{name}.toml")));
    let waits =
        "once these mistakes are corrected:\n  tenants/broken.toml:1: this is not valid TOML";

    let list = tenant(folder, &["list"]);
    expect(
        &list,
        0,
        &[
            "acme                 active",
            "broken               mistakes",
            "wrong                mistakes",
            "FIX  tenants/wrong.toml:2: tenant wrong: backend.url: end it with a slash",
        ],
    );
    assert!(!list.stdout.contains("ACME_TOKEN"), "{list:?}");
    expect(&tenant(folder, &["show", "acme"]), 0, &["ACME_TOKEN"]);
    expect(
        &tenant(folder, &["suspend", "acme"]),
        0,
        &["acme is suspended", waits],
    );
    assert!(own("acme").unwrap().contains("suspended = true"));
    expect(
        &tenant(folder, &["suspend", "acme"]),
        0,
        &["suspended already"],
    );
    let url = "http://127.0.0.1:9/";
    let added = tenant(
        folder,
        &["add", "new", "--backend", url, "--host", "new.example"],
    );
    expect(&added, 0, &["Added new", waits, "sk_"]);
    expect(
        &tenant(
            folder,
            &["add", "second", "--backend", url, "--host", "new.example"],
        ),
        1,
        &["the tenants new and second both have the host new.example"],
    );
    expect(
        &tenant(folder, &["remove", "new"]),
        0,
        &["Removed new", waits],
    );
    assert!(own("new").is_err());
    // Also of those that have mistakes.
    expect(
        &tenant(folder, &["suspend", "wrong"]),
        0,
        &["wrong is suspended"],
    );
    expect(
        &tenant(folder, &["remove", "broken"]),
        0,
        &["Removed broken"],
    );
    expect(
        &tenant(folder, &["remove", "wrong"]),
        0,
        &["Removed wrong. A running gateway takes it up within"],
    );
    expect(
        &tenant(folder, &["remove", "acme"]),
        0,
        &["It was the last tenant"],
    );
    expect(
        &tenant(folder, &["remove", "acme"]),
        1,
        &["there is no tenant acme"],
    );
    expect(&tenant(folder, &["list"]), 0, &["no tenants in tenants"]);
    expect(&tenant(folder, &["check"]), 0, &["no tenants"]);
}

#[test]
fn options_of_a_new_tenant_are_named_in_mistakes() {
    let site = site(IN_FOLDER, &[]);
    for (options, part) in [
        (
            &["--backend", "http://a"][..],
            "--backend: end it with a slash",
        ),
        (
            &["--backend", "http://a/", "--host", "https://a.example"],
            "--host: \"https://a.example\": write the host alone",
        ),
        (
            &["--backend", "http://a/", "--origin", "x y"],
            "--origin: \"x y\"",
        ),
        (&["--backend", ""], "--backend: "),
    ] {
        let found = tenant(site.path(), &[&["add", "acme"], options].concat());
        expect(&found, 1, &[part]);
        assert!(!found.stderr.contains("the arguments"), "{found:?}");
        assert!(!site.path().join("tenants/acme.toml").exists());
    }
    fs::remove_dir(site.path().join("tenants")).unwrap();
    let found = tenant(site.path(), &["add", "acme", "--backend", "http://a/"]);
    expect(&found, 1, &["there is no folder tenants", "mkdir tenants"]);
}

#[test]
fn a_tenant_elsewhere_is_found_where_it_is() {
    let table = "[[tenant]]\nname = \"acme\"\nbackend = { url = \"http://127.0.0.1:9/\" }\n";
    let both = site(&format!("{IN_FOLDER}{table}"), &[]);
    for command in ["remove", "suspend"] {
        expect(
            &tenant(both.path(), &[command, "acme"]),
            1,
            &["in high-templar.toml:4: change it there"],
        );
        expect(
            &tenant(both.path(), &[command, "nobody"]),
            1,
            &["there is no tenant nobody"],
        );
    }
    let only = site(table, &[]);
    let found = tenant(only.path(), &["remove", "acme"]);
    expect(&found, 1, &["name a folder for the files of tenants"]);
}

#[test]
fn a_check_names_what_is_wrong_with_each_tenant_and_calls_all_the_others() {
    let works = StubBackend::open();
    let good = format!("[backend]\nurl = \"{}\"\n", works.url);
    let site = site(
        "file = \"tenants\"\ndefault = \"nobody\"\n[usage]\nfile = \"no/usage.jsonl\"\n",
        &[
            ("acme.toml", SECRET),
            ("away.toml", "[backend]\nurl = \"http://127.0.0.1:9/\"\n"),
            ("good.toml", &good),
            ("wrong.toml", "[backend]\nurl = \"http://w\"\n"),
        ],
    );
    let variables = [&ANY_PORTS[..], &[("HT_INTERNAL__API_KEY", "key")]].concat();
    let found = run(site.path(), &["check"], &variables);
    let of_tenants = [
        "FIX  tenants/wrong.toml:2: tenant wrong: backend.url: end it with a slash",
        "ACME_TOKEN is not set",
        "run this with its environment",
        "FIX  tenant away: http://127.0.0.1:9/bootstrap/",
        "ok   tenant good: ",
    ];
    expect(&found, 1, &of_tenants);
    let of_all = [
        "FIX  tenants: tenants.default is nobody, which is none of them",
        "FIX  usage.file: there is no folder no: make it",
    ];
    expect(&found, 1, &of_all);
    expect(&tenant(site.path(), &["check"]), 1, &of_tenants);
    assert!(!works.requests().is_empty());
}

#[test]
fn a_check_asks_the_registry_and_the_apis_that_it_lists() {
    let works = StubBackend::open();
    let url = works.url.clone();
    let registry = StubBackend::new(move |_| {
        let own = |name: &str, url: &str| json!({"name": name, "backend": {"url": url}});
        let tenants = [own("good", &url), own("wrong", "http://w")];
        Reply::json("200 OK", json!({ "tenants": tenants }).to_string())
    });
    let folder = folder();
    let configure = |url: &str| {
        let main = format!(
            "[tenants]\nsource = \"http\"\nurl = \"{url}\"\ncopy = \"no/copy.json\"\ntimeout = \"2s\"\n"
        );
        fs::write(folder.path().join("high-templar.toml"), main).unwrap();
    };
    configure(&registry.url);
    let all = [
        "tenant wrong: backend.url: end it with a slash",
        "ok   tenant good: ",
    ];
    let variables = [&ANY_PORTS[..], &[("HT_INTERNAL__API_KEY", "key")]].concat();
    let found = run(folder.path(), &["check"], &variables);
    expect(&found, 1, &all);
    expect(
        &found,
        1,
        &["FIX  tenants.copy: there is no folder ", "/no: make it"],
    );
    expect(&tenant(folder.path(), &["check"]), 1, &all);
    expect(
        &tenant(folder.path(), &["list"]),
        0,
        &["good                 active"],
    );
    expect(&tenant(folder.path(), &["show", "good"]), 0, &[&works.url]);
    expect(
        &tenant(folder.path(), &["remove", "good"]),
        1,
        &["those of the registry"],
    );
    configure("http://127.0.0.1:9/");
    let found = run(folder.path(), &["check"], &variables);
    expect(
        &found,
        1,
        &[
            "FIX  tenants: registry http://127.0.0.1:9/: ",
            "Check tenants.url",
        ],
    );
}

#[test]
fn the_tenants_of_a_running_gateway_are_listed_with_what_waits() {
    let main = StubBackend::open();
    let builder = Gateway::with(&main)
        .file("[tenants]\nsource = \"file\"\nfile = \"tenants\"\ninterval = \"100ms\"\n")
        .set("HT_INTERNAL__API_KEY", "the-key");
    let tenants = builder.folder().join("tenants");
    fs::create_dir(&tenants).unwrap();
    fs::write(
        tenants.join("a.toml"),
        "backend.url = \"http://127.0.0.1:9/\"\n",
    )
    .unwrap();
    let gateway = builder.start();
    fs::write(tenants.join("b.toml"), "backend.url = \"http://b\"\n").unwrap();
    gateway.wait_for_line("tenants not changed");
    let Address::Tcp(address) = gateway.internal() else {
        panic!("it listens at a port");
    };
    let url = format!("http://{address}");
    let list = |key: &str| {
        let words = ["tenant", "list", "--url", &*url];
        run(gateway.folder(), &words, &[("HT_INTERNAL__API_KEY", key)])
    };
    expect(
        &list("the-key"),
        0,
        &[
            "a                    active",
            "(added, and not taken up yet: not served)",
            "FIX  tenants/b.toml:1: tenant b: backend.url: end it with a slash",
        ],
    );
    expect(&list("other"), 1, &["does not accept this key"]);
    let headers = [("Authorization", "Bearer the-key")];
    let all = http::request(gateway.internal(), "GET", "/tenants/", &headers, b"").json();
    assert_eq!(all["tenants"][0]["in_force"], true, "{all}");
    assert_eq!(all["tenants"][1]["waiting"], "added", "{all}");
}
