//! Tenants with a log of their own, beside others on the log of the node.

use std::fs;
use std::process::Command;

use ht_broker::postgres::Schema;
use ht_testkit::nats::Nats;
use ht_testkit::postgres::Postgres;
use ht_testkit::rabbitmq::RabbitMq;
use ht_testkit::redis::Redis;
use serde_json::{Value, json};

use super::{EVENTS, client, resume_names};
use crate::postgres::block_on;
use crate::rabbitmq::wait_for_ready;
use crate::redis::append_to;
use crate::support::gateway::Builder;
use crate::support::{Answer, Client, Gateway, eventually, http};
use crate::tenants::kit::{ADMIN, Tenant, file, gateway, named, post, publish, replace};

/// The variable with the address of the own log of `acme`.
const URL: &str = "HT_TENANT_ACME__LOG";

/// `acme` with a log of its own of this engine, whose settings these are as well.
fn acme(engine: &str, settings: &str) -> Tenant {
    let line = format!("{engine} = {{ url = {{ env = \"{URL}\" }}{settings} }}");
    Tenant::new("acme").line(&line)
}

/// A gateway with these tenants, of which some have a log of their own.
fn with_logs(tenants: &[Tenant], url: &str) -> Builder {
    let builder = gateway(tenants).set("HT_TENANTS__LOGS", 2);
    builder
        .set(URL, url)
        .set("HT_RESUME__SECRET", "a-secret-of-tickets-for-the-tests")
        .set("HT_DRAIN__PERIOD", "300ms")
}

fn start(builder: Builder) -> Gateway {
    let gateway = builder.start();
    wait_for_ready(&gateway);
    wait_for_log(&gateway, 1);
    gateway
}

