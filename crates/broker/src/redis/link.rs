//! One connection to the server, driven by whoever uses it: it needs no task of its own.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisResult, Value, cmd};
use tokio::time::{Instant, timeout, timeout_at};

use crate::redis::Server;
use crate::redis::cause::Cause;
use crate::redis::record::{self, Id, Stored};

/// Limit on connecting.
const OPEN: Duration = Duration::from_secs(5);

/// Limit on one request.
pub(super) const REQUEST: Duration = Duration::from_secs(5);

/// Oldest server that gives ids like ours.
const OLDEST: u32 = 7;

/// A request whose answer is waited for.
pub(super) struct Request {
    answer: BoxFuture<'static, RedisResult<Value>>,
    limit: Duration,
    deadline: Instant,
}

/// A connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    driver: Fuse<BoxFuture<'static, ()>>,
}

/// The records that are retained, of the last life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The number of the oldest one.
    pub(super) first: u64,
    /// The newest one.
    pub(super) last: Id,
}

impl Link {
    /// Connects, and makes sure that the server can hold the log.
    pub(super) async fn open(server: &Server) -> Result<Self, Cause> {
        let opened = timeout(OPEN, Self::connect(server)).await;
        let mut link = opened.unwrap_or(Err(Cause::Silent(OPEN)))?;
        check(&link.info().await?)?;
        Ok(link)
    }

    async fn connect(server: &Server) -> Result<Self, Cause> {
        let stream = server.address.connect().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let login = &server.address.login;
        let connecting = MultiplexedConnection::new_with_config(login, stream, config);
        let (connection, driver) = connecting.await.map_err(|error| Cause::of(&error))?;
        Ok(Self {
            connection,
            driver: driver.boxed().fuse(),
        })
    }

    /// What the server says of itself.
    pub(super) async fn info(&mut self) -> Result<String, Cause> {
        let reply = self.ask(&cmd("INFO")).await?;
        record::text(&reply)
            .map(str::to_owned)
            .ok_or_else(|| record::unexpected(&reply))
    }

    /// The ends of the log; `None` of an empty one.
    pub(super) async fn ends(&mut self, stream: &str) -> Result<Option<Ends>, Cause> {
        let mut newest = cmd("XREVRANGE");
        newest.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let Some(last) = record::stored(self.ask(&newest).await?)?.pop() else {
            return Ok(None);
        };
        let start = Id {
            number: 0,
            ..last.id
        };
        let first = self.range(stream, start, None, 1).await?.pop();
        let first = first.filter(|first| first.id.life == last.id.life);
        Ok(Some(Ends {
            first: first.map_or(last.id.number, |first| first.id.number),
            last: last.id,
        }))
    }

    /// The records from one id on, up to another, at most so many.
    pub(super) async fn range(
        &mut self,
        stream: &str,
        from: Id,
        to: Option<Id>,
        count: usize,
    ) -> Result<Vec<Stored>, Cause> {
        let to = to.map_or_else(|| "+".to_owned(), Id::text);
        let mut range = cmd("XRANGE");
        range.arg(stream).arg(from.text()).arg(to);
        range.arg("COUNT").arg(count);
        record::stored(self.ask(&range).await?)
    }

    /// The number of the first record that is not older than this, among those from `ends.first` to
    /// `end`, which is returned if there is none. One whose time is unknown is not.
    pub(super) async fn younger(
        &mut self,
        stream: &str,
        ends: Ends,
        end: u64,
        age: Duration,
    ) -> Result<u64, Cause> {
        let now = self.now().await?;
        let since = now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let (mut low, mut high) = (ends.first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = Id {
                number: middle,
                ..ends.last
            };
            let found = self.range(stream, at, Some(ends.last), 1).await?.pop();
            match found {
                Some(it) if it.at.is_some_and(|at| at < since) => {
                    low = it.id.number.max(middle) + 1;
                }
                _ => high = middle,
            }
        }
        Ok(low.min(end))
    }

