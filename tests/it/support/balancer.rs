//! A balancer before several nodes: connections are routed to them in turn, skipping those that
//! refuse.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::support::stream::Address;

/// Listens for as long as the process lives.
pub(crate) struct Balancer {
    address: Address,
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    /// Before these nodes.
    pub(crate) fn before(nodes: &[&Address]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::Tcp(listener.local_addr().expect("an address"));
        let nodes: Vec<_> = nodes.iter().copied().map(tcp).collect();
        let nodes = Arc::new(Mutex::new(nodes));
        let known = Arc::clone(&nodes);
        thread::spawn(move || {
            for (turn, client) in listener.incoming().enumerate() {
                let nodes = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let in_turn = nodes.iter().cycle().skip(turn % nodes.len());
                let node = in_turn
                    .take(nodes.len())
                    .find_map(|node| TcpStream::connect(node).ok());
                // Without a node the client sees its connection end.
                if let (Ok(client), Some(node)) = (client, node) {
                    join(client, node).expect("two sockets");
                }
            }
        });
        Self { address, nodes }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A node has restarted at another address.
    pub(crate) fn replace(&self, index: usize, node: &Address) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes[index] = tcp(node);
    }
}

fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        Address::Unix(path) => panic!("only TCP is balanced: {}", path.display()),
    }
}

/// Forwards the bytes of each side until both have closed.
fn join(client: TcpStream, node: TcpStream) -> io::Result<()> {
    for stream in [&client, &node] {
        stream.set_nodelay(true)?;
    }
    let (from_client, to_client) = (client.try_clone()?, client);
    let (from_node, to_node) = (node.try_clone()?, node);
    for (mut from, mut to) in [(from_client, to_node), (from_node, to_client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
