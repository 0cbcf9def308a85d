//! The whole demo on free ports: websocket clients on one side, the page's HTTP calls on the other.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;

/// Timeout of every step.
const DEADLINE: Duration = Duration::from_secs(20);

const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    commit: "unknown",
    rustc: "unknown",
};

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(gateway: SocketAddr, query: &str, cookie: Option<&str>) -> Self {
        let url = format!("ws://{gateway}/ws/{query}");
        let mut request = url.into_client_request().unwrap();
        if let Some(cookie) = cookie {
            request
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        Self(socket)
    }

    async fn subscribe(&mut self, room: Value, request_id: &str) -> Value {
        let message = json!({ "type": "subscribe", "room": room, "requestId": request_id });
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
        self.next().await
    }

    /// The next message; a close is `{"closed": code}`.
    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(DEADLINE, self.0.next()).await;
        match next.expect("a message in time") {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(frame))) => {
                json!({ "closed": frame.map(|frame| u16::from(frame.code)) })
            }
            other => panic!("expected a text, got {other:?}"),
        }
    }
}

async fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", to.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<bytes::Bytes>::from(body.to_owned()));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn as_alice(to: SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let headers = [("authorization", "Token alice-demo-key")];
    request(to, "POST", path, &headers, body).await
}

async fn demo() -> Demo {
    start(DemoOptions::on_ports(0, 0, 0, 0), BUILD)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bob_receives_his_own_orders_and_alice_all() {
    let demo = demo().await;
    let Addresses { page, gateway, .. } = demo.addresses();
    let mut alice = Client::connect(gateway, "", Some("templar_demo=alice-demo-key")).await;
    let mut bob = Client::connect(gateway, "?token=bob-demo-key", None).await;
    assert_eq!(alice.next().await["is_authorized"], true);
    assert_eq!(bob.next().await["is_authorized"], true);
    let all = json!({ "target": "order", "customer": "*" });
    let his = json!({ "target": "order", "customer": "7" });
    assert_eq!(alice.subscribe(all.clone(), "a").await["code"], "success");
    assert_eq!(bob.subscribe(his, "b").await["code"], "success");
    assert_eq!(bob.subscribe(all, "c").await["message"], "room-not-found");

    let (status, other) = as_alice(page, "/api/order/", r#"{"customer":"12"}"#).await;
    assert_eq!(status, 201);
    let (_, own) = as_alice(page, "/api/order/", r#"{"customer":"7"}"#).await;
    for order in [&other, &own] {
        let expected = json!({ "type": "publish", "data": { "order": order }, "requestId": "a" });
        assert_eq!(alice.next().await, expected);
    }
    // Bob receives nothing of the other customer.
    let expected = json!({ "type": "publish", "data": { "order": own }, "requestId": "b" });
    assert_eq!(bob.next().await, expected);

    let path = format!("/api/order/{}/advance/", other["id"]);
    let bobs = [("authorization", "Token bob-demo-key")];
    assert_eq!(request(page, "POST", &path, &bobs, "").await.0, 404);
    assert_eq!(as_alice(page, &path, "").await.1["status"], "packed");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_refused_and_the_journal_shows_it() {
    let demo = demo().await;
    let Addresses { page, gateway, .. } = demo.addresses();
    let mut viewer = Client::connect(gateway, "?token=viewer-demo-key", None).await;
    viewer.next().await;
    let room = json!({ "target": "backend-log" });
    assert_eq!(viewer.subscribe(room, "log").await["code"], "success");

    let mut stranger = Client::connect(gateway, "?token=stranger", None).await;
    assert_eq!(stranger.next().await, json!({ "is_authorized": false }));
    assert_eq!(stranger.next().await, json!({ "closed": 1000 }));

    let news = viewer.next().await;
    let entry = &news["data"]["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["status"]),
        (&json!("bootstrap"), &json!(403))
    );
    let (_, log) = request(page, "GET", "/api/log/?after=0", &[], "").await;
    assert_eq!(
        log["entries"][0], *entry,
        "the viewer itself is not recorded"
    );
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_update_the_users_who_are_online() {
    let demo = demo().await;
    let gateway = demo.addresses().gateway;
    let mut alice = Client::connect(gateway, "?token=alice-demo-key", None).await;
    alice.next().await;
    let room = json!({ "target": "online" });
    assert_eq!(alice.subscribe(room, "o").await["code"], "success");
    let mut bob = Client::connect(gateway, "?token=bob-demo-key", None).await;
    bob.next().await;
    let both = json!({ "Alice": 1, "Bob": 1 });
    while alice.next().await["data"]["online"] != both {}
    drop(bob);
    let one = json!({ "Alice": 1 });
    while alice.next().await["data"]["online"] != one {}
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_restarts_on_its_ports() {
    let demo = demo().await;
    let Addresses { page, gateway, .. } = demo.addresses();
    let mut before = Client::connect(gateway, "?token=bob-demo-key", None).await;
    before.next().await;
    let (status, _) = request(page, "POST", "/demo/restart-gateway/", &[], "").await;
    assert_eq!(status, 204);
    assert!(before.next().await.get("closed").is_some());
    let mut after = Client::connect(gateway, "?token=bob-demo-key", None).await;
    assert_eq!(after.next().await["is_authorized"], true);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded_and_those_of_other_sites_rejected() {
    let demo = demo().await;
    let Addresses { page, backend, .. } = demo.addresses();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(serve::BODY_BYTES_MAX));
    assert_eq!(as_alice(page, "/api/chat/", &long).await.0, 413);
    assert_eq!(as_alice(page, "/api/chat/", "{").await.0, 400);
    assert_eq!(request(page, "POST", "/api/chat/", &[], "{}").await.0, 403);
    let foreign = [("origin", "http://evil.example")];
    for to in [page, backend] {
        assert_eq!(
            request(to, "POST", "/api/trigger/", &foreign, "{}").await.0,
            403
        );
        let rebound = [("host", "evil.example")];
        assert_eq!(request(to, "GET", "/api/log/", &rebound, "").await.0, 403);
    }
    // The gateway's error for an invalid trigger is passed on.
    let (status, answer) = request(page, "POST", "/api/trigger/", &[], r#"{"data":1}"#).await;
    assert_eq!(status, 400);
    assert!(answer["error"].is_string(), "{answer}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let demo = demo().await;
    let mut options = DemoOptions::on_ports(0, 0, 0, 0);
    options.gateway = demo.addresses().gateway;
    let error = start(options, BUILD)
        .await
        .map(|_| ())
        .unwrap_err()
        .to_string();
    let port = demo.addresses().gateway.port();
    assert!(
        error.contains(&format!("port {port} (for the gateway)")),
        "{error}"
    );
    demo.stop().await;
}
