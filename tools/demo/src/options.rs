//! The demo's addresses, and the error for a port that is taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::{fmt, io};

/// The demo's addresses. All must be loopback; port 0 selects a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// The web page.
    pub page: SocketAddr,
    /// The embedded backend.
    pub backend: SocketAddr,
    /// The gateway's public listener: websockets.
    pub gateway: SocketAddr,
    /// The gateway's internal listener: triggers.
    pub internal: SocketAddr,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self::on_ports(8000, 8001, 5000, 8002)
    }
}

impl DemoOptions {
    /// On 127.0.0.1 with these ports.
    #[must_use]
    pub fn on_ports(page: u16, backend: u16, gateway: u16, internal: u16) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            page: local(page),
            backend: local(backend),
            gateway: local(gateway),
            internal: local(internal),
        }
    }

    /// Page, backend, internal listener and gateway on `base` and the three ports after it.
    #[must_use]
    pub fn from_base(base: u16) -> Self {
        let port = |plus| base.saturating_add(plus);
        Self::on_ports(base, port(1), port(3), port(2))
    }

    fn named(&self) -> [(&'static str, SocketAddr); 4] {
        [
            ("the page", self.page),
            ("the backend", self.backend),
            ("the gateway's internal listener", self.internal),
            ("the gateway", self.gateway),
        ]
    }

    /// Checks that all addresses are loopback and free. Reports all ports that are taken.
    pub(crate) fn check(&self) -> Result<(), DemoError> {
        if let Some((name, address)) = self
            .named()
            .into_iter()
            .find(|(_, a)| !a.ip().is_loopback())
        {
            return Err(DemoError::NotLoopback { name, address });
        }
        let mut held = Vec::new();
        let mut taken = Vec::new();
        for (name, address) in self.named() {
            match TcpListener::bind(address) {
                Ok(listener) => held.push(listener),
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                    taken.push(Taken { name, address });
                }
                Err(cause) => {
                    return Err(DemoError::Listen {
                        name,
                        address,
                        cause,
                    });
                }
            }
        }
        drop(held);
        if taken.is_empty() {
            return Ok(());
        }
        let base = free_base();
        Err(DemoError::PortsTaken { taken, base })
    }
}

/// The command line's options.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Args {
    /// Use this port and the three after it: page, backend, triggers, websockets
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65532))]
    port_base: Option<u16>,
    /// Port of the web page [default: 8000]
    #[arg(long, value_name = "PORT")]
    page_port: Option<u16>,
    /// Port of the embedded backend [default: 8001]
    #[arg(long, value_name = "PORT")]
    backend_port: Option<u16>,
    /// Port of the gateway's internal listener, for triggers [default: 8002]
    #[arg(long, value_name = "PORT")]
    internal_port: Option<u16>,
    /// Port of the gateway, for websockets [default: 5000]
    #[arg(long, value_name = "PORT")]
    gateway_port: Option<u16>,
}

impl Args {
    /// The addresses. Single ports override the base.
    #[must_use]
    pub fn options(&self) -> DemoOptions {
        let mut options = self
            .port_base
            .map_or_else(DemoOptions::default, DemoOptions::from_base);
        for (port, address) in [
            (self.page_port, &mut options.page),
            (self.backend_port, &mut options.backend),
            (self.internal_port, &mut options.internal),
            (self.gateway_port, &mut options.gateway),
        ] {
            if let Some(port) = port {
                address.set_port(port);
            }
        }
        options
    }
}

/// The actual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The web page.
    pub page: SocketAddr,
    /// The embedded backend.
    pub backend: SocketAddr,
    /// The gateway's public listener.
    pub gateway: SocketAddr,
    /// The gateway's internal listener.
    pub internal: SocketAddr,
}

/// Why the demo cannot start, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// Other programs use the ports.
    #[error("{}", taken_sentence(taken, *base))]
    PortsTaken {
        /// The ports.
        taken: Vec<Taken>,
        /// A base whose four ports are free now.
        base: Option<u16>,
    },
    /// The demo has no secrets, so it must not be reachable from elsewhere.
    #[error("the demo listens on loopback addresses only, and {address} ({name}) is not one")]
    NotLoopback {
        /// The listener.
        name: &'static str,
        /// The requested address.
        address: SocketAddr,
    },
    /// The system does not permit to listen there.
    #[error(
        "cannot listen on {address} ({name}): {cause}; choose other ports, such as --port-base 9000"
    )]
    Listen {
        /// The listener.
        name: &'static str,
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
}

/// A port that another program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The listener.
    pub name: &'static str,
    /// The requested address.
    pub address: SocketAddr,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} (for {})", self.address.port(), self.name)
    }
}

fn taken_sentence(taken: &[Taken], base: Option<u16>) -> String {
    let list: Vec<_> = taken.iter().map(ToString::to_string).collect();
    let mut sentence = format!("already in use by another program: {}.", list.join(", "));
    if cfg!(target_os = "macos") && taken.iter().any(|taken| taken.address.port() == 5000) {
        sentence.push_str(" On macOS, the AirPlay receiver uses port 5000.");
    }
    sentence.push_str(" Stop it, or start the demo on other ports: high-templar demo --port-base ");
    sentence.push_str(&base.unwrap_or(9000).to_string());
    sentence
}

/// The first of a few bases whose four ports are free at this moment.
fn free_base() -> Option<u16> {
    (9000..60000).step_by(1000).take(20).find(|base| {
        let options = DemoOptions::from_base(*base);
        let held: Vec<_> = options
            .named()
            .iter()
            .map(|(_, address)| TcpListener::bind(address))
            .collect();
        held.iter().all(Result::is_ok)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_taken_ports_are_reported_with_a_remedy() {
        let one = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut options = DemoOptions::on_ports(0, 0, 0, 0);
        options.page = one.local_addr().expect("an address");
        options.gateway = other.local_addr().expect("an address");
        let sentence = options.check().expect_err("both are taken").to_string();
        assert!(sentence.contains(&format!("port {} (for the page)", options.page.port())));
        assert!(sentence.contains(&format!(
            "port {} (for the gateway)",
            options.gateway.port()
        )));
        assert!(sentence.contains("high-templar demo --port-base "));
    }

    #[test]
    fn addresses_other_than_loopback_are_rejected() {
        let mut options = DemoOptions::on_ports(0, 0, 0, 0);
        options.backend.set_ip(Ipv4Addr::UNSPECIFIED.into());
        assert!(matches!(
            options.check(),
            Err(DemoError::NotLoopback {
                name: "the backend",
                ..
            })
        ));
    }

    #[test]
    fn single_ports_override_the_base() {
        let args = Args {
            port_base: Some(9000),
            gateway_port: Some(5001),
            ..Args::default()
        };
        assert_eq!(
            args.options(),
            DemoOptions::on_ports(9000, 9001, 5001, 9002)
        );
    }
}
