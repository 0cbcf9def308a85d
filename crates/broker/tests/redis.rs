//! Redis as the log: publishers, retention, rights, and what goes wrong. Servers that are killed,
//! stopped or replaced are in `redis_outages.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use ht_broker::config::RedisConfig;
use ht_broker::log::{From, Kind, Log, NewEntry, TailError};
use ht_broker::redis::{APPEND, ProbeError, Redis, probe};
use ht_broker::{AppendError, MissedReason};
use ht_proto::entry::Position;
use ht_testkit::eventually;
use ht_testkit::redis::Redis as Server;
use tokio::time::{Instant, sleep, timeout};

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, another_epoch, body, trigger};

const PUBLISH: Duration = Duration::from_secs(5);

const STREAM: &str = "high-templar.log";

fn log(config: &RedisConfig) -> Arc<dyn Log> {
    Arc::new(Redis::new(config).unwrap())
}

async fn node(config: &RedisConfig) -> Node {
    let node = Node::start(log(config), PUBLISH);
    node.becomes_ready().await;
    node
}

/// Appends a trigger with this data, as a publisher of any language does. Returns its id.
fn append(server: &Server, data: &str) -> String {
    let arguments = ["EVAL", APPEND, "1", STREAM, "250000", "trigger", ""];
    server.command_with(&arguments, &body(data))
}

/// Appends so many records that nobody parses.
fn fill(server: &Server, count: usize) {
    for _ in 0..count / 100 {
        let mut arguments = vec!["EVAL", APPEND, "1", STREAM, "250000"];
        arguments.extend(std::iter::repeat_n(["note", "", "{}"], 100).flatten());
        server.command(&arguments);
    }
}

fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}

#[test]
fn the_documentation_has_the_script() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(APPEND), "{page}");
}

