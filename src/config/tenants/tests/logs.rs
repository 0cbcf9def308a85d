//! Logs that tenants have of their own.

use ht_broker::config::Engine;
use ht_broker::postgres::{Postgres, Schema};

use super::*;

const PERMITTED: &str = "[backend]\nurl = 'http://main/'\n[tenants]\nsource = 'file'\nlogs = 2\n";

/// The table of a tenant with these lines.
fn table(name: &str, lines: &str) -> String {
    format!("[[tenant]]\nname = '{name}'\nbackend = {{ url = 'http://{name}/' }}\n{lines}\n")
}

fn file(settings: &str, tenants: &[(&str, &str)]) -> String {
    let tables = tenants.iter().map(|(name, lines)| table(name, lines));
    format!("{settings}{}", tables.collect::<String>())
}

/// The log of a tenant with this line.
#[track_caller]
fn log(line: &str) -> (Engine, Vec<String>) {
    let text = file(PERMITTED, &[("a-b", line)]);
    let log = good(&[
        ("high-templar.toml", &text),
        ("url", "amqp://u:geheim@mq/v"),
    ])
    .remove(0)
    .log;
    let log = log.expect("a log");
    (
        log.engine,
        log.names.iter().map(ToString::to_string).collect(),
    )
}

#[track_caller]
fn mistakes(settings: &str, tenants: &[(&str, &str)]) -> String {
    let text = file(settings, tenants);
    let found = bad(&[("high-templar.toml", &text)]).join("\n");
    assert!(!found.contains("geheim"), "{found}");
    found
}

#[test]
fn a_tenant_without_a_section_of_a_log_has_that_of_the_node() {
    let text = file(PERMITTED, &[("acme", "")]);
    assert!(good(&[("high-templar.toml", &text)])[0].log.is_none());
}

#[test]
fn names_that_are_not_written_have_that_of_the_tenant() {
    let (engine, names) = log("rabbitmq = { url = { file = 'url' } }");
    let Engine::RabbitMq(config) = engine else {
        panic!("{engine:?}");
    };
    assert_eq!(config.url, "amqp://u:geheim@mq/v");
    assert_eq!(config.exchange, "hightemplar.tenant.a-b");
    let stream = config.stream.expect("it retains");
    assert_eq!(stream.name, "hightemplar.tenant.a-b.log");
    let of = |what| format!("RabbitMQ mq:5672/v, {what}");
    let stream = of("stream hightemplar.tenant.a-b.log");
    assert_eq!(names, [of("exchange hightemplar.tenant.a-b"), stream]);
    for (line, expected) in [
        (
            "postgres = { url = 'postgresql://u@db/shop' }",
            "PostgreSQL db:5432/shop, schema ht_a_b",
        ),
        (
            "nats = { url = 'nats://host' }",
            "NATS host:4222, subject hightemplar.tenant.a-b",
        ),
        (
            "redis = { url = 'redis://cache/3' }",
            "Redis cache:6379/3, stream high-templar.tenant.a-b.log",
        ),
        (
            "redis = { url = 'redis://cache', stream = 'own' }",
            "Redis cache:6379/0, stream own",
        ),
    ] {
        assert_eq!(log(line).1, [expected]);
    }
}

#[test]
fn the_longest_name_of_a_tenant_names_a_log_as_well() {
    let name = "x".repeat(40);
    let line = "postgres = { url = 'postgresql://u@db/shop' }";
    let text = file(PERMITTED, &[(&name, line)]);
    let log = good(&[("high-templar.toml", &text)]).remove(0).log.unwrap();
    let Engine::Postgres(config) = log.engine else {
        panic!("{log:?}");
    };
    assert!(Schema::new(&config.log).is_ok(), "{}", config.log);
    Postgres::new(&config).unwrap();
}

