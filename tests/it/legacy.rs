//! The environment of the Python deployments starts this gateway unchanged.

use serde_json::json;

use crate::support::Client;
use crate::support::Gateway;
use crate::support::Handshake;
use crate::support::Reply;
use crate::support::StubBackend;

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
    let path = folder.path().join("binder.sock");
    let backend = StubBackend::unix(&path, |_| Reply::rooms(&json!([])));
    for variable in ["BINDER_SOCKET", "CY_BINDER_SOCKET"] {
        let before = backend.requests().len();
        let mut gateway = Gateway::with(&backend)
            .unset("HT_BACKEND__URL")
            .set("HT_RABBITMQ__URL", "")
            .set(variable, path.display());
        if variable.starts_with("CY") {
            gateway = gateway.set("CY_BINDER_INTERNAL", "http://localhost/api/");
        }
        Client::connect(&gateway.start()).leave();
        let seen = backend.wait_for(before + 1).remove(before);
        assert_eq!(seen.target, "/api/bootstrap/");
        assert_eq!(seen.header("host"), Some("localhost"));
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
