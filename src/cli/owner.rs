//! The process that owns a listening socket, from `/proc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::{fmt, fs};

use ht_node::config::Listen;

/// Name of the gateway's process.
const GATEWAY: &str = "high-templar";

/// State of a TCP socket that accepts connections, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process that owns a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its process id.
    pid: u32,
    /// Its name.
    name: String,
}

impl Owner {
    /// The process that listens on an address, if this user may see it. If several share the socket,
    /// a gateway is preferred to the service manager that opened it.
    pub(super) fn of(listen: &Listen) -> Option<Self> {
        let inodes = match listen {
            Listen::Tcp(address) => {
                let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
                let tables = tables.iter().flatten();
                tables.flat_map(|table| tcp(table, *address)).collect()
            }
            Listen::Unix { path, .. } => {
                let table = fs::read_to_string("/proc/net/unix").ok()?;
                unix(&table, path)
            }
        };
        if inodes.is_empty() {
            return None;
        }
        let owners = processes().filter(|owner| owner.has_any(&inodes));
        owners.min_by_key(|owner| (!owner.is_gateway(), owner.pid))
    }

    /// One for tests.
    #[cfg(test)]
    pub(super) fn named(pid: u32, name: &str) -> Self {
        let name = name.to_owned();
        Self { pid, name }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is a gateway.
    pub(super) fn is_gateway(&self) -> bool {
        self.name == GATEWAY
    }

    /// Whether it is the service manager, which holds the sockets of its socket units.
    pub(super) fn is_systemd(&self) -> bool {
        self.name == "systemd"
    }

    /// Whether one of its descriptors is one of these sockets.
    fn has_any(&self, inodes: &[u64]) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else {
            return false;
        };
        let links = descriptors
            .flatten()
            .map(|entry| fs::read_link(entry.path()));
        links.flatten().any(|link| {
            let inode = link.to_str().and_then(inode_of);
            inode.is_some_and(|inode| inodes.contains(&inode))
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.name, self.pid)
    }
}

/// All processes of this machine.
fn processes() -> impl Iterator<Item = Owner> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let name = name.trim_end().to_owned();
        Some(Owner { pid, name })
    })
}

/// The inode in what a descriptor of a socket links to, such as `socket:[4711]`.
fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Inodes of the sockets in `/proc/net/tcp` or `tcp6` that listen on an address, or on all addresses
/// with its port.
fn tcp(table: &str, address: SocketAddr) -> Vec<u64> {
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (local, state) = (columns.nth(1)?, columns.nth(1)?);
        let inode = columns.nth(5)?.parse().ok()?;
        let (ip, port) = endpoint(local)?;
        let is_there = port == address.port()
            && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified());
        (state == LISTENING && is_there).then_some(inode)
    });
    lines.collect()
}

/// An address as the kernel prints it: words of 32 bits in the machine's byte order, then the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = if ip.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some((ip, port))
}

/// Inodes of the sockets in `/proc/net/unix` that have a path.
fn unix(table: &str, path: &Path) -> Vec<u64> {
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let inode = columns.nth(6)?.parse().ok()?;
        (columns.next().map(Path::new) == Some(path)).then_some(inode)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_owner_of_a_listening_socket_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listen.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        for listen in [
            Listen::Tcp(address),
            Listen::Tcp(everywhere),
            Listen::Unix { path, mode: 0o660 },
        ] {
            let owner = Owner::of(&listen).expect("this process");
            assert_eq!(owner.pid, std::process::id(), "{listen}");
            assert!(!owner.is_gateway() && !owner.is_systemd(), "{owner}");
        }
        drop(tcp);
        assert_eq!(Owner::of(&Listen::Tcp(address)), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn endpoints_of_the_kernel_are_read() {
        for (text, expected) in [
            ("0100007F:1388", Some("127.0.0.1:5000")),
            ("00000000:0050", Some("0.0.0.0:80")),
            ("00000000000000000000000001000000:1F42", Some("[::1]:8002")),
            (
                "0000000000000000FFFF00000100007F:1388",
                Some("127.0.0.1:5000"),
            ),
            ("0100007F", None),
            ("01:1388", None),
        ] {
            let found = endpoint(text).map(|(ip, port)| SocketAddr::new(ip, port));
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_links_to_sockets_have_an_inode() {
        assert_eq!(inode_of("socket:[4711]"), Some(4711));
        for link in ["pipe:[4711]", "/dev/null", "socket:[]"] {
            assert_eq!(inode_of(link), None, "{link}");
        }
    }
}
