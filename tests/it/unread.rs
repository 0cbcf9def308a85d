//! Clients of the internal listener that never read a response.

use std::io::{ErrorKind, Write as _};

use crate::support::{DEADLINE, Gateway, StubBackend};

/// Requests sent at once. Few of their responses fit into the buffers of a socket.
const PIPELINED: usize = 100;

/// How often they are sent at most: far more than the buffers hold.
const WRITES: usize = 10_000;

#[test]
fn clients_that_never_read_are_disconnected_without_affecting_others() {
    let gateway = Gateway::start(&StubBackend::open());
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(PIPELINED);
    let mut stream = gateway.internal().connect().expect("a connection");
    // A write blocks once the gateway reads no further requests. It would end with this timeout
    // if the gateway had none.
    stream.set_timeouts(DEADLINE).expect("timeouts");
    let error = (0..WRITES).find_map(|_| stream.write_all(&request).err());
    let error = error.expect("the connection is closed");
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    assert_eq!(gateway.get("/live").status, 200);
}
