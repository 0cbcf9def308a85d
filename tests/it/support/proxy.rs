//! A TCP proxy that can become a black hole: its sockets stay open, and nothing passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::support::log::Watched;

/// A running proxy.
pub(crate) struct Proxy {
    port: u16,
    paused: Arc<Watched<bool>>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let paused = Arc::new(Watched::new(false));
        let gate = Arc::clone(&paused);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", port)).expect("the server");
                carry(&client, &server, &gate);
                carry(&server, &client, &gate);
            }
        });
        Self { port: own, paused }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Blocks everything, also bytes in flight.
    pub(crate) fn pause(&self) {
        self.paused.change(|paused| *paused = true);
    }

    /// Releases everything that was held.
    pub(crate) fn resume(&self) {
        self.paused.change(|paused| *paused = false);
    }
}

/// Copies bytes one way until either end is closed.
fn carry(from: &TcpStream, to: &TcpStream, paused: &Arc<Watched<bool>>) {
    let mut from = from.try_clone().expect("a socket");
    let mut to = to.try_clone().expect("a socket");
    let paused = Arc::clone(paused);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let open = paused.wait(|paused| (!paused).then_some(()));
            if open.is_none() || to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