/// What the operator sees at this path.
#[track_caller]
fn get(gateway: &Gateway, path: &str) -> Answer {
    let key = format!("Bearer {ADMIN}");
    let answer = http::request(
        gateway.internal(),
        "GET",
        path,
        &[("Authorization", &key)],
        b"",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// A number of `/metrics`; none if it is not there.
fn metric(gateway: &Gateway, name: &str) -> Option<u64> {
    let answer = get(gateway, "/metrics");
    let mut lines = answer.text().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().expect(value))
}

#[track_caller]
fn wait_for_metric(gateway: &Gateway, name: &str, value: u64) {
    eventually(&format!("{name} {value}"), || {
        (metric(gateway, name) == Some(value)).then_some(())
    });
}

/// Waits until the own log of `acme` is read, or is not.
#[track_caller]
fn wait_for_log(gateway: &Gateway, is_up: u64) {
    wait_for_metric(
        gateway,
        "high_templar_tenant_log_up{tenant=\"acme\"}",
        is_up,
    );
}

#[track_caller]
fn accepted(tenant: &Tenant, gateway: &Gateway, record: &Value) -> Value {
    let answer = tenant.post(gateway, record);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The last position of the log of a tenant, as a node has read it.
#[track_caller]
fn position(node: &Gateway, tenant: &Tenant) -> Value {
    let key = format!("Bearer {}", tenant.secret());
    let headers = [("Authorization", &*key)];
    let answer = http::request(node.internal(), "GET", "/position", &headers, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn epoch(cursor: &Value) -> String {
    let cursor = cursor.as_str().expect("a cursor");
    cursor.split('-').next().expect("an epoch").to_owned()
}

#[test]
fn a_tenant_with_its_own_log_and_one_without_have_nothing_in_common() {
    let (shared, own) = (Redis::start(), Redis::start());
    let tenants = [acme("redis", ""), Tenant::new("globex")];
    let node = || {
        let builder = with_logs(&tenants, &own.url());
        start(builder.set("HT_REDIS__URL", shared.url()))
    };
    let nodes = [node(), node()];
    let [acme, other] = &tenants;
    let mut clients = [client(&nodes[1], acme), client(&nodes[1], other)];
    for number in 0..5 {
        for (tenant, client) in tenants.iter().zip(&mut clients) {
            let data = format!("{} {number}", tenant.name);
            let id = number.to_string();
            let first = accepted(tenant, &nodes[0], &publish(&data, &id));
            let again = accepted(tenant, &nodes[1], &publish(&data, &id));
            assert_eq!(again["duplicate"], true, "{again}");
            assert_eq!(again["cursor"], first["cursor"], "one log");
            assert_eq!(client.expect_publish().0, data);
        }
    }
    clients.iter_mut().for_each(Client::fence);
    // Each log has positions and an epoch of its own, the same on every node.
    let of = |tenant| nodes.each_ref().map(|node| position(node, tenant));
    let (of_acme, of_other) = (of(acme), of(other));
    assert_eq!(of_acme[0]["epoch"], of_acme[1]["epoch"]);
    assert_ne!(of_acme[0]["epoch"], of_other[0]["epoch"]);
    assert!(
        own.command(&["EXISTS", "high-templar.tenant.acme.log"])
            .starts_with('1')
    );
    // Whoever writes to a log speaks for its tenant alone, and nobody else does.
    let stream = "high-templar.tenant.acme.log";
    let record = |tenant: Option<&str>, data: &str| {
        let mut record = publish(data, data);
        if let Some(tenant) = tenant {
            record["tenant"] = tenant.into();
        }
        record
    };
    append_to(&own, stream, &record(Some("globex"), "foreign"));
    append_to(&own, stream, &record(Some("acme"), "named"));
    append_to(&own, stream, &record(None, "not named"));
    for (tenant, data) in [("acme", "elsewhere"), ("globex", "last")] {
        // As the log of all tenants has it.
        let mut record = record(Some(tenant), data);
        record["tenant_rooms"] = std::mem::replace(&mut record["rooms"], json!([]));
        append_to(&shared, "high-templar.log", &record);
    }
    let [of_acme, of_other] = &mut clients;
    assert_eq!(of_acme.expect_publish().0, "named");
    assert_eq!(of_acme.expect_publish().0, "not named");
    assert_eq!(of_other.expect_publish().0, "last");
    clients.iter_mut().for_each(Client::fence);
    wait_for_metric(&nodes[1], "high_templar_broker_rejected_total", 1);
    wait_for_metric(
        &nodes[1],
        "high_templar_tenant_log_rejected_total{tenant=\"acme\"}",
        1,
    );
    // What is of the whole node counts both.
    assert_eq!(metric(&nodes[1], "high_templar_connections"), Some(2));
    assert!(metric(&nodes[1], "high_templar_deliveries_total") >= Some(13));
}

#[test]
fn a_request_of_the_operator_reaches_both_logs_and_a_command_one_tenant_on_all_nodes() {
    let (shared, own) = (Redis::start(), Redis::start());
    let tenants = [acme("redis", ""), Tenant::new("globex")];
    let node = || {
        let builder = with_logs(&tenants, &own.url());
        let builder = builder
            .set("HT_NODES__BEACON", "1s")
            .set("HT_NODES__LEASE", "3s");
        start(builder.set("HT_REDIS__URL", shared.url()))
    };
    let nodes = [node(), node()];
    for node in &nodes {
        wait_for_metric(node, "high_templar_tenant_log_nodes{tenant=\"acme\"}", 2);
    }
    let mut of_acme = nodes.each_ref().map(|node| client(node, &tenants[0]));
    let mut of_other = client(&nodes[1], &tenants[1]);
    let record =
        |tenant: &str, data: &str| json!({"rooms": [{"n": 1}], "data": data, "tenant": tenant});
    let all = json!([
        record("acme", "a1"),
        record("globex", "g1"),
        {"command": "disconnect", "user": "nobody", "dry_run": true, "tenant": "acme"},
        record("acme", "a2"),
    ]);
    let answer = post(&nodes[0], ADMIN, &[], &all);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answers = answer.json();
    let cursors = [0, 1, 3].map(|at| epoch(&answers[at]["cursor"]));
    assert_eq!(cursors[0], cursors[2]);
    assert_ne!(cursors[0], cursors[1]);
    assert_eq!(answers[2]["matched"], 0);
    for client in &mut of_acme {
        assert_eq!(client.expect_publish().0, "a1");
        assert_eq!(client.expect_publish().0, "a2");
    }
    assert_eq!(of_other.expect_publish().0, "g1");
    // A node that has just begun to read a log knows after a lease that it knows all others.
    let everyone = json!({"command": "disconnect", "everyone": true, "confirm": "everywhere"});
    let nobody = json!({"command": "disconnect", "user": "nobody", "confirm": "everywhere"});
    eventually("all nodes are known", || {
        let answer = tenants[0].post(&nodes[0], &nobody);
        (answer.status == 200).then_some(())
    });
    let answer = accepted(&tenants[0], &nodes[0], &everyone);
    assert_eq!(answer["done"], true, "{answer}");
    let matched = answer["nodes"].as_object().expect("nodes").values();
    assert_eq!(
        matched.filter_map(Value::as_u64).sum::<u64>(),
        2,
        "{answer}"
    );
    for client in &mut of_acme {
        client.expect_close(4303);
    }
    of_other.fence();
}

/// What a client has heard last, and what lets it in again.
struct Page {
    cursor: Value,
    offered: [String; 3],
}

/// Opens a page of `acme` at a node, and has it hear one publication.
fn page(node: &Gateway, acme: &Tenant) -> Page {
    let mut client = named(acme.handshake(node), EVENTS).open();
    let first = client.expect_whole();
    let room = json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1});
    assert_eq!(client.call(&room)["code"], "success");
    accepted(acme, node, &publish("heard", "heard"));
    let heard = client.expect_whole();
    assert_eq!(heard["data"], "heard");
    client.send_json(&json!({"type": "ping", "requestId": "p"}));
    let pong = client.expect_whole();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Page {
        cursor: heard["cursor"].clone(),
        offered: [&first["ticket"], &pong["cursor"], &pong["proof"]].map(text),
    }
}

/// A page of a node that is killed hears everything at another one, exactly once and without a call
/// of the API.
#[track_caller]
fn recovers_at_another_node(acme: Tenant, url: &str) {
    let tenants = [acme, Tenant::new("globex")];
    let shared = Redis::start();
    let node = || {
        let builder = with_logs(&tenants, url);
        start(builder.set("HT_REDIS__URL", shared.url()))
    };
    let (mut killed, there) = (node(), node());
    let acme = &tenants[0];
    let Page { cursor, offered } = page(&killed, acme);
    killed.signal("KILL");
    killed.wait_for_end();
    // Numbers of the other log grow meanwhile, too.
    for number in 0..20 {
        accepted(&tenants[1], &there, &publish("other", &number.to_string()));
        accepted(
            acme,
            &there,
            &publish(&number.to_string(), &number.to_string()),
        );
    }
    let late = node();
    let calls = acme.backend.requests().len();
    let mut missed: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
    for node in [&there, &late] {
        let mut client = named(acme.handshake(node), &resume_names(&offered)).open();
        let first = client.expect_whole();
        assert_eq!(first["resumed"], true, "{first}");
        let resume = json!({
            "type": "resume", "requestId": 0, "cursor": cursor,
            "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
        });
        let answer = client.call(&resume);
        assert_eq!(answer["recovered"], true, "{answer}");
        assert_eq!(answer["replayed"], missed.len(), "{answer}");
        for data in &missed {
            assert_eq!(client.expect_whole()["data"], **data);
        }
        let after = accepted(acme, node, &publish("after", &node.pid().to_string()));
        assert_eq!(client.expect_whole()["data"], "after");
        eventually("the next node has read it", || {
            (position(&late, acme)["position"].as_u64() >= after["position"].as_u64()).then_some(())
        });
        missed.push("after".to_owned());
        client.leave();
    }
    assert_eq!(acme.backend.requests().len(), calls, "no call of the API");
}

#[test]
fn a_cursor_is_good_at_every_node_with_redis() {
    let own = Redis::start();
    recovers_at_another_node(acme("redis", ""), &own.url());
}

#[test]
fn a_cursor_is_good_at_every_node_with_a_stream_of_rabbitmq() {
    let vhost = RabbitMq::shared().vhost();
    recovers_at_another_node(acme("rabbitmq", ""), vhost.url());
    assert!(
        vhost
            .queues()
            .contains(&"hightemplar.tenant.acme.log".to_owned())
    );
}

#[test]
fn a_cursor_is_good_at_every_node_with_nats() {
    let own = Nats::start();
    recovers_at_another_node(acme("nats", ", subject = \"acme.live\""), &own.url());
}

#[test]
fn a_cursor_is_good_at_every_node_with_postgresql() {
    let database = Postgres::shared().database();
    let schema = Schema::new("ht_acme").expect("a name");
    block_on(database.execute(&schema.sql()));
    recovers_at_another_node(acme("postgres", ""), database.url());
}

#[test]
fn while_its_server_is_away_others_are_served() {
    let (shared, mut own) = (Redis::start(), Redis::start());
    let tenants = [
        acme("redis", ", publish_timeout = \"1s\""),
        Tenant::new("globex"),
    ];
    let [acme, other] = &tenants;
    let builder = with_logs(&tenants, &own.url());
    let node = start(builder.set("HT_REDIS__URL", shared.url()));
    let mut clients = [client(&node, acme), client(&node, other)];
    own.stop();
    wait_for_log(&node, 0);
    let refused = acme.post(&node, &publish("refused", "1"));
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    accepted(other, &node, &publish("on", "1"));
    assert_eq!(clients[1].expect_publish().0, "on");
    let ready = node.get("/ready");
    assert_eq!(ready.status, 200, "{ready:?}");
    let notes = ready.json()["notes"].to_string();
    assert!(notes.contains("the own logs of 1"), "{notes}");
    assert!(!notes.contains("acme"), "{notes}");
    // Its clients stay, others of it come in, and a new node serves other tenants at once.
    let mut waiting = client(&node, acme);
    let builder = with_logs(&tenants, &own.url());
    let late = builder.set("HT_REDIS__URL", shared.url()).start();
    wait_for_ready(&late);
    let mut of_late = client(&late, other);
    accepted(other, &node, &publish("everywhere", "2"));
    assert_eq!(of_late.expect_publish().0, "everywhere");
    own.start_again();
    for node in [&node, &late] {
        wait_for_log(node, 1);
    }
    accepted(acme, &late, &publish("back", "3"));
    for client in [&mut clients[0], &mut waiting] {
        assert_eq!(client.expect_publish().0, "back");
        client.fence();
    }
}

#[test]
fn logs_come_and_go_with_their_tenants() {
    let (shared, own) = (Redis::start(), Redis::start());
    let other = || Tenant::new("globex");
    let builder = with_logs(&[other()], &own.url());
    let node = builder.set("HT_REDIS__URL", shared.url()).start();
    wait_for_ready(&node);
    let globex = other();
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).expect("threads");
        let names = tasks
            .flatten()
            .filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
        names.filter(|name| name.trim() == "0-acme").count()
    };
    assert_eq!(threads(), 0);
    let heard_by = |tenant: &Tenant, client: &mut Client, data: &str| {
        accepted(tenant, &node, &publish(data, data));
        assert_eq!(client.expect_publish().0, data);
    };
    // Added.
    let first = [acme("redis", ""), other()];
    replace(&node, &first);
    wait_for_log(&node, 1);
    let mut of_acme = client(&node, &first[0]);
    let mut of_other = client(&node, &first[1]);
    heard_by(&first[0], &mut of_acme, "one");
    assert_eq!(threads(), 1);
    // Another log: its clients come back, nobody else notices.
    let second = [acme("redis", ", stream = \"another\""), other()];
    replace(&node, &second);
    assert!(of_acme.expect_close(1012).starts_with("restart "));
    wait_for_log(&node, 1);
    let mut of_acme = client(&node, &second[0]);
    heard_by(&second[0], &mut of_acme, "two");
    assert!(own.command(&["EXISTS", "another"]).starts_with('1'));
    eventually("the former log is not read any more", || {
        (threads() == 1).then_some(())
    });
    // That of all others, and one of its own again.
    let third = [Tenant::new("acme"), other()];
    replace(&node, &third);
    assert!(of_acme.expect_close(1012).starts_with("restart "));
    let mut of_acme = client(&node, &third[0]);
    heard_by(&third[0], &mut of_acme, "three");
    eventually("it has no thread", || (threads() == 0).then_some(()));
    replace(&node, &second);
    assert!(of_acme.expect_close(1012).starts_with("restart "));
    wait_for_log(&node, 1);
    let mut of_acme = client(&node, &second[0]);
    heard_by(&second[0], &mut of_acme, "four");
    // Suspended, and removed.
    let suspended = [
        acme("redis", ", stream = \"another\"").line("suspended = true"),
        other(),
    ];
    replace(&node, &suspended);
    assert_eq!(of_acme.expect_close(4102), "suspended 600000");
    replace(&node, &second);
    eventually("it is served again", || {
        let first = second[0].handshake(&node).open().expect_json();
        (first["is_authorized"] == true).then_some(())
    });
    let mut of_acme = client(&node, &second[0]);
    replace(&node, &[globex]);
    assert!(of_acme.expect_close(1012).starts_with("restart "));
    eventually("it has no thread", || (threads() == 0).then_some(()));
    assert_eq!(second[0].post(&node, &publish("late", "late")).status, 401);
    assert!(!get(&node, "/metrics").text().contains("tenant_log_up{"));
    heard_by(&second[1], &mut of_other, "five");
    of_other.fence();
}

