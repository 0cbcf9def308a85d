//! Connections of the internal listener, by peer address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::Peer;

/// How many connections each address has, so that a machine that opens them and sends nothing
/// blocks neither publishers nor health probes.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A permit for a connection of one address; released on drop.
#[derive(Debug)]
pub struct OfPeer {
    peers: Arc<Peers>,
    address: Option<IpAddr>,
}

impl Peers {
    /// Takes a permit among at most `limit` of the address. Peers on a unix socket cannot be
    /// distinguished, and have no limit.
    pub fn take(self: &Arc<Self>, peer: Peer, limit: usize) -> Option<OfPeer> {
        let address = match peer {
            Peer::Unix => None,
            Peer::Ip(address) => {
                let mut open = self.lock();
                let open = open.entry(address).or_default();
                if *open >= limit {
                    return None;
                }
                *open += 1;
                Some(address)
            }
        };
        Some(OfPeer {
            peers: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut open = self.peers.lock();
        if let Some(own) = open.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_so_many_and_leaves_nothing_behind() {
        let peers = Arc::<Peers>::default();
        let at = |text: &str| Peer::Ip(text.parse().unwrap());
        let first = peers.take(at("192.0.2.1"), 2).unwrap();
        let second = peers.take(at("192.0.2.1"), 2).unwrap();
        assert!(peers.take(at("192.0.2.1"), 2).is_none());
        let other = peers.take(at("192.0.2.2"), 2).unwrap();
        let unix: Vec<_> = (0..3).map(|_| peers.take(Peer::Unix, 2).unwrap()).collect();
        drop(first);
        let third = peers.take(at("192.0.2.1"), 2).unwrap();
        drop((second, third, other, unix));
        assert!(peers.lock().is_empty());
    }
}
