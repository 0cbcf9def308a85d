//! Running out of file descriptors, and recovering.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Gateway, Handshake, StubBackend, eventually};

#[test]
fn without_file_descriptors_visitors_wait_and_everybody_else_goes_on() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend).open_files(128).start();
    let mut listener = Client::connect(&gateway);
    listener.subscribe(&json!({"room": 1}), 1);
    let mut clients = Vec::new();
    while gateway.get("/ready").status == 200 {
        clients.push(Client::connect(&gateway));
        assert!(clients.len() < 128, "there is no end of them");
    }
    assert!(clients.len() > 20, "{}", clients.len());
    let reasons = gateway.get("/ready").json()["reasons"].to_string();
    assert!(reasons.contains("out of file descriptors"), "{reasons}");
    gateway.wait_for_line("out of file descriptors: this process may open 128");
    gateway.wait_for_metric("high_templar_accept_errors_total", 1);

    // Waiting clients are not rejected. A kept connection to the backend that ends releases its
    // descriptor for one more.
    let mut waiting = Vec::new();
    while waiting.len() < 3 {
        let mut asked = Handshake::new(&gateway).send();
        if asked.is_silent(Duration::from_secs(2)) {
            waiting.push(asked);
        } else {
            let mut client = asked.open();
            assert_eq!(client.expect_json()["is_authorized"], true);
            clients.push(client);
            assert!(clients.len() < 128, "there is no end of them");
        }
    }
    for client in clients.iter_mut().chain([&mut listener]) {
        client.fence();
    }
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": "still here"}));
    assert_eq!(listener.expect_publish().0, "still here");

    // As soon as a client disconnects they are accepted.
    for client in clients.drain(..5) {
        client.leave();
    }
    let mut clients: Vec<_> = waiting.into_iter().map(|asked| asked.open()).collect();
    for client in &mut clients {
        assert_eq!(client.expect_json()["is_authorized"], true);
    }
    eventually("it is ready again", || {
        (gateway.get("/ready").status == 200).then_some(())
    });
    Client::connect(&gateway).fence();
    assert_eq!(gateway.log().matches("out of file descriptors").count(), 1);
}
