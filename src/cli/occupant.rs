//! Whether the listeners can be started, and which program uses an address that is taken: this
//! gateway, another one, or something else.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::Path;
use std::time::Duration;

use ht_node::config::{Listen, ServerConfig};
use ht_node::identity;

use crate::cli::finding::Finding;
use crate::cli::inquiry::get;
use crate::cli::owner::Owner;

/// Time for the response of the program that listens.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What responds at `internal.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Occupant {
    /// A gateway; its version and where it serves browsers.
    Gateway { version: String, listen: String },
    /// Some other HTTP server.
    Other,
    /// Nothing, or nothing that speaks HTTP.
    NoResponse,
}

/// Whether both listeners can be started; where an address is taken, by which program.
pub(super) async fn listeners(config: &ServerConfig) -> [(&'static str, Finding); 2] {
    let (public, internal) = (&config.listen, &config.internal.listen);
    let taken = [is_taken(public), is_taken(internal)];
    let occupant = if taken.iter().any(|taken| matches!(taken, Ok(true))) {
        occupant(internal).await
    } else {
        Occupant::NoResponse
    };
    let [public_taken, internal_taken] = taken;
    [
        (
            "listen",
            finding(public, public_taken, |owner| {
                of_public(public, internal, &occupant, owner)
            }),
        ),
        (
            "internal.listen",
            finding(internal, internal_taken, |owner| {
                of_internal(public, internal, &occupant, owner)
            }),
        ),
    ]
}

fn finding(
    listen: &Listen,
    taken: Result<bool, String>,
    if_taken: impl FnOnce(Option<&Owner>) -> Finding,
) -> Finding {
    match taken {
        Ok(false) => Finding::Works(format!("{listen} is free")),
        Ok(true) => if_taken(Owner::of(listen).as_ref()),
        Err(problem) => Finding::Fix(problem),
    }
}

/// Whether a program listens there already.
///
/// # Errors
/// Why the gateway cannot listen there either way.
fn is_taken(listen: &Listen) -> Result<bool, String> {
    let address = match listen {
        Listen::Tcp(address) => address,
        Listen::Unix { path, .. } => return is_socket_taken(path),
    };
    match TcpListener::bind(address) {
        Ok(_) => Ok(false),
        Err(cause) if cause.kind() == ErrorKind::AddrInUse => Ok(true),
        Err(cause) => Err(format!("cannot listen on {address}: {cause}")),
    }
}

fn is_socket_taken(path: &Path) -> Result<bool, String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(format!(
            "there is no folder {} for the socket",
            folder.display()
        )),
        // A socket that a process left behind refuses; it is replaced.
        Some(_) | None => Ok(BlockingUnixStream::connect(path).is_ok()),
    }
}

/// What it means that the public address is taken.
fn of_public(
    public: &Listen,
    internal: &Listen,
    occupant: &Occupant,
    owner: Option<&Owner>,
) -> Finding {
    let elsewhere = match occupant {
        Occupant::Gateway { version, listen } if is_same(public, listen) => {
            return Finding::Works(runs_already(version));
        }
        Occupant::Gateway { version, listen } => {
            format!("the high-templar {version} at {internal} serves browsers on {listen}")
        }
        Occupant::Other | Occupant::NoResponse => {
            format!("no high-templar answers at internal.listen ({internal})")
        }
    };
    Finding::Fix(match owner {
        Some(owner) if owner.is_gateway() => format!(
            "a high-templar (process {}) listens on {public}, and {elsewhere}. If it is the gateway \
             of this configuration, internal.listen has changed since it started, or is set in an \
             environment that `check` was started without: restart it, or check with its \
             environment. Otherwise stop it, or choose another listen",
            owner.pid()
        ),
        _ => format!(
            "another program listens on {public}{}: {elsewhere}. {}",
            Named(owner),
            Remedy(public, owner)
        ),
    })
}

/// What it means that the internal address is taken.
fn of_internal(
    public: &Listen,
    internal: &Listen,
    occupant: &Occupant,
    owner: Option<&Owner>,
) -> Finding {
    let is_gateway = owner.is_some_and(Owner::is_gateway);
    match occupant {
        Occupant::Gateway { version, listen } if is_same(public, listen) => {
            Finding::Works(runs_already(version))
        }
        Occupant::Gateway { version, listen } => Finding::Fix(format!(
            "a high-templar ({version}) answers on {internal} that serves browsers on {listen} and \
             not on {public}. If it is the gateway of this configuration, listen has changed since \
             it started: restart it. If it is another high-templar, give one of the two another \
             internal.listen"
        )),
        Occupant::Other if is_gateway => Finding::Fix(format!(
            "a high-templar serves browsers on {internal}: internal.listen must be an address of \
             its own"
        )),
        Occupant::Other => Finding::Fix(format!(
            "another program listens on {internal}{}. {}",
            Named(owner),
            Remedy(internal, owner)
        )),
        Occupant::NoResponse if is_gateway => Finding::Fix(format!(
            "a high-templar listens on {internal} and does not answer within {TIMEOUT:?}: look at \
             its log, then restart it"
        )),
        Occupant::NoResponse => Finding::Fix(format!(
            "something listens on {internal}{} and does not answer: another program, a gateway that \
             hangs, or a systemd socket whose service does not start. {}",
            Named(owner),
            Remedy(internal, owner)
        )),
    }
}

