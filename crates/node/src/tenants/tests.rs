//! Whose a request, a key or a record is, and what a new list of tenants changes.

use std::time::Duration;

use bytes::Bytes;
use ht_backend::config::{BackendConfig, GuardConfig, HookCalls};
use ht_broker::config::{Engine, RedisConfig};
use ht_control::tenants::claims::KeyHash;
use ht_proto::trigger::TriggerLimits;
use tokio::time::timeout;

use super::*;
use crate::config::{Origins, PublishKey, Right, TenantCaps, TenantLimits, TenantLog};

const SHORT: Duration = Duration::from_millis(10);

pub(super) fn name(text: &str) -> TenantName {
    text.parse().unwrap()
}

pub(super) fn tenant(text: &str) -> TenantConfig {
    TenantConfig {
        name: name(text),
        hosts: vec![format!("{text}.example").parse().unwrap()],
        path: format!("/t/{text}/ws/").into(),
        key: Some(format!("pk_{text}").into()),
        backend: BackendConfig {
            url: "http://127.0.0.1:1/".to_owned(),
            socket: None,
            bootstrap: "bootstrap/".to_owned(),
            timeout: Duration::from_secs(1),
            user_id_path: BackendConfig::default_user_id_path().into(),
            headers: Arc::default(),
            forward_bytes_max: 1_000,
            guard: GuardConfig::default(),
            answer_bytes_max: 1_000,
            tls_verify: true,
            tls_ca_file: None,
            hooks: HookCalls::default(),
        },
        origins: Origins::default(),
        publish_keys: vec![PublishKey {
            hash: KeyHash::new(Sha256::digest(format!("secret of {text}")).into()),
            may: [Right::Publish].into_iter().collect(),
        }],
        limits: TenantLimits::default(),
        log: None,
        is_suspended: false,
    }
}

pub(super) fn tenants(names: &[&str]) -> Tenants {
    let config = TenantsConfig {
        is_enabled: true,
        default: None,
        main_hosts: Vec::new(),
        caps: TenantCaps::default(),
        list: names.iter().map(|name| tenant(name)).collect(),
        ..TenantsConfig::default()
    };
    Tenants::new(&config, None, Arc::new(Default::default)).unwrap()
}

/// Puts a list in force, in which nobody has a log of its own.
pub(super) fn put(
    tenants: &Tenants,
    list: Vec<TenantConfig>,
) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
    let put = tenants.put(list, &mut |_, _| panic!("a log of its own"));
    put.map(|put| put.changes)
}

/// The tenant with its own log of this name.
fn with_log(text: &str, log: &str) -> TenantConfig {
    let engine = Engine::Redis(RedisConfig {
        stream: log.to_owned(),
        ..RedisConfig::default()
    });
    TenantConfig {
        log: Some(TenantLog {
            engine,
            names: vec![log.into()],
        }),
        ..tenant(text)
    }
}

/// Puts a list in force, and returns who began to read a log of its own and who left that of the
/// node.
fn put_with_logs(
    tenants: &Tenants,
    list: Vec<TenantConfig>,
    numbers: &mut u64,
) -> (Vec<TenantId>, Vec<TenantId>) {
    let mut begun = Vec::new();
    let put = tenants.put(list, &mut |id, _| {
        begun.push(id);
        *numbers += 1;
        Some(OwnLog {
            number: LogNumber(*numbers),
            clock: Arc::new(Default::default),
        })
    });
    (begun, put.unwrap().moved)
}