#[test]
fn a_node_that_shuts_down_closes_the_clients_of_every_log() {
    let (shared, own) = (Redis::start(), Redis::start());
    let tenants = [acme("redis", ""), Tenant::new("globex")];
    let builder = with_logs(&tenants, &own.url());
    let mut node = start(builder.set("HT_REDIS__URL", shared.url()));
    let mut clients = tenants.each_ref().map(|tenant| client(&node, tenant));
    node.signal("TERM");
    for client in &mut clients {
        assert!(client.expect_close(1012).starts_with("restart "));
    }
    assert_eq!(node.wait_for_end(), Some(0));
    let log = node.log();
    assert!(!log.contains("drain.timeout exceeded"), "{log}");
}

#[test]
fn check_tries_the_log_of_each_tenant() {
    let mut own = Redis::start();
    let tenants = [Tenant::new("acme").line(&format!("redis = {{ url = \"{}\" }}", own.url()))];
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tenants.toml"), file(&tenants)).expect("a file");
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_high-templar"))
            .arg("check")
            .current_dir(folder.path())
            .env_clear()
            .env("HT_LISTEN", "127.0.0.1:0")
            .env("HT_INTERNAL__LISTEN", "127.0.0.1:0")
            .env("HT_INTERNAL__API_KEY", ADMIN)
            .env("HT_TENANTS__SOURCE", "file")
            .env("HT_TENANTS__FILE", "tenants.toml")
            .env("HT_TENANTS__LOGS", "1")
            .output()
            .expect("the binary runs");
        (
            output.status.success(),
            String::from_utf8(output.stdout).expect("a text"),
        )
    };
    let (works, found) = check();
    assert!(
        works && found.contains("ok   tenant acme, log: Redis at 127.0.0.1:"),
        "{found}"
    );
    assert!(
        found.contains("the stream high-templar.tenant.acme.log"),
        "{found}"
    );
    own.stop();
    let (works, found) = check();
    assert!(
        !works && found.contains("FIX  tenant acme, log: Redis at 127.0.0.1:"),
        "{found}"
    );
}

