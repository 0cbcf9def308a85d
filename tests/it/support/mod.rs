//! A gateway as a black box: the real binary, a backend that follows a test's script, clients that
//! may break every rule.

pub(crate) mod backend;
pub(crate) mod balancer;
pub(crate) mod client;
pub(crate) mod frame;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod proxy;
pub(crate) mod rabbit;
pub(crate) mod reply;
pub(crate) mod stream;
pub(crate) mod tls;

use std::time::{Duration, Instant};

pub(crate) use self::backend::{Seen, StubBackend};
pub(crate) use self::client::{Client, Handshake};
pub(crate) use self::frame::Frame;
pub(crate) use self::gateway::Gateway;
pub(crate) use self::http::Answer;
pub(crate) use self::reply::{Gate, Reply};

/// How long anything may take, on however busy a machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A setting, in seconds, for timeouts that must not expire: no test result may depend on them.
pub(crate) const NEVER: &str = "3600";

/// Waits until a check returns something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