    /// Milliseconds since 1970, by the server's clock.
    async fn now(&mut self) -> Result<u64, Cause> {
        let reply = self.ask(&cmd("TIME")).await?;
        let parts = reply.as_sequence().unwrap_or_default();
        let seconds = parts.first().and_then(record::text);
        let seconds = seconds.and_then(|seconds| seconds.parse::<u64>().ok());
        seconds
            .map(|seconds| seconds * 1_000)
            .ok_or_else(|| record::unexpected(&reply))
    }

    /// Sends a command and waits for the answer.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, Cause> {
        let mut request = self.send(command.clone(), REQUEST);
        self.answer(&mut request).await
    }

    /// A command that is sent as soon as its answer is waited for, within this time from now.
    pub(super) fn send(&self, command: Cmd, limit: Duration) -> Request {
        let mut connection = self.connection.clone();
        Request {
            answer: async move { command.query_async(&mut connection).await }.boxed(),
            limit,
            deadline: Instant::now() + limit,
        }
    }

    /// Waits for the answer to a request. Dropping the future loses nothing.
    pub(super) async fn answer(&mut self, request: &mut Request) -> Result<Value, Cause> {
        let answered = poll_fn(|cx| {
            let _ = self.drive(cx);
            request.answer.poll_unpin(cx)
        });
        match timeout_at(request.deadline, answered).await {
            Ok(answer) => answer.map_err(|error| Cause::of(&error)),
            Err(_elapsed) => Err(Cause::Silent(request.limit)),
        }
    }

    /// Keeps it alive while nothing is asked. Returns why there will be no more.
    pub(super) async fn idle(&mut self) -> Cause {
        poll_fn(|cx| self.drive(cx)).await;
        Cause::Lost("it was closed".into())
    }

    /// Sends and receives. Ready when there will be no more.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.driver.is_terminated() {
            return Poll::Ready(());
        }
        self.driver.poll_unpin(cx)
    }
}

/// Whether a server that says this of itself can hold the log.
fn check(info: &str) -> Result<(), Cause> {
    let version = field(info, "redis_version").unwrap_or("of an unknown version");
    let major = version.split('.').next().and_then(|it| it.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        return Err(Cause::Version(version.to_owned()));
    }
    if field(info, "loading") == Some("1") {
        return Err(Cause::Starting("it is loading its data".into()));
    }
    check_role(info)
}

/// Whether a server that says this of its replication takes records.
pub(super) fn check_role(info: &str) -> Result<(), Cause> {
    match field(info, "role") {
        Some("master") | None => Ok(()),
        Some(_) => Err(Cause::Replica("it takes no records".into())),
    }
}

/// A field of what a server says of itself.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_primary_that_is_not_too_old_holds_a_log() {
        let info = |version: &str, role: &str, loading: &str| {
            format!(
                "# Server\r\nredis_version:{version}\r\nrun_id:0\r\n\r\n# Persistence\r\n\
                 loading:{loading}\r\n# Replication\r\nrole:{role}\r\n"
            )
        };
        for (version, role, loading, expected) in [
            ("7.0.15", "master", "0", ""),
            ("255.255.255", "master", "0", ""),
            (
                "6.2.14",
                "master",
                "0",
                "the server is too old: Redis 6.2.14",
            ),
            ("5.0.3", "slave", "0", "the server is too old: Redis 5.0.3"),
            (
                "7.2.4",
                "slave",
                "0",
                "the server is a replica: it takes no records",
            ),
            (
                "7.2.4",
                "slave",
                "1",
                "the server is starting: it is loading its data",
            ),
        ] {
            let found = check(&info(version, role, loading));
            let found = found.err().map(|cause| cause.to_string());
            assert_eq!(found.unwrap_or_default(), expected);
        }
        assert!(matches!(check(""), Err(Cause::Version(_))));
    }
}
