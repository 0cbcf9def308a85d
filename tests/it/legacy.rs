//! The environment of the Python deployments starts this gateway unchanged.

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::json;

use crate::rabbitmq::wait_for_ready;
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend};

#[test]
fn the_usual_deployment_is_understood() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .unset("HT_BACKEND__URL")
        .set("HT_RABBITMQ__URL", "")
        .set("APP_URL", "https://app.example")
        .set("BINDER_INTERNAL", &backend.url)
        .set("LOGFILE_PATH", "/nowhere/high_templar.log")
        .set("LOGFILE_LEVEL", "DEBUG")
        .start();
    let mut client = Handshake::new(&gateway)
        .path("/ws/?token=t&session_token=s")
        .connect();
    client.fence();
    client.leave();
    let requests = backend.wait_for(4);
    for seen in &requests {
        assert_eq!(seen.header("referer"), Some("https://app.example/api/"));
        assert_eq!(seen.header("x-session-token"), Some("s"));
        assert_eq!(seen.header("authorization"), Some("Token t"));
    }
    backend.wait_for_moments(&["online", "online", "offline"]);
}

#[test]
fn app_url_alone_gives_the_api() {
    let backend = StubBackend::open();
    let app = backend.url.trim_end_matches("/api/").to_owned();
    let gateway = Gateway::with(&backend)
        .unset("HT_BACKEND__URL")
        .set("HT_RABBITMQ__URL", "")
        .set("APP_URL", &app)
        .start();
    Client::connect(&gateway).leave();
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(seen.target, "/api/bootstrap/");
    assert_eq!(seen.header("referer"), Some(&*format!("{app}/api/")));
}

#[test]
fn a_socket_gives_the_api_and_its_host() {
    let folder = tempfile::tempdir().unwrap();
    for variable in ["BINDER_SOCKET", "CY_BINDER_SOCKET"] {
        // Of its own: hooks of a former gateway may still arrive when that has ended.
        let path = folder.path().join(variable);
        let backend = StubBackend::unix(&path, |_| Reply::rooms(&json!([])));
        let mut gateway = Gateway::with(&backend)
            .unset("HT_BACKEND__URL")
            .set("HT_RABBITMQ__URL", "")
            .set(variable, path.display());
        if variable.starts_with("CY") {
            gateway = gateway.set("CY_BINDER_INTERNAL", "http://localhost/api/");
        }
        Client::connect(&gateway.start()).leave();
        let seen = backend.wait_for(1).remove(0);
        assert_eq!(seen.target, "/api/bootstrap/");
        assert_eq!(seen.header("host"), Some("localhost"));
    }
}

#[test]
fn the_broker_is_found_with_its_port_and_virtual_host() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    // amqp://rabbitmq:rabbitmq@127.0.0.1:20000/vhost
    let (_, host) = vhost.url().split_once('@').unwrap();
    for (user, password) in [(None, None), (Some("rabbitmq"), Some("rabbitmq"))] {
        let mut builder = Gateway::with(&backend).set("RABBITMQ_HOST", host);
        if let (Some(user), Some(password)) = (user, password) {
            builder = builder
                .set("RABBITMQ_USERNAME", user)
                .set("RABBITMQ_PASSWORD", password);
        }
        let gateway = builder.start();
        wait_for_ready(&gateway);
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        let trigger = json!({"rooms": [{"room": 1}], "data": 1});
        Rabbit::connect(vhost.url()).publish(trigger.to_string());
        assert_eq!(client.expect_publish().0, 1);
    }
}

#[test]
fn an_env_file_is_found_and_the_environment_wins() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend)
        .unset("HT_BACKEND__URL")
        .set("HT_RABBITMQ__URL", "");
    let lines = format!(
        "BINDER_INTERNAL={}\nexport APP_URL='https://file.example'\n# a comment\n",
        backend.url
    );
    std::fs::write(builder.folder().join(".env"), lines).unwrap();
    let gateway = builder
        .set("APP_URL", "https://environment.example")
        .start();
    Client::connect(&gateway).leave();
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(
        seen.header("referer"),
        Some("https://environment.example/api/")
    );
}