#[test]
fn a_gap_of_a_log_is_told_to_its_own_clients_alone() {
    let (shared, own) = (Redis::start(), Redis::start());
    let tenants = [acme("redis", ""), Tenant::new("globex")];
    let [acme, other] = &tenants;
    let builder = with_logs(&tenants, &own.url());
    let node = start(builder.set("HT_REDIS__URL", shared.url()));
    let mut page = named(acme.handshake(&node), EVENTS).open();
    let before = page.expect_whole()["cursor"].clone();
    let mut clients = [client(&node, acme), client(&node, other)];
    accepted(acme, &node, &publish("before", "1"));
    assert_eq!(clients[0].expect_publish().0, "before");
    // Its log is another one from here on.
    assert_eq!(own.command(&["FLUSHALL"]), "OK");
    let reason = clients[0].expect_close(1012);
    assert!(reason.starts_with("gap "), "{reason}");
    assert_eq!(page.expect_whole()["type"], "gap");
    wait_for_log(&node, 1);
    let mut back = client(&node, acme);
    let after = accepted(acme, &node, &publish("after", "2"));
    assert_eq!(back.expect_publish().0, "after");
    assert_ne!(epoch(&after["cursor"]), epoch(&before));
    accepted(other, &node, &publish("on", "3"));
    assert_eq!(clients[1].expect_publish().0, "on");
    clients[1].fence();
}

