//! Tests of the directory: tables, and a comparison with a plain list.

use proptest::prelude::*;

use super::*;

/// A tenant as the directory sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plain {
    name: String,
    hosts: Vec<HostName>,
    path: String,
    key: Option<String>,
    publish_keys: Vec<KeyHash>,
    logs: Vec<Box<str>>,
}

impl Claims for Plain {
    fn name(&self) -> &str {
        &self.name
    }

    fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn publish_keys(&self) -> impl Iterator<Item = KeyHash> {
        self.publish_keys.iter().copied()
    }

    fn logs(&self) -> &[Box<str>] {
        &self.logs
    }

    fn is_suspended(&self) -> bool {
        false
    }
}

fn tenant(name: &str, hosts: &[&str], path: &str, key: Option<&str>, publish: &[u8]) -> Plain {
    Plain {
        name: name.to_owned(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        path: path.to_owned(),
        key: key.map(str::to_owned),
        publish_keys: publish.iter().map(|n| KeyHash::new([*n; 32])).collect(),
        logs: Vec::new(),
    }
}

fn directory(tenants: &[Plain]) -> Result<Directory<usize>, Vec<Conflict>> {
    let numbers = tenants.iter().enumerate();
    Directory::new(numbers.map(|(number, tenant)| (tenant, number)))
}

#[test]
fn a_log_is_of_one_tenant() {
    let with = |name, log: &str| Plain {
        logs: vec![log.into()],
        ..tenant(name, &[], "", None, &[])
    };
    assert!(
        directory(&[
            with("a", "x"),
            with("b", "y"),
            tenant("c", &[], "", None, &[])
        ])
        .is_ok()
    );
    let conflicts = directory(&[with("a", "x"), with("b", "x")]).unwrap_err();
    let expected = Conflict {
        claim: Claim::Log("x".into()),
        first: "a".into(),
        second: "b".into(),
    };
    assert_eq!(conflicts, [expected]);
}

#[test]
fn a_host_of_main_is_of_nobody_else_whatever_else_a_request_names() {
    let hosts = ["www.example".parse().unwrap()];
    let acme = tenant("acme", &["acme.example"], "/t/acme/ws/", Some("pk"), &[]);
    let directory = Directory::beside_main(Some((&hosts, 0)), [(&acme, 1)]).unwrap();
    for (host, path, key, expected) in [
        ("www.example", "/ws/", None, Found::One(0)),
        ("WWW.example.:80", "/ws/", Some("nobody"), Found::One(0)),
        ("www.example", "/t/acme/ws/", None, Found::Disagree),
        ("www.example", "/ws/", Some("pk"), Found::Disagree),
        ("acme.example", "/ws/", None, Found::One(1)),
        ("other.example", "/ws/", Some("pk"), Found::One(1)),
    ] {
        let found = directory.find(Some(host), path, key);
        assert_eq!(found, expected, "{host} {path} {key:?}");
    }
    let thief = tenant("thief", &["www.example"], "", None, &[]);
    let conflicts = Directory::beside_main(Some((&hosts, 0)), [(&thief, 1)]).unwrap_err();
    let expected = Conflict {
        claim: Claim::Host("www.example".into()),
        first: "main".into(),
        second: "thief".into(),
    };
    assert_eq!(conflicts, [expected]);
}

#[test]
fn a_request_is_whose_host_path_or_key_it_names() {
    let tenants = [
        tenant(
            "acme",
            &["live.acme.example", "xn--bcher-kva.example"],
            "/t/acme/ws/",
            Some("pk_a"),
            &[],
        ),
        tenant(
            "other",
            &["live.other.example", "[2001:db8::1]"],
            "/t/other/ws/",
            Some("pk_b"),
            &[],
        ),
        tenant("bare", &[], "", None, &[]),
    ];
    let directory = directory(&tenants).unwrap();
    for (host, path, key, expected) in [
        (Some("live.acme.example"), "/ws/", None, Found::One(0)),
        (Some("live.acme.example:8443"), "/ws/", None, Found::One(0)),
        (Some("LIVE.Acme.Example"), "/ws/", None, Found::One(0)),
        (Some("live.acme.example."), "/ws/", None, Found::One(0)),
        (Some("Live.acme.example.:80"), "/ws/", None, Found::One(0)),
        (Some("XN--BCHER-KVA.example"), "/ws/", None, Found::One(0)),
        (Some("[2001:DB8:0::1]:80"), "/ws/", None, Found::One(1)),
        (Some("acme.example"), "/ws/", None, Found::Nobody),
        (Some("x.live.acme.example"), "/ws/", None, Found::Nobody),
        (
            Some("live.acme.example.evil.example"),
            "/ws/",
            None,
            Found::Nobody,
        ),
        (
            Some("live.acme.example, live.other.example"),
            "/ws/",
            None,
            Found::Nobody,
        ),
        (None, "/ws/", None, Found::Nobody),
        (None, "", None, Found::Nobody),
        (None, "/", None, Found::Nobody),
        (None, "/t/acme/ws/", None, Found::One(0)),
        (Some("proxy"), "/t/acme/ws", None, Found::One(0)),
        (Some("proxy"), "/t/acme/ws//", None, Found::Nobody),
        (Some("proxy"), "/t/ACME/ws/", None, Found::Nobody),
        (Some("proxy"), "/t/acme/", None, Found::Nobody),
        (Some("proxy"), "/ws/", Some("pk_b"), Found::One(1)),
        (Some("proxy"), "/ws/", Some("PK_B"), Found::Nobody),
        (Some("proxy"), "/ws/", Some(""), Found::Nobody),
        // A key that nobody has names nobody.
        (
            Some("live.acme.example"),
            "/ws/",
            Some("pk_old"),
            Found::One(0),
        ),
        (
            Some("live.acme.example"),
            "/t/acme/ws/",
            Some("pk_a"),
            Found::One(0),
        ),
        (
            Some("live.acme.example"),
            "/t/other/ws/",
            None,
            Found::Disagree,
        ),
        (
            Some("live.acme.example"),
            "/ws/",
            Some("pk_b"),
            Found::Disagree,
        ),
        (Some("proxy"), "/t/acme/ws/", Some("pk_b"), Found::Disagree),
        (
            Some("live.acme.example"),
            "/t/acme/ws/",
            Some("pk_b"),
            Found::Disagree,
        ),
    ] {
        assert_eq!(
            directory.find(host, path, key),
            expected,
            "{host:?} {path} {key:?}"
        );
    }
}

#[test]
fn whatever_two_tenants_claim_is_named_with_both() {
    for (second, expected) in [
        (
            tenant("other", &["a.example"], "/t/other/ws/", Some("k2"), &[2]),
            &[][..],
        ),
        (tenant("acme", &[], "", None, &[]), &[Claim::Name]),
        (
            tenant("other", &["LIVE.Example."], "", None, &[]),
            &[Claim::Host("live.example".into())],
        ),
        (
            tenant("other", &[], "/t/acme/ws", None, &[]),
            &[Claim::Path("/t/acme/ws/".into())],
        ),
        (
            tenant("other", &[], "", Some("k1"), &[]),
            &[Claim::Key("k1".into())],
        ),
        (
            tenant("other", &[], "", None, &[3, 1]),
            &[Claim::PublishKey],
        ),
        (
            tenant("other", &["live.example"], "/t/acme/ws/", Some("k1"), &[1]),
            &[
                Claim::Host("live.example".into()),
                Claim::Path("/t/acme/ws/".into()),
                Claim::Key("k1".into()),
                Claim::PublishKey,
            ],
        ),
    ] {
        let first = tenant(
            "acme",
            &["live.example", "Live.example"],
            "/t/acme/ws/",
            Some("k1"),
            &[1],
        );
        let found = directory(&[first, second.clone()]);
        let found = found.err().unwrap_or_default();
        let claims: Vec<_> = found
            .iter()
            .map(|conflict| conflict.claim.clone())
            .collect();
        assert_eq!(claims, expected, "{second:?}");
        for conflict in found {
            assert_eq!(
                (&*conflict.first, &*conflict.second),
                ("acme", &*second.name)
            );
            assert!(conflict.to_string().contains("acme"), "{conflict}");
        }
    }
    let twice = directory(&[tenant("acme", &[], "", None, &[1, 1])]).unwrap_err();
    assert!(twice[0].to_string().contains("a key twice"), "{}", twice[0]);
}

#[test]
fn a_publishers_key_is_found_by_its_digest() {
    let tenants = [
        tenant("a", &[], "", None, &[1, 2]),
        tenant("b", &[], "", None, &[3]),
    ];
    let directory = directory(&tenants).unwrap();
    assert_eq!(directory.by_publish_key([2; 32]), Some((0, 1)));
    assert_eq!(directory.by_publish_key([3; 32]), Some((1, 0)));
    assert_eq!(directory.by_publish_key([4; 32]), None);
}

/// A few names, so that tenants often claim the same.
fn some_tenant() -> impl Strategy<Value = Plain> {
    let hosts = proptest::collection::vec("[ab]", 0..3);
    let keys = proptest::collection::vec(0..6_u8, 0..3);
    (
        "[a-f]",
        hosts,
        "(/[ab]/?)?",
        proptest::option::of("[ab]"),
        keys,
    )
        .prop_map(|(name, hosts, path, key, publish)| {
            let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
            tenant(&name, &hosts, &path, key.as_deref(), &publish)
        })
}

/// What a plain search through the list finds.
fn searched(tenants: &[Plain], host: &str, path: &str, key: &str) -> Found<usize> {
    let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
    let position = |is: &dyn Fn(&Plain) -> bool| tenants.iter().position(is);
    let named = [
        position(&|tenant| tenant.hosts.iter().any(|one| one.as_str() == host)),
        position(&|tenant| !trimmed(path).is_empty() && trimmed(&tenant.path) == trimmed(path)),
        position(&|tenant| tenant.key.as_deref() == Some(key)),
    ];
    let named: Vec<_> = named.into_iter().flatten().collect();
    match named.as_slice() {
        [] => Found::Nobody,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Found::One(*first),
        _ => Found::Disagree,
    }
}

/// Whether two tenants of the list, or one of them twice, claim the same.
fn overlap(tenants: &[Plain]) -> bool {
    let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
    let twice = |tenant: &Plain| {
        let keys = &tenant.publish_keys;
        (0..keys.len()).any(|at| keys[..at].contains(&keys[at]))
    };
    let meet = |one: &Plain, other: &Plain| {
        one.name == other.name
            || one.hosts.iter().any(|host| other.hosts.contains(host))
            || !trimmed(&one.path).is_empty() && trimmed(&one.path) == trimmed(&other.path)
            || one.key.is_some() && one.key == other.key
            || one
                .publish_keys
                .iter()
                .any(|key| other.publish_keys.contains(key))
    };
    let pairs = || (0..tenants.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    tenants.iter().any(twice) || pairs().any(|(one, other)| meet(&tenants[one], &tenants[other]))
}

proptest! {
    #[test]
    fn it_finds_what_a_plain_list_finds(
        tenants in proptest::collection::vec(some_tenant(), 0..5),
        host in "[abc]",
        path in "(/[abc])?/?",
        key in "[abc]",
    ) {
        match directory(&tenants) {
            Err(conflicts) => {
                prop_assert!(!conflicts.is_empty());
                prop_assert!(overlap(&tenants), "{:?}", conflicts);
            }
            Ok(directory) => {
                prop_assert!(!overlap(&tenants));
                let expected = searched(&tenants, &host, &path, &key);
                let upper = format!("{}.:80", host.to_uppercase());
                prop_assert_eq!(directory.find(Some(&host), &path, Some(&key)), expected);
                prop_assert_eq!(directory.find(Some(&upper), &path, Some(&key)), expected);
            }
        }
    }

    #[test]
    fn no_request_panics(host in ".{0,40}", path in ".{0,20}", key in ".{0,20}") {
        let tenants = [tenant("a", &["a"], "/a", Some("a"), &[])];
        let directory = directory(&tenants).unwrap();
        let _ = directory.find(Some(&host), &path, Some(&key));
    }
}
