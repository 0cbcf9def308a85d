//! Appending: calls that wait are put together, and each batch is one transaction.

use std::sync::Arc;

use tokio_postgres::Statement;

use crate::append_queue::{AppendQueue, Calls};
use crate::postgres::Server;
use crate::postgres::cause::Cause;
use crate::postgres::link::Link;
use crate::postgres::tail::{kind_number, position};

const APPEND: &str = "SELECT {schema}.ht_append($1, $2, $3)";

/// Appends over one connection until it is lost. Returns why.
pub(super) async fn run(queue: &AppendQueue, server: &Server) -> Cause {
    let cause = match Connected::open(server).await {
        Ok(mut connected) => {
            queue.open();
            write(queue, &mut connected).await
        }
        Err(cause) => cause,
    };
    queue.refuse(&cause);
    cause
}

async fn write(queue: &AppendQueue, connected: &mut Connected) -> Cause {
    loop {
        let calls = tokio::select! {
            calls = queue.next() => calls,
            cause = connected.link.idle() => return cause,
        };
        if let Err(cause) = connected.append(calls).await {
            return cause;
        }
    }
}

/// A connection that appends.
struct Connected {
    link: Link,
    append: Statement,
}

impl Connected {
    async fn open(server: &Server) -> Result<Self, Cause> {
        let mut link = Link::open(server).await?;
        let sql = server.schema.fill(APPEND);
        let client = Arc::clone(&link.client);
        let append = link.ask(async move { client.prepare(&sql).await }).await?;
        Ok(Self { link, append })
    }

    /// Appends these calls in one transaction, and replies to them.
    async fn append(&mut self, calls: Calls) -> Result<(), Cause> {
        let kinds: Vec<i16> = calls
            .entries()
            .map(|entry| kind_number(entry.kind))
            .collect();
        let keys: Vec<&str> = calls.entries().map(|entry| &*entry.key).collect();
        let bodies: Vec<&[u8]> = calls.entries().map(|entry| &*entry.body).collect();
        let (client, statement) = (Arc::clone(&self.link.client), self.append.clone());
        let appending = async {
            let row = client
                .query_one(&statement, &[&kinds, &keys, &bodies])
                .await?;
            row.try_get::<_, i64>(0)
        };
        match self.link.ask(appending).await {
            Ok(first) => {
                calls.appended((first..).map(position));
                Ok(())
            }
            Err(cause) => {
                // Refused by a server that goes on: its transaction was rolled back. Otherwise
                // nobody knows, and dropped calls say so.
                if cause.is_refusal() {
                    calls.refused(&cause);
                }
                Err(cause)
            }
        }
    }
}