#[tokio::test(start_paused = true)]
async fn a_log_is_read_as_long_as_it_is_the_same_and_another_one_ends_what_was_there() {
    let tenants = tenants(&["acme", "other"]);
    let shared = tenants.named(&name("acme")).unwrap();
    let (id, mut numbers) = (shared.id(), 0);
    let list = |acme| vec![acme, tenant("other")];
    let own = list(with_log("acme", "one"));
    let put = |list, numbers: &mut u64| put_with_logs(&tenants, list, numbers);
    assert_eq!(put(own.clone(), &mut numbers), (vec![id], vec![id]));
    shared.ended().await;
    let first = tenants.named(&name("acme")).unwrap();
    assert_eq!(first.log(), Some(LogNumber(1)));
    assert!(tenants.has_own_log(id) && tenants.named(&name("other")).unwrap().log().is_none());
    // What else changes leaves it where it is.
    let quieter = TenantConfig {
        hosts: Vec::new(),
        ..own[0].clone()
    };
    let changed = put(list(quieter), &mut numbers);
    assert_eq!(changed, (Vec::new(), Vec::new()));
    assert_eq!(tenants.get(id).unwrap().log(), Some(LogNumber(1)));
    assert!(timeout(SHORT, first.ended()).await.is_err());
    // Another log, and that of all others again.
    let moved = put(list(with_log("acme", "two")), &mut numbers);
    assert_eq!(moved, (vec![id], Vec::new()));
    first.ended().await;
    let second = tenants.get(id).unwrap();
    assert_eq!(second.log(), Some(LogNumber(2)));
    assert_eq!(put(list(tenant("acme")), &mut numbers), (vec![], vec![]));
    second.ended().await;
    assert!(!tenants.has_own_log(id));
    assert!(
        timeout(SHORT, tenants.get(id).unwrap().ended())
            .await
            .is_err()
    );
}

#[test]
fn a_tenant_whose_own_log_cannot_be_read_is_not_served_until_it_can() {
    let tenants = tenants(&["other"]);
    let list = || vec![with_log("acme", "one"), tenant("other")];
    let put = |log: Option<OwnLog>| tenants.put(list(), &mut |_, _| log.clone()).unwrap();
    put(None);
    assert!(tenants.named(&name("acme")).is_none());
    assert!(tenants.named(&name("other")).is_some());
    put(Some(OwnLog {
        number: LogNumber(1),
        clock: Arc::new(Default::default),
    }));
    assert!(tenants.named(&name("acme")).unwrap().log().is_some());
}

/// The name of the tenant that a request is of.
fn chosen(tenants: &Tenants, host: &str, path: &str, keys: &[&str]) -> String {
    match tenants.choose(Some(host), path, keys.iter().copied()) {
        Choice::One(tenant) => tenant.name().to_string(),
        Choice::Nobody => "nobody".to_owned(),
        Choice::Disagree => "two".to_owned(),
    }
}

#[test]
fn host_path_and_key_name_one_tenant() {
    let tenants = tenants(&["acme", "other"]);
    for (host, path, keys, expected) in [
        ("acme.example", "/ws/", &[][..], "acme"),
        ("ACME.example.:8443", "/ws/", &[], "acme"),
        ("gateway", "/t/other/ws", &[], "other"),
        ("gateway", "/ws/", &["pk_acme"], "acme"),
        ("gateway", "/ws/", &["pk_acme", "pk_acme", "mine"], "acme"),
        ("acme.example", "/t/acme/ws/", &["pk_acme"], "acme"),
        ("acme.example", "/t/other/ws/", &[], "two"),
        ("acme.example", "/ws/", &["pk_other"], "two"),
        (
            "gateway",
            "/ws/",
            &["pk_acme", "pk_other", "pk_acme"],
            "two",
        ),
        ("gateway", "/ws/", &["pk_nobody"], "nobody"),
        ("gateway", "/ws/", &[], "nobody"),
    ] {
        assert_eq!(
            chosen(&tenants, host, path, keys),
            expected,
            "{host} {path} {keys:?}"
        );
    }
    assert!(tenants.have_path("/t/acme/ws") && !tenants.have_path("/ws/"));
}

