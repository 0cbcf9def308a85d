//! Integration with systemd: socket activation (sd_listen_fds(3)), notification of the process's
//! state and watchdog (sd_notify(3)). Without a service manager it does nothing.

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use ht_node::{Heartbeat, Inherited, InheritedSockets};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

/// The names of the sockets, as `FileDescriptorName=` of a socket unit gives them.
const NAMES: &str = "LISTEN_FDNAMES";

/// Timeout of a notification.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Passed sockets that cannot be used: a mistake in the socket units.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketsError {
    /// An unknown name.
    #[error(
        "the passed socket {index} is named {name:?}: FileDescriptorName= must be public or \
         internal"
    )]
    Name {
        /// Its index among the passed sockets.
        index: usize,
        /// Its name.
        name: String,
    },
    /// Two sockets with the same name.
    #[error(
        "two of the passed sockets are named {0}: each listener has one address. Keep one \
         ListenStream= in each socket unit, and give the units different FileDescriptorName="
    )]
    Twice(&'static str),
    /// Not a listening socket.
    #[error("the passed socket {name} cannot be used: {cause}")]
    Unusable {
        /// Its name.
        name: &'static str,
        /// The system's error.
        cause: std::io::Error,
    },
}

/// Takes the sockets that were passed to this process: by their names, `public` and `internal`, or
/// in this order if they have none. Must be called before any thread is started.
///
/// # Errors
/// When a socket is unknown or cannot be used.
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

/// Names of the passed sockets.
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

/// Reports that the node serves.
pub(crate) async fn ready(status: &str) {
    notify(format!("{}\nSTATUS={status}", NotifyState::Ready)).await;
}

/// Reports the beginning of a reload; [`ready`] ends it.
pub(crate) async fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    let now = now.map_or_else(|_| String::new(), |now| format!("\n{now}"));
    notify(format!("{}{now}", NotifyState::Reloading)).await;
}

/// Reports the beginning of the shutdown.
pub(crate) async fn stopping(status: &str) {
    notify(format!("{}\nSTATUS={status}", NotifyState::Stopping)).await;
}

/// Sends watchdog notifications, if they are enabled (`WATCHDOG_USEC`): each only after every shard
/// has processed a heartbeat.
pub(crate) async fn watchdog(heartbeat: Heartbeat) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(pause(within));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        heartbeat.beat().await;
        // Without a timeout: there is never a second one.
        write(NotifyState::Watchdog.to_string()).await;
    }
}

/// Sends a notification, with a timeout.
async fn notify(message: String) {
    if tokio::time::timeout(TIMEOUT, write(message)).await.is_err() {
        warn!("the service manager (NOTIFY_SOCKET) does not read notifications");
    }
}

/// Writes on a thread that can block, because a manager may not read.
async fn write(message: String) {
    let written =
        tokio::task::spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&message)]));
    if let Ok(Err(cause)) = written.await {
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
    fn passed_sockets_have_names_or_a_default_order() {
        assert_eq!(names(None), ["public", "internal"]);
        assert_eq!(names(Some("")), ["public", "internal"]);
        assert_eq!(names(Some("internal:public")), ["internal", "public"]);
    }
}