fn runs_already(version: &str) -> String {
    format!("high-templar {version} (this configuration) already runs here: not an error")
}

/// Whether a running gateway serves browsers where the configuration says. A service manager may
/// have opened its socket on another interface, so that the port alone counts.
fn is_same(configured: &Listen, running: &str) -> bool {
    match (configured, running.parse::<SocketAddr>()) {
        (Listen::Tcp(configured), Ok(running)) => configured.port() == running.port(),
        (Listen::Unix { .. }, Err(_)) => configured.to_string() == running,
        (Listen::Tcp(_), Err(_)) | (Listen::Unix { .. }, Ok(_)) => false,
    }
}

/// The program that listens, if it is known.
struct Named<'a>(Option<&'a Owner>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(owner) => write!(f, " ({owner})"),
            None => Ok(()),
        }
    }
}

/// How to make an address free; how to find the program that listens, if it is not known.
struct Remedy<'a>(&'a Listen, Option<&'a Owner>);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.1, self.0) {
            (Some(owner), _) if owner.is_systemd() => f.write_str(
                "Its socket unit is in the output of `systemctl list-sockets`: start its service, \
                 or stop the unit",
            ),
            (Some(_), Listen::Tcp(_)) => f.write_str("Stop it, or choose another port"),
            (Some(_), Listen::Unix { .. }) => f.write_str("Stop it, or choose another path"),
            (None, Listen::Tcp(address)) => write!(
                f,
                "Find it with `ss -ltnp 'sport = :{}'` as root: if it is this gateway, \
                 internal.listen has changed since it started, and a restart applies the change; \
                 otherwise stop it, or choose another port",
                address.port()
            ),
            (None, Listen::Unix { path, .. }) => {
                write!(f, "Find it with `ss -lxp src {}` as root", path.display())
            }
        }
    }
}

async fn occupant(internal: &Listen) -> Occupant {
    match tokio::time::timeout(TIMEOUT, probe(internal)).await {
        Ok(Ok(occupant)) => occupant,
        Ok(Err(_)) | Err(_) => Occupant::NoResponse,
    }
}

async fn probe(internal: &Listen) -> io::Result<Occupant> {
    let reply = get(internal, "/live").await?;
    Ok(match identity::read(&reply.headers) {
        Some((version, listen)) => Occupant::Gateway { version, listen },
        None => Occupant::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        match text.strip_prefix("unix:") {
            Some(path) => Listen::Unix {
                path: path.into(),
                mode: 0o660,
            },
            None => Listen::Tcp(text.parse().unwrap()),
        }
    }

    #[test]
    fn a_running_gateway_is_identified_by_its_public_address() {
        for (configured, running, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000", true),
            ("0.0.0.0:5000", "[::]:5000", true),
            ("127.0.0.1:5000", "127.0.0.1:5001", false),
            ("unix:/run/ht.sock", "unix:/run/ht.sock", true),
            ("unix:/run/ht.sock", "unix:/run/other.sock", false),
            ("unix:/run/ht.sock", "127.0.0.1:5000", false),
            ("127.0.0.1:5000", "unix:/run/ht.sock", false),
        ] {
            assert_eq!(
                is_same(&listen(configured), running),
                expected,
                "{configured} {running}"
            );
        }
    }

    #[test]
    fn the_remedy_for_a_taken_address_depends_on_its_owner() {
        let owner = |name: &str| Owner::named(7, name);
        let (gateway, systemd, other) = (owner("high-templar"), owner("systemd"), owner("nginx"));
        let (public, internal) = (listen("127.0.0.1:5000"), listen("127.0.0.1:8002"));
        for (owner, parts) in [
            (
                Some(&gateway),
                &["a high-templar (process 7)", "restart it"][..],
            ),
            (Some(&systemd), &["(systemd, process 7)", "list-sockets"]),
            (Some(&other), &["(nginx, process 7)", "Stop it"]),
            (
                None,
                &["ss -ltnp 'sport = :5000'", "this gateway", "restart"],
            ),
        ] {
            let found = of_public(&public, &internal, &Occupant::NoResponse, owner);
            let Finding::Fix(text) = found else {
                panic!("{owner:?}: the address is taken");
            };
            for part in parts {
                assert!(text.contains(part), "{part:?} in {text}");
            }
        }
        for (occupant, owner, part) in [
            (Occupant::Other, Some(&gateway), "an address of its own"),
            (Occupant::Other, Some(&other), "(nginx, process 7)"),
            (Occupant::NoResponse, Some(&gateway), "look at its log"),
            (Occupant::NoResponse, Some(&systemd), "start its service"),
            (Occupant::NoResponse, None, "ss -ltnp 'sport = :8002'"),
        ] {
            let found = of_internal(&public, &internal, &occupant, owner);
            let Finding::Fix(text) = found else {
                panic!("{occupant:?}: the address is taken");
            };
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
