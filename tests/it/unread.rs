//! Clients of the internal listener that never read a response, or never ask.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use crate::support::stream::Address;
use crate::support::{DEADLINE, Gateway, StubBackend, eventually};

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

#[test]
fn a_few_addresses_do_not_fill_the_internal_listener() {
    let gateway = Gateway::start(&StubBackend::open());
    let Address::Tcp(to) = gateway.internal() else {
        panic!("a port");
    };
    // Each more than half of all places. They are silent.
    let from = |last: u8| {
        (0..600).map(move |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let own = SocketAddr::from(([127, 0, 0, last], 0));
            socket
                .bind(&own.into())
                .expect("an address of this machine");
            socket.connect(&(*to).into()).expect("a connection");
            socket
        })
    };
    let silent: Vec<_> = (2..5).flat_map(from).collect();
    let refused = "high_templar_internal_connections_refused_total";
    // One of them has half of all, and each further one half of the rest.
    eventually("the addresses have their shares", || {
        (gateway.metric(refused) >= 3 * 600 - (512 + 256 + 128)).then_some(())
    });
    gateway
        .wait_for_line("one address has more connections to the internal listener than are left");
    drop(silent);
}
