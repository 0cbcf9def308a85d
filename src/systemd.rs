//! What a service manager gives and wants (sd_listen_fds(3), sd_notify(3)): sockets that are open
//! already, word of what the process does, and a sign of life. Without one nothing of it happens.

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use ht_node::{Heartbeat, Inherited, InheritedSockets};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

/// The names of the sockets, as `FileDescriptorName=` of a socket unit gives them.
const NAMES: &str = "LISTEN_FDNAMES";

/// How long the manager may take to hear something.
const TOLD: Duration = Duration::from_secs(1);

/// Sockets that were passed to this process and cannot be used: a mistake in the socket units.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketsError {
    /// A name that is neither of the two.
    #[error(
        "the passed socket {index} is named {name:?}: FileDescriptorName= must be public or \
         internal"
    )]
    Name {
        /// Its place among the passed sockets, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// Two of one name.
    #[error(
        "two of the passed sockets are named {0}: each listener has one address. Keep one \
         ListenStream= in each socket unit, and give the units different FileDescriptorName="
    )]
    Twice(&'static str),
    /// It is no socket that listens.
    #[error("the passed socket {name} cannot be used: {cause}")]
    Unusable {
        /// Its name.
        name: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Takes the sockets that were passed to this process: by their names, `public` and `internal`,
/// or in this order where they have none. Must come before any thread is started.
///
/// # Errors
/// When there is one that is neither, or that cannot be used.
pub(crate) fn sockets() -> Result<InheritedSockets, SocketsError> {
    let mut passed = ListenFd::from_env();
    let mut names = names(env::var(NAMES).ok().as_deref());
    let mut sockets = InheritedSockets::default();
    for index in 0..passed.len() {
        let name = names.pop_front().unwrap_or_default();
        let (name, listener) = match name.as_str() {
            "public" => ("public", &mut sockets.public),
            "internal" => ("internal", &mut sockets.internal),
            _ => return Err(SocketsError::Name { index, name }),
        };
        if listener.is_some() {
            return Err(SocketsError::Twice(name));
        }
        let socket = take(&mut passed, index);
        *listener = socket.map_err(|cause| SocketsError::Unusable { name, cause })?;
    }
    Ok(sockets)
}

/// What the passed sockets are called.
fn names(listed: Option<&str>) -> VecDeque<String> {
    let listed = listed.filter(|listed| !listed.is_empty());
    let names = listed.unwrap_or("public:internal").split(':');
    names.map(str::to_owned).collect()
}

fn take(passed: &mut ListenFd, index: usize) -> std::io::Result<Option<Inherited>> {
    match passed.take_unix_listener(index) {
        Ok(listener) => Ok(listener.map(Inherited::Unix)),
        Err(_) => Ok(passed.take_tcp_listener(index)?.map(Inherited::Tcp)),
    }
}

/// The node serves.
pub(crate) async fn ready(status: &str) {
    tell(format!("{}\nSTATUS={status}", NotifyState::Ready)).await;
}

/// The node begins to read its settings again; [`ready`] ends it.
pub(crate) async fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    let now = now.map_or_else(|_| String::new(), |now| format!("\n{now}"));
    tell(format!("{}{now}", NotifyState::Reloading)).await;
}

/// The node leaves.
pub(crate) async fn stopping(status: &str) {
    tell(format!("{}\nSTATUS={status}", NotifyState::Stopping)).await;
}

/// Gives signs of life for as long as there are any, where they are wanted (`WATCHDOG_USEC`): each
/// only after every shard has taken something from its inbox.
pub(crate) async fn watchdog(heartbeat: Heartbeat) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(pause(within));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        heartbeat.beat().await;
        // However long it takes: there is never a second one beside it.
        notify(NotifyState::Watchdog.to_string()).await;
    }
}

/// Tells the manager, and goes on if it does not listen.
async fn tell(message: String) {
    if tokio::time::timeout(TOLD, notify(message)).await.is_err() {
        warn!("the service manager (NOTIFY_SOCKET) does not listen");
    }
}

/// On a thread where it may wait: a manager that does not read holds whoever writes.
async fn notify(message: String) {
    let told =
        tokio::task::spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&message)]));
    if let Ok(Err(cause)) = told.await {
        warn!("the service manager (NOTIFY_SOCKET) cannot be notified: {cause}");
    }
}

/// Half of the time, as sd_watchdog_enabled(3) recommends.
fn pause(within: Duration) -> Duration {
    (within / 2).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_their_names_or_by_their_order() {
        assert_eq!(names(None), ["public", "internal"]);
        assert_eq!(names(Some("")), ["public", "internal"]);
        assert_eq!(names(Some("internal:public")), ["internal", "public"]);
    }
}
