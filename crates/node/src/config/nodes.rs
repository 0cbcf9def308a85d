//! How nodes on the same broker know of each other.

use std::time::Duration;

use ht_proto::note::NODE_NAME_BYTES_MAX;

/// How nodes on the same broker know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesConfig {
    /// The name of this node. Empty: that of the host.
    pub name: String,
    /// Interval of its beacons.
    pub beacon: Duration,
    /// How long a node is expected to be there after a beacon.
    pub lease: Duration,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            beacon: Duration::from_secs(5),
            lease: Duration::from_secs(15),
        }
    }
}

impl NodesConfig {
    /// The name of this node.
    pub(crate) fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let letters = host.chars().filter(char::is_ascii_graphic);
        let host: String = letters.take(NODE_NAME_BYTES_MAX).collect();
        if host.is_empty() {
            "node".to_owned()
        } else {
            host
        }
    }
}
