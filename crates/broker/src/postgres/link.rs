//! One connection to the database, driven by whoever uses it: it needs no task of its own.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Socket};

use crate::postgres::Server;
use crate::postgres::cause::Cause;
use crate::postgres::schema::VERSION;
use crate::postgres::tls::{Encrypted, Tls};

/// Limit on connecting, whatever number of hosts and addresses there are.
const OPEN: Duration = Duration::from_secs(15);

/// Limit on one request. The server gives up a little earlier, so that its locks are released.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

/// What each session sets. `synchronous_commit`: a commit that is answered is on disk, also where
/// the server's default is faster. The keepalives are the server's: it releases the lock of a node
/// whose machine is gone.
const SESSION: &str = "
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'warning';
SET statement_timeout = '9s';
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false)
  WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'";

const HEAD: &str = "SELECT version, epoch, pos FROM {schema}.ht_head";

/// Not with each [`HEAD`]: finding the oldest record passes over deleted ones that an old transaction
/// keeps.
const ENDS: &str = "
SELECT (SELECT min(pos) FROM {schema}.ht_log), (SELECT max(pos) FROM {schema}.ht_log)";

/// A connection.
pub(super) struct Link {
    pub(super) client: Arc<Client>,
    connection: Connection<Socket, Encrypted>,
    /// A notification has come that nobody has waited for yet.
    notified: bool,
}

/// State of the log, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Names the log.
    pub(super) epoch: i32,
    /// The last position that was given.
    pub(super) pos: i64,
}

/// The records that are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The oldest one.
    pub(super) first: Option<i64>,
    /// The newest one.
    pub(super) last: Option<i64>,
}

impl Link {
    /// Connects, and makes sure that the schema is there.
    pub(super) async fn open(server: &Server) -> Result<Self, Cause> {
        let tls =
            Tls::new(&server.address.verify).map_err(|error| Cause::Tls(error.to_string()))?;
        let connecting = server.address.config.connect(tls);
        let connected = timeout(OPEN, connecting).await;
        let (client, connection) = connected
            .map_err(|_elapsed| Cause::Silent(OPEN))?
            .map_err(|error| Cause::of(&error))?;
        let mut link = Self {
            client: Arc::new(client),
            connection,
            notified: false,
        };
        let client = Arc::clone(&link.client);
        link.ask(async move { client.batch_execute(SESSION).await })
            .await?;
        link.head(server).await?;
        Ok(link)
    }

    /// The state of the log.
    pub(super) async fn head(&mut self, server: &Server) -> Result<Head, Cause> {
        let sql = server.schema.fill(HEAD);
        let client = Arc::clone(&self.client);
        let row = self
            .ask(async move { client.query_opt(&sql, &[]).await })
            .await?;
        let row = row.ok_or_else(|| Cause::Schema("ht_head is empty".into()))?;
        let version: i32 = row.get(0);
        if version < VERSION {
            return Err(Cause::Version(version));
        }
        Ok(Head {
            epoch: row.get(1),
            pos: row.get(2),
        })
    }

    /// What is retained.
    pub(super) async fn ends(&mut self, server: &Server) -> Result<Ends, Cause> {
        let sql = server.schema.fill(ENDS);
        let client = Arc::clone(&self.client);
        let row = self
            .ask(async move { client.query_one(&sql, &[]).await })
            .await?;
        Ok(Ends {
            first: row.get(0),
            last: row.get(1),
        })
    }

    /// Begins to receive notifications of a channel, whose name needs no quoting.
    pub(super) async fn listen(&mut self, channel: &str) -> Result<(), Cause> {
        let sql = format!("LISTEN \"{channel}\"");
        let client = Arc::clone(&self.client);
        self.ask(async move { client.batch_execute(&sql).await })
            .await
    }

    /// Waits for the answer to a request of [`Link::client`].
    pub(super) async fn ask<T>(
        &mut self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Cause> {
        let mut request = pin!(request);
        let answered = poll_fn(|cx| {
            // First: what it has received is the answer, or why there will be none.
            let over = self.drive(cx);
            match request.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                // The connection's own error says more than "closed".
                Poll::Ready(Err(error)) => {
                    Poll::Ready(Err(over.unwrap_or_else(|| Cause::of(&error))))
                }
                Poll::Pending => over.map_or(Poll::Pending, |over| Poll::Ready(Err(over))),
            }
        });
        timeout(REQUEST, answered)
            .await
            .unwrap_or(Err(Cause::Silent(REQUEST)))
    }

    /// Waits for a notification; one that has come since the last wait counts.
    pub(super) async fn notified(&mut self) -> Result<(), Cause> {
        let waited = poll_fn(|cx| match self.drive(cx) {
            Some(over) => Poll::Ready(Err(over)),
            None if self.notified => Poll::Ready(Ok(())),
            None => Poll::Pending,
        });
        waited.await?;
        self.notified = false;
        Ok(())
    }

    /// Forgets notifications of what is about to be read.
    pub(super) fn forget(&mut self) {
        self.notified = false;
    }

    /// Keeps it alive while nothing is asked. Returns why there will be no more.
    pub(super) async fn idle(&mut self) -> Cause {
        poll_fn(|cx| self.drive(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Ends it within `limit`.
    pub(super) async fn close(self, limit: Duration) {
        let Self {
            client,
            mut connection,
            ..
        } = self;
        drop(client);
        let ended = poll_fn(|cx| {
            while let Poll::Ready(message) = connection.poll_message(cx) {
                if !matches!(message, Some(Ok(_))) {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        });
        let _ = timeout(limit, ended).await;
    }

    /// Sends and receives. Returns why there will be no more.
    fn drive(&mut self, cx: &mut Context<'_>) -> Option<Cause> {
        loop {
            match self.connection.poll_message(cx) {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(AsyncMessage::Notification(_)))) => self.notified = true,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Some(Cause::of(&error)),
                Poll::Ready(None) => return Some(Cause::Lost("it was closed".into())),
            }
        }
    }
}