#[test]
fn what_is_wrong_with_a_log_is_told() {
    for (line, part) in [
        (
            "rabbitmq = { exchange = 'own' }",
            "tenant acme: rabbitmq.url: this setting is missing",
        ),
        (
            "rabbitmq = { url = 'amqp://mq', log = 'queue' }",
            "rabbitmq.log: the log of a tenant retains what it carries",
        ),
        (
            "rabbitmq = { url = 'amqp://mq' }\nredis = { url = 'redis://cache' }",
            "there is one log: leave one of them out",
        ),
        (
            "redis = { url = 'http://cache' }",
            "redis.url: the url must start with redis://",
        ),
        (
            "rabbitmq = { url = 'amqp://u:geheim@mq' }",
            "rabbitmq.url: a secret is not written here",
        ),
        (
            "nats = { url = 'nats://a,nats://u:geheim@b' }",
            "nats.url: a secret is not written here",
        ),
        (
            "postgres = { url = 'postgresql://db/shop?user=u&password=geheim' }",
            "postgres.url: a secret is not written here",
        ),
        (
            "redis = { url = 'redis://cache', password = 'geheim' }",
            "redis.password: a secret is not written here",
        ),
        (
            "nats = { url = 'nats://host', token = 'geheim' }",
            "nats.token: a secret is not written here",
        ),
        ("kafka = { url = 'kafka://host' }", "kafka"),
    ] {
        let found = mistakes(PERMITTED, &[("acme", line)]);
        assert!(found.contains(part), "{line}: {found}");
    }
}

#[test]
fn a_log_is_of_one_tenant_and_not_of_the_node() {
    let own = "redis = { url = 'redis://cache', stream = 'own' }";
    let found = mistakes(PERMITTED, &[("acme", own), ("globex", own)]);
    assert!(
        found.contains("acme and globex both have the log Redis cache:6379/0, stream own"),
        "{found}"
    );
    let node = format!("{PERMITTED}[redis]\nurl = 'redis://cache'\nstream = 'own'\n");
    let found = mistakes(&node, &[("acme", own)]);
    assert!(found.contains("is the log of all other tenants"), "{found}");
    // The default names differ.
    let other = "redis = { url = 'redis://cache' }";
    let text = file(&node, &[("acme", other), ("globex", other)]);
    assert_eq!(good(&[("high-templar.toml", &text)]).len(), 2);
}

#[test]
fn there_are_as_many_as_the_operator_permits() {
    let own = "redis = { url = 'redis://cache' }";
    let found = mistakes(MAIN, &[("acme", own)]);
    assert!(found.contains("of which tenants.logs permits 0"), "{found}");
    let three = [("one", own), ("two", own), ("three", own)];
    let found = mistakes(PERMITTED, &three);
    assert!(found.contains("tenant three: redis"), "{found}");
    assert!(!found.contains("tenant two"), "{found}");
    // What they may hold is memory of the node.
    let much = PERMITTED.replace("logs = 2", "logs = 64");
    let much = format!("{much}[limits]\nmemory_bytes = '200MiB'\n");
    let found = mistakes(&much, &[]);
    assert!(found.contains("tenants.logs (64 logs with"), "{found}");
}

#[test]
fn a_tenant_that_others_wrote_has_no_log_on_the_machine() {
    let mut mistakes = Mistakes::default();
    let read = |section: &str, settings: serde_json::Value, mistakes: &mut Mistakes| {
        let site = Site::with(&[("high-templar.toml", &file(PERMITTED, &[("globex", "")]))]);
        let tenancy = site.load(&[]).unwrap().tenancy;
        let tenant = json!({"name": "acme", "backend": {"url": "http://a/"}, section: settings});
        let document = tenant_of_json(tenant, "a request");
        let trust = Trust::Others(None);
        tenancy.reader(trust).one(&document, mistakes)
    };
    let allowed = json!({"url": "redis://cache"});
    assert!(
        read("redis", allowed, &mut mistakes).is_some(),
        "{mistakes}"
    );
    for (section, settings) in [
        ("redis", json!({"url": "unix:///run/redis.sock"})),
        (
            "redis",
            json!({"url": "rediss://cache", "tls_ca_file": "/etc/passwd"}),
        ),
        (
            "nats",
            json!({"url": "tls://host", "tls_key_file": "/etc/key"}),
        ),
        (
            "postgres",
            json!({"url": "postgresql://u@%2Frun%2Fpg/shop"}),
        ),
        (
            "postgres",
            json!({"url": "postgresql://u@db/shop?sslmode=verify-full&sslrootcert=/etc/passwd"}),
        ),
        ("redis", json!({"url": {"env": "HOME"}})),
        ("redis", json!({"url": {"file": "/etc/passwd"}})),
    ] {
        let mut mistakes = Mistakes::default();
        let shown = settings.to_string();
        assert!(read(section, settings, &mut mistakes).is_none(), "{shown}");
        assert!(!mistakes.is_empty());
    }
}