#[tokio::test]
async fn many_publishers_at_once_lose_and_double_nothing() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 250;
    let server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let publishing = (0..PUBLISHERS).map(|publisher| {
        let client = redis::Client::open(server.url()).unwrap();
        tokio::spawn(async move {
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            for number in 0..EACH {
                let mut append = redis::cmd("EVAL");
                append.arg(APPEND).arg(1).arg(STREAM).arg(250_000);
                let body = body(&(publisher * 10_000 + number).to_string());
                append.arg("trigger").arg("").arg(body);
                let _: String = append.query_async(&mut connection).await.unwrap();
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    // Beside them, through the nodes.
    for number in 0..100 {
        let own = trigger(&(1_000_000 + number).to_string());
        nodes[number % 2].broker.publish(vec![own]).await.unwrap();
    }
    for task in publishing {
        task.await.unwrap();
    }
    let expected = PUBLISHERS * EACH + 100;
    for node in &nodes {
        eventually(SOON, || node.recorder.count() >= expected).await;
    }
    let [first, second] = nodes.each_ref().map(|node| node.recorder.seen());
    assert_eq!(first, second, "in one order");
    let mut numbers: Vec<usize> = first.iter().map(|text| text.parse().unwrap()).collect();
    for publisher in (0..PUBLISHERS).chain([100]) {
        let range = publisher * 10_000..(publisher + 1) * 10_000;
        let of = numbers.iter().filter(|number| range.contains(number));
        assert!(of.is_sorted(), "each publisher's own order");
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), expected);
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test]
async fn killed_connections_are_replaced_without_a_gap() {
    let server = Server::start();
    let node = node(&server.config()).await;
    for round in 0..3 {
        append(&server, &(2 * round).to_string());
        if round == 0 {
            // A log of which nothing was read cannot be resumed.
            node.sees("0").await;
        }
        let killed = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed.parse::<u32>().unwrap() >= 1, "{killed}");
        append(&server, &(2 * round + 1).to_string());
        node.sees(&(2 * round + 1).to_string()).await;
        node.becomes_ready().await;
    }
    publishes_again(&node).await;
    let expected: Vec<_> = (0..6).map(|number| number.to_string()).collect();
    assert_eq!(node.recorder.seen()[..6], expected);
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// Its connection for publishing may take a moment longer to come back.
async fn publishes_again(node: &Node) {
    let begun = Instant::now();
    while let Err(error) = node.broker.publish(vec![trigger("\"again\"")]).await {
        assert!(begun.elapsed() < SOON, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
    node.sees("\"again\"").await;
}

#[tokio::test]
async fn too_many_records_are_dropped() {
    let server = Server::start();
    let config = RedisConfig {
        retention_entries: 1_000,
        ..server.config()
    };
    fill(&server, 5_000);
    let node = node(&config).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    let length: u64 = server.command(&["XLEN", STREAM]).parse().unwrap();
    assert!((1_000..1_200).contains(&length), "{length}");
    let bounds = log(&config).bounds().await.unwrap();
    let (first, last) = (bounds.first.unwrap(), bounds.last.unwrap());
    assert_eq!(last.get() - first.get() + 1, length);
    for old in [at(1), first.previous().unwrap()] {
        let late = log(&config).tail(From::At(old)).await;
        assert_eq!(late.err(), Some(TailError::Trimmed(old)));
        let read = log(&config).read(old..=last, 1_000).await;
        assert_eq!(read.unwrap_err(), TailError::Trimmed(old));
    }
    let kept = log(&config).read(first..=last, usize::MAX).await.unwrap();
    assert_eq!(kept.len() as u64, length);
    node.end().await;
}

/// The server drops whole blocks of a hundred records, and never the last record.
#[tokio::test]
async fn old_records_are_dropped_and_the_last_one_is_kept() {
    let server = Server::start();
    let config = RedisConfig {
        retention: Duration::from_millis(1_500),
        ..server.config()
    };
    fill(&server, 1_000);
    sleep(Duration::from_secs(3)).await;
    fill(&server, 100);
    // Where a node begins to read that wants what is young, or the last positions.
    let tail = async |age, positions| {
        let log = log(&server.config());
        let mut tail = log.tail(From::Back { age, positions }).await.unwrap();
        let read = tail.next().await.unwrap().records;
        read[0].position.unwrap().get()
    };
    let (young, all) = (Duration::from_millis(1_500), Duration::from_secs(3_600));
    assert_eq!(tail(young, 0).await, 1_001);
    assert_eq!(tail(young, 500).await, 601);
    assert_eq!(tail(young, 5_000).await, 1);
    assert_eq!(tail(all, 0).await, 1);
    let node = node(&config).await;
    let first = || {
        let ids = server.command(&["XRANGE", STREAM, "-", "+", "COUNT", "1"]);
        let id = ids.lines().next().unwrap_or_default();
        id.split_once('-').map_or(0, |(_, n)| n.parse().unwrap())
    };
    eventually(SOON, || (902..=1_001).contains(&first())).await;
    node.end().await;

    sleep(Duration::from_secs(3)).await;
    let again = log(&config);
    let working = Arc::clone(&again);
    let working = tokio::spawn(async move { working.work().await });
    eventually(SOON, || first() > 1_001).await;
    let last = again.bounds().await.unwrap().last.unwrap();
    assert_eq!(again.read(last..=last, 1_000).await.unwrap().len(), 1);
    working.abort();
}

/// A tail that is connected finds out by itself, within a second or two.
#[tokio::test]
async fn a_stream_made_anew_is_found() {
    let server = Server::start();
    for data in ["1", "2", "3"] {
        append(&server, data);
    }
    for published in [0, 1, 5] {
        let log = log(&server.config());
        let mut tail = Arc::clone(&log).tail(From::At(at(1))).await.unwrap();
        let mut last = at(1);
        while let Ok(Ok(batch)) = timeout(Duration::from_millis(100), tail.next()).await {
            last = batch.records.last().unwrap().position.unwrap();
        }
        server.command(&["DEL", STREAM]);
        for number in 0..published {
            append(&server, &number.to_string());
        }
        let found = timeout(SOON, tail.next()).await.unwrap();
        assert_eq!(found.unwrap_err(), TailError::Rewound(last));
        let resumed = Arc::clone(&log).tail(From::At(last)).await;
        assert_eq!(resumed.err(), Some(TailError::Rewound(last)), "{published}");
        append(&server, "\"more\"");
    }
}

/// Restored from something that has another record where the node was: nothing else shows it.
#[tokio::test]
async fn every_node_takes_the_new_epoch_of_a_stream_that_was_made_anew() {
    let server = Server::start();
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    nodes[0].broker.publish(vec![trigger("1")]).await.unwrap();
    for node in &nodes {
        node.sees("1").await;
    }
    let known = nodes[0].broker.epoch().unwrap();
    assert_eq!(nodes[1].broker.epoch(), Some(known));
    server.command(&["DEL", STREAM]);
    let anew = another_epoch(&nodes, known).await;
    append(&server, "2");
    for node in &nodes {
        node.sees("2").await;
        assert_eq!(node.recorder.gaps().last(), Some(&MissedReason::Rewound));
    }

    let replace = "local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
        redis.call('DEL', KEYS[1])
        return redis.call('XADD', KEYS[1], last, 'body', '{}')";
    server.command(&["EVAL", replace, "1", STREAM]);
    another_epoch(&nodes, anew).await;
    append(&server, "3");
    for node in nodes {
        node.sees("3").await;
        assert_eq!(node.recorder.seen(), ["1", "2", "3"]);
        node.end().await;
    }
}

/// Its id is not one of the log, which goes on after it, in another epoch.
#[tokio::test]
async fn a_record_that_was_added_without_the_script_leaves_no_node_deaf() {
    let server = Server::start();
    // Before there is any other, too.
    server.command(&["XADD", STREAM, "*", "body", &body("0")]);
    let nodes = [node(&server.config()).await, node(&server.config()).await];
    let mut known = nodes[0].broker.epoch().unwrap();
    for data in ["1", "2"] {
        server.command(&["XADD", STREAM, "*", "body", &body("\"lost\"")]);
        known = another_epoch(&nodes, known).await;
        nodes[1].broker.publish(vec![trigger(data)]).await.unwrap();
        append(&server, &format!("\"{data} too\""));
        for node in &nodes {
            node.sees(&format!("\"{data} too\"")).await;
        }
    }
    for node in nodes {
        assert_eq!(node.recorder.seen(), ["1", "\"1 too\"", "2", "\"2 too\""]);
        node.end().await;
    }
}

/// Also one whose ids are later than the clock.
#[tokio::test]
async fn a_stream_that_was_emptied_is_another_one() {
    let server = Server::start();
    let first = append(&server, "1");
    let (life, number) = first.split_once('-').unwrap();
    assert_eq!(number, "1");
    assert!(life.parse::<u64>().unwrap() > 1_700_000_000_000, "{life}");
    assert_eq!(append(&server, "2"), format!("{life}-2"));
    server.command(&["XADD", STREAM, "9999999999999-7", "body", "{}"]);
    assert_eq!(append(&server, "3"), "9999999999999-8");
    server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    assert_eq!(append(&server, "4"), "10000000000000-1");
    let bounds = log(&server.config()).bounds().await.unwrap();
    assert_eq!((bounds.first, bounds.last), (Some(at(1)), Some(at(1))));
}

#[tokio::test]
async fn a_user_needs_no_more_than_is_stated() {
    let server = Server::start();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    let line = |user: &str| {
        let start = format!("ACL SETUSER {user} ");
        let mut lines = page.lines().map(str::trim_start);
        lines.find(|line| line.starts_with(&start)).unwrap()
    };
    for (user, rule) in [("gateway", line("gateway")), ("shop", line("shop"))] {
        let rule = rule.replace(">PASSWORD", &format!(">{user}"));
        let words: Vec<_> = rule.split(' ').collect();
        assert_eq!(server.command(&words), "OK");
    }
    let config = RedisConfig {
        username: Some("gateway".into()),
        password: Some("gateway".into()),
        ..server.config()
    };
    assert!(probe(&config).await.unwrap().notes.is_empty());
    let node = node(&config).await;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    let publish = ["--user", "shop", "--pass", "shop", "--no-auth-warning"];
    let append = ["EVAL", APPEND, "1", STREAM, "250000", "trigger", ""];
    server.command_with(&[&publish[..], &append].concat(), &body("2"));
    node.sees("2").await;
    // A second and more, so that the log is verified, too.
    sleep(Duration::from_millis(2_500)).await;
    assert!(node.is_ready(), "{}", node.trouble());
    for forbidden in [
        &["XREAD", "STREAMS", STREAM, "0"][..],
        &["DEL", STREAM],
        &["XADD", "other", "*", "body", "{}"],
    ] {
        let refused = server.command(&[&publish[..], forbidden].concat());
        assert!(refused.starts_with("NOPERM"), "{forbidden:?}: {refused}");
    }
    server.command(&["ACL", "SETUSER", "gateway", "-eval"]);
    let refused = probe(&config).await.unwrap_err().to_string();
    assert!(refused.contains("the user lacks a right"), "{refused}");
    assert!(refused.contains("docs/redis.md"), "{refused}");
    node.end().await;
}

#[tokio::test]
async fn trouble_names_its_cause_and_no_password() {
    let (server, replica) = (Server::start(), Server::start());
    replica.command(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    server.command(&["SET", "a-string", "1"]);
    server.command(&["ACL", "SETUSER", "u", "on", ">right", "~*", "+@all"]);
    let config = |url: String| RedisConfig {
        url,
        ..server.config()
    };
    let host = format!("127.0.0.1:{}", server.port());
    let closed = Server::start();
    closed.command(&["CONFIG", "SET", "requirepass", "geheim"]);
    for (config, cause, advice) in [
        (
            config(format!("redis://u:geheim@{host}")),
            "the login was refused",
            "redis.password",
        ),
        (
            config(closed.url()),
            "the login was refused",
            "redis.password",
        ),
        (
            config("redis://u:geheim@127.0.0.1:1".into()),
            "cannot connect",
            "whether it runs",
        ),
        (
            config("unix:///nowhere/redis.sock?user=u&pass=geheim".into()),
            "cannot connect",
            "whether it runs",
        ),
        (
            config(format!("redis://u:right@{host}/99")),
            "refused to switch database",
            "",
        ),
        (
            config(replica.url()),
            "the server is a replica",
            "name the primary",
        ),
        (
            RedisConfig {
                stream: "a-string".into(),
                ..server.config()
            },
            "redis.stream is not a stream",
            "another name",
        ),
        (
            config(format!("rediss://u:geheim@{host}")),
            "TLS",
            "the one with TLS",
        ),
    ] {
        let found = probe(&config).await.unwrap_err();
        assert!(matches!(found, ProbeError::Unusable { .. }));
        let text = found.to_string();
        assert!(text.contains(cause) && text.contains(advice), "{text}");
        assert!(!text.contains("geheim") && !text.contains('\n'), "{text}");
        let node = Node::start(log(&config), PUBLISH);
        eventually(SOON, || node.broker.counts().failures >= 1).await;
        assert!(node.trouble().contains(cause), "{}", node.trouble());
        assert!(!node.trouble().contains("geheim"));
        node.end().await;
    }
    let debug = format!(
        "{:?}",
        Redis::new(&config(format!("redis://u:geheim@{host}"))).unwrap()
    );
    assert!(!debug.contains("geheim"), "{debug}");
}

/// Nothing was appended, and publishers are told so; what is there is still read.
#[tokio::test]
async fn a_server_that_takes_no_more_says_why() {
    let server = Server::start_with(&["--save", "3600 1", "--dbfilename", "taken"]);
    std::fs::create_dir_all(server.folder().join("taken/by-another")).unwrap();
    let node = node(&server.config()).await;
    node.broker
        .publish(vec![trigger("\"before\"")])
        .await
        .unwrap();
    for (fault, repair, cause) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            &["CONFIG", "SET", "maxmemory", "0"][..],
            "the server has no memory left",
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "the server has too few replicas",
        ),
        (
            &["BGSAVE"],
            &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"],
            "the server cannot save its data",
        ),
    ] {
        let length = server.command(&["XLEN", STREAM]);
        server.command(fault);
        let begun = Instant::now();
        let refused = loop {
            let several = vec![trigger("\"refused\""); 20];
            match node.broker.publish(several).await {
                Err(error) => break error,
                // Until the save in the background has failed.
                Ok(_) => assert!(begun.elapsed() < SOON, "{cause}"),
            }
        };
        let AppendError::Unavailable(text) = &refused else {
            panic!("{refused}");
        };
        assert!(text.contains(cause), "{text}");
        if fault[0] != "BGSAVE" {
            assert_eq!(server.command(&["XLEN", STREAM]), length, "nothing came");
        }
        assert!(node.is_ready(), "it reads");
        server.command(repair);
        publishes_again(&node).await;
    }
    assert_eq!(node.recorder.gaps().len(), 1, "the start alone");
    node.end().await;
}

/// All of a call is appended together, and calls that wait share a script.
#[tokio::test]
async fn calls_that_wait_are_appended_together() {
    let server = Server::start();
    let log = log(&server.config());
    let entries = |call: usize| {
        let entry = move |number| NewEntry {
            tenant: None,
            kind: Kind::Trigger,
            key: format!("{call}.{number}").into(),
            body: "{}".into(),
        };
        (0..10).map(entry).collect::<Vec<_>>()
    };
    // Nothing is connected yet: all of them wait.
    let calls = (0..20).map(|call| log.append(entries(call), SOON));
    let calls = futures_util::future::join_all(calls);
    let appended = tokio::select! {
        appended = calls => appended,
        () = log.work() => unreachable!(),
    };
    let positions: Vec<u64> = appended
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|appended| appended.unwrap().position.get())
        .collect();
    assert_eq!(positions, (1..=200).collect::<Vec<u64>>());
    let calls = server.command(&["INFO", "commandstats"]);
    assert!(calls.contains("cmdstat_eval:calls=1,"), "{calls}");
}

/// The next read asks for fewer of them.
#[tokio::test]
async fn long_records_are_read_in_parts() {
    let server = Server::start();
    let log = log(&server.config());
    let working = Arc::clone(&log);
    let working = tokio::spawn(async move { working.work().await });
    let entry = |number: usize| NewEntry {
        tenant: None,
        kind: Kind::Trigger,
        key: number.to_string().into(),
        body: vec![b'x'; 1 << 20].into(),
    };
    for number in 0..40 {
        log.append(vec![entry(number)], SOON).await.unwrap();
    }
    let mut tail = Arc::clone(&log).tail(From::At(at(1))).await.unwrap();
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 40 {
        let batch = timeout(SOON, tail.next()).await.unwrap().unwrap();
        sizes.push(batch.records.len());
        if sizes.len() == 1 {
            for number in 40..60 {
                log.append(vec![entry(number)], SOON).await.unwrap();
            }
        }
    }
    assert!(sizes[1..].iter().all(|size| *size <= 4), "{sizes:?}");
    working.abort();
}