#[test]
fn the_limits_of_a_tenant_hold_for_its_own_log() {
    let own = Redis::start();
    let limits = |limits: &str| {
        [
            acme("redis", "").line(&format!("limits = {{ {limits} }}")),
            Tenant::new("globex"),
        ]
    };
    let tenants = limits("window_bytes = \"4KiB\"");
    let acme = &tenants[0];
    let node = start(with_logs(&tenants, &own.url()));
    let mut page = named(acme.handshake(&node), EVENTS).open();
    let cursor = page.expect_whole()["cursor"].clone();
    page.leave();
    let long = "x".repeat(1_000);
    for number in 0..20 {
        accepted(acme, &node, &publish(&long, &number.to_string()));
    }
    let resume = json!({
        "type": "resume", "requestId": 0, "cursor": cursor,
        "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
    });
    let resumed = || {
        let mut page = named(acme.handshake(&node), EVENTS).open();
        page.expect_whole();
        page.call(&resume)
    };
    let answer = resumed();
    assert_eq!(answer["recovered"], false, "{answer}");
    assert_eq!(answer["reason"], "trimmed", "{answer}");
    assert!(metric(&node, "high_templar_tenant_window_trimmed_total") > Some(0));
    let bytes = "high_templar_tenant_log_window_bytes{tenant=\"acme\"}";
    assert!(metric(&node, bytes) > Some(0), "what is left");
    // A limit that changes holds at once, and the log goes on.
    let changed = limits("publish_per_second = 1");
    replace(&node, &changed);
    eventually("there is a limit", || {
        let answer = changed[0].post(&node, &publish("more", &node.log().len().to_string()));
        (answer.status == 429).then_some(())
    });
    assert!(!node.log().contains("is not read any more"));
}

