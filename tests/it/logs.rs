//! The log of a connection's life.

use crate::support::Client;
use crate::support::Gateway;
use crate::support::StubBackend;

#[test]
fn the_lines_of_a_connection_share_its_id() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LOG__LEVEL", "debug")
        .start();
    let mut client = Client::connect(&gateway);
    // The client knows its id, too.
    client.send_text("no message");
    let id = client.expect_json()["requestId"].to_string();
    client.leave();
    let id = id.trim_matches('"');
    let mut other = Client::connect(&gateway);
    gateway.wait_for_open(&mut other, 1);
    for event in ["a connection is open", "a connection is over"] {
        let line = format!("{event} connection={id} address=");
        gateway.wait_for_line(&line);
    }
}
