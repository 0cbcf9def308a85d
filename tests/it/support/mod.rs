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
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod tls;

use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use self::backend::{Seen, StubBackend};
pub(crate) use self::client::{Client, Handshake};
pub(crate) use self::frame::Frame;
pub(crate) use self::gateway::{Builder, Gateway};
pub(crate) use self::http::Answer;
pub(crate) use self::reply::{Gate, Reply};

/// How long anything may take, on however busy a machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A setting, in seconds, for timeouts that must not expire: no test result may depend on them.
pub(crate) const NEVER: &str = "3600";

/// The answer to triggers without their cursors, each of which must name its position.
#[track_caller]
pub(crate) fn places(answer: Value) -> Value {
    let one = |mut place: Value| {
        let members = place.as_object_mut().expect("an object");
        let cursor = members.remove("cursor").expect("a cursor");
        let cursor = cursor.as_str().expect("a text");
        let middle = format!("-{}-", place["position"]);
        assert!(cursor.contains(&middle), "{cursor}: {place}");
        place
    };
    if let Value::Array(all) = answer {
        all.into_iter().map(one).collect()
    } else {
        one(answer)
    }
}

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