#[test]
fn a_log_whose_server_hangs_is_let_go() {
    let (shared, own) = (Redis::start(), Redis::start());
    let tenants = [
        acme("redis", ", publish_timeout = \"1s\""),
        Tenant::new("globex"),
    ];
    let [acme, other] = &tenants;
    let node = || {
        let builder = with_logs(&tenants, &own.url());
        start(builder.set("HT_REDIS__URL", shared.url()))
    };
    let (mut ending, staying) = (node(), node());
    let mut of_ending = [client(&ending, acme), client(&ending, other)];
    let mut of_staying = [client(&staying, acme), client(&staying, other)];
    own.pause();
    let refused = acme.post(&staying, &publish("refused", "1"));
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    accepted(other, &staying, &publish("on", "1"));
    for client in [&mut of_ending[1], &mut of_staying[1]] {
        assert_eq!(client.expect_publish().0, "on");
    }
    // With its tenant, and with its node.
    replace(&staying, &[Tenant::new("globex")]);
    assert!(of_staying[0].expect_close(1012).starts_with("restart "));
    ending.signal("TERM");
    for client in &mut of_ending {
        assert!(client.expect_close(1012).starts_with("restart "));
    }
    assert_eq!(ending.wait_for_end(), Some(0));
    own.resume();
    of_staying[1].fence();
}

#[test]
fn an_operator_puts_a_tenant_with_a_log_of_its_own() {
    let own = Redis::start();
    let globex = Tenant::new("globex");
    let builder = with_logs(&[], &own.url());
    let folder = builder.folder().join("tenants");
    fs::create_dir(&folder).expect("a folder");
    fs::write(
        folder.join("globex.toml"),
        globex.table().replace("[[tenant]]\n", ""),
    )
    .expect("a file");
    let node = builder.set("HT_TENANTS__FILE", "tenants").start();
    let put = |log: Value| {
        let key = format!("Bearer {ADMIN}");
        let mut tenant = json!({"hosts": ["acme.test"], "backend": {"url": globex.backend.url}});
        tenant["redis"] = log;
        let headers = [("Authorization", &*key)];
        let body = tenant.to_string();
        http::request(
            node.internal(),
            "PUT",
            "/tenants/acme",
            &headers,
            body.as_bytes(),
        )
    };
    for wrong in [
        json!({"url": "unix:///run/redis.sock"}),
        json!({"url": "redis://:geheim@127.0.0.1"}),
        json!({"url": own.url(), "tls_ca_file": "/etc/passwd"}),
        json!({"stream": "own"}),
    ] {
        let answer = put(wrong.clone());
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
        assert!(!answer.text().contains("geheim"), "{}", answer.text());
    }
    let answer = put(json!({"url": own.url()}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    wait_for_log(&node, 1);
    let acme = Tenant::new("acme");
    let mut client = client(&node, &acme);
    let record = publish("heard", "1");
    let answer = post(&node, ADMIN, &[("High-Templar-Tenant", "acme")], &record);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(client.expect_publish().0, "heard");
    let stream = "high-templar.tenant.acme.log";
    assert!(own.command(&["EXISTS", stream]).starts_with('1'));
}