#[test]
fn the_default_gets_those_that_name_nobody() {
    let tenants = Tenants {
        default: Some(name("acme")),
        ..tenants(&["acme", "other"])
    };
    assert_eq!(chosen(&tenants, "gateway", "/ws/", &[]), "acme");
    assert_eq!(chosen(&tenants, "other.example", "/ws/", &[]), "other");
}

#[test]
fn a_secret_key_is_of_one_tenant() {
    let tenants = tenants(&["acme", "other"]);
    let (of, may) = tenants.of_key(b"secret of other").unwrap();
    assert_eq!(tenants.name(of), Some(name("other")));
    assert!(may.has(Right::Publish) && !may.has(Right::Command));
    assert_eq!(tenants.of_key(b"secret of nobody"), None);
    put(&tenants, vec![tenant("acme")]).unwrap();
    assert_eq!(tenants.of_key(b"secret of other"), None, "it was removed");
}

#[test]
fn whose_a_record_is_stands_in_it() {
    let limits = TriggerLimits {
        bytes: 1_000,
        triggers: 1,
        rooms: 1,
    };
    let record = |text: &str| Record::parse(&Bytes::copy_from_slice(text.as_bytes()), &limits);
    let trigger = r#"{"tenant":"new","tenant_rooms":[{"a":1}],"rooms":[],"data":1}"#;
    let trigger = record(trigger).unwrap();
    let named = record(r#"{"tenant":"new","rooms":[{"a":1}],"data":1}"#).unwrap();
    let of_main = record(r#"{"tenant":"main","rooms":[{"a":1}],"data":1}"#).unwrap();
    let command = record(r#"{"tenant":"new","command":"invalidate","user":7}"#).unwrap();
    let wrong = record(r#"{"tenant":7,"rooms":[],"data":1}"#).unwrap();
    let plain = record(r#"{"rooms":[],"data":1}"#).unwrap();
    let none = Tenants::default();
    for record in [&named, &wrong, &plain, &of_main] {
        assert_eq!(none.of_record(record), Ok(TenantId::MAIN));
    }
    for record in [&trigger, &command] {
        assert_eq!(none.of_record(record), Err(Problem::NoTenants));
    }
    let tenants = tenants(&["acme"]);
    for record in [&plain, &of_main] {
        assert_eq!(tenants.of_record(record), Ok(TenantId::MAIN));
    }
    assert_eq!(tenants.of_record(&named), Err(Problem::PlainRooms));
    assert!(matches!(tenants.of_record(&wrong), Err(Problem::Tenant(_))));
    let id = tenants.of_record(&trigger).unwrap();
    assert_eq!(tenants.of_record(&command), Ok(id));
    assert!(tenants.get(id).is_none(), "nobody told of it yet");
    put(&tenants, vec![tenant("acme"), tenant("new")]).unwrap();
    assert_eq!(tenants.get(id).unwrap().name(), &name("new"));
}

#[test]
fn two_that_claim_one_host_change_nothing() {
    let tenants = tenants(&["acme"]);
    let thief = TenantConfig {
        hosts: tenant("acme").hosts,
        ..tenant("thief")
    };
    let list = vec![tenant("new"), tenant("acme"), thief];
    let conflicts = put(&tenants, list).unwrap_err();
    let [Conflict { first, second, .. }] = &conflicts[..] else {
        panic!("{conflicts:?}");
    };
    assert_eq!((&**first, &**second), ("acme", "thief"));
    assert!(tenants.named(&name("new")).is_none());
    assert_eq!(chosen(&tenants, "acme.example", "/ws/", &[]), "acme");
    for refused in ["new", "thief"] {
        assert_eq!(
            tenants.find_id(&name(refused)),
            None,
            "no number is used up"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_is_made_at_its_first_use_and_freed_when_idle() {
    let tenants = tenants(&["acme", "other"]);
    let acme = tenants.named(&name("acme")).unwrap();
    assert!(acme.guard().is_none());
    let backend = acme.backend();
    assert!(Arc::ptr_eq(&backend, &acme.backend()));
    assert!(acme.guard().is_some());
    assert!(tenants.named(&name("other")).unwrap().guard().is_none());
    tokio::time::advance(Duration::from_secs(601)).await;
    acme.free_if_idle();
    assert!(acme.guard().is_some(), "a call is in progress");
    drop(backend);
    acme.free_if_idle();
    assert!(acme.guard().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_keeps_its_api_as_long_as_that_is_the_same() {
    let tenants = tenants(&["acme"]);
    let before = tenants.named(&name("acme")).unwrap();
    let backend = before.backend();
    let quieter = TenantConfig {
        hosts: Vec::new(),
        ..tenant("acme")
    };
    let changes = put(&tenants, vec![quieter.clone()]).unwrap();
    assert_eq!((changes.changed.len(), changes.removed.len()), (1, 0));
    let after = tenants.named(&name("acme")).unwrap();
    assert_eq!(after.id(), before.id());
    assert!(Arc::ptr_eq(&backend, &after.backend()));
    let mut elsewhere = quieter;
    elsewhere.backend.url = "http://127.0.0.1:2/".to_owned();
    put(&tenants, vec![elsewhere]).unwrap();
    let after = tenants.named(&name("acme")).unwrap();
    assert!(!Arc::ptr_eq(&backend, &after.backend()));
    assert!(timeout(SHORT, after.ended()).await.is_err(), "it goes on");
}

#[test]
fn no_tenant_has_more_of_its_api_than_the_node() {
    let most = TenantCaps::of(&BackendConfig {
        timeout: SHORT,
        answer_bytes_max: 10,
        guard: GuardConfig {
            max_in_flight: 7,
            max_waiting: 5,
            ..GuardConfig::default()
        },
        hooks: HookCalls {
            timeout: 2 * SHORT,
            ..HookCalls::default()
        },
        ..tenant("main").backend
    });
    let tenants = Tenants {
        caps: most,
        ..tenants(&[])
    };
    let mut modest = tenant("modest");
    modest.backend.answer_bytes_max = 9;
    modest.backend.guard.max_in_flight = 1;
    let mut acme = tenant("acme");
    acme.backend.hooks.timeout = Duration::from_secs(60);
    for _ in 0..2 {
        put(&tenants, vec![acme.clone(), modest.clone()]).unwrap();
    }
    let of = |named: &str| Arc::clone(tenants.named(&name(named)).unwrap().config().unwrap());
    assert_eq!(TenantCaps::of(&of("acme").backend), most);
    assert_eq!(of("acme").backend.guard.wait_timeout, SHORT);
    let modest = &of("modest").backend;
    assert_eq!(
        (modest.answer_bytes_max, modest.guard.max_in_flight),
        (9, 1)
    );
    let again = put(&tenants, vec![acme]).unwrap();
    assert!(again.changed.is_empty(), "it is the same as before");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_suspended_or_removed_ends() {
    let tenants = tenants(&["acme"]);
    let suspended = || TenantConfig {
        is_suspended: true,
        ..tenant("acme")
    };
    let first = tenants.named(&name("acme")).unwrap();
    first.backend();
    put(&tenants, vec![suspended()]).unwrap();
    first.ended().await;
    assert!(first.guard().is_none(), "its API is freed");
    assert!(tenants.named(&name("acme")).unwrap().is_suspended());
    put(&tenants, vec![tenant("acme")]).unwrap();
    let second = tenants.named(&name("acme")).unwrap();
    assert!(
        timeout(SHORT, second.ended()).await.is_err(),
        "it is served again"
    );
    put(&tenants, Vec::new()).unwrap();
    second.ended().await;
    assert!(tenants.get(second.id()).is_none());
    put(&tenants, vec![tenant("acme")]).unwrap();
    let third = tenants.named(&name("acme")).unwrap();
    assert_eq!(third.id(), second.id());
    assert!(timeout(SHORT, third.ended()).await.is_err());
}
