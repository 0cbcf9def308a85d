//! Appending: calls that wait are put together, and each batch is one script. Trimming, too.

use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, sleep_until};

use crate::append_queue::{AppendQueue, Calls};
use crate::redis::cause::Cause;
use crate::redis::link::Link;
use crate::redis::record::{Id, kind_name, position, text, unexpected};
use crate::redis::{APPEND, Server};

/// How often records that are too old are dropped.
const TRIM: Duration = Duration::from_secs(60);

/// Appends until the server cannot be used. Returns why.
pub(super) async fn run(queue: &AppendQueue, server: &Server) -> Cause {
    let cause = loop {
        let mut link = match Link::open(server).await {
            Ok(link) => link,
            Err(cause) => break cause,
        };
        queue.open();
        if let Err(cause) = write(queue, server, &mut link).await {
            break cause;
        }
    };
    queue.refuse(&cause);
    cause
}

/// Appends over one connection, until there is reason to doubt that it is the right one.
async fn write(queue: &AppendQueue, server: &Server, link: &mut Link) -> Result<(), Cause> {
    let mut trim = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = server.doubt.notified() => return Ok(()),
            () = sleep_until(trim) => {
                trim = Instant::now() + TRIM;
                match drop_old(server, link).await {
                    // Appending matters more.
                    Err(cause) if cause.is_refusal() => {
                        tracing::warn!(%cause, "the log in Redis could not be trimmed: retrying");
                    }
                    done => done?,
                }
            }
            calls = queue.next() => append(server, link, calls).await?,
            cause = link.idle() => return Err(cause),
        }
    }
}

/// Appends these calls with one script, and replies to them.
async fn append(server: &Server, link: &mut Link, calls: Calls) -> Result<(), Cause> {
    let mut script = cmd("EVAL");
    script.arg(APPEND).arg(1).arg(&server.stream);
    script.arg(server.retention_entries);
    for entry in calls.entries() {
        script.arg(kind_name(entry.kind));
        script.arg(&*entry.key).arg(&*entry.body);
    }
    let appended = link.ask(&script).await.and_then(|reply| {
        let first = text(&reply).and_then(Id::parse);
        first.ok_or_else(|| unexpected(&reply))
    });
    match appended {
        Ok(first) => {
            calls.appended((first.number..).map(position));
            Ok(())
        }
        Err(cause) => {
            // Refused by a server that goes on: it refuses the first record or none. Otherwise
            // nobody knows, and dropped calls say so.
            if cause.is_refusal() {
                calls.refused(&cause);
            }
            Err(cause)
        }
    }
}

/// Drops records that are older than the retention, but never the last one.
async fn drop_old(server: &Server, link: &mut Link) -> Result<(), Cause> {
    let stream = &server.stream;
    let Some(ends) = link.ends(stream).await? else {
        return Ok(());
    };
    let keep = link
        .younger(stream, ends, ends.last.number, server.retention)
        .await?;
    if keep <= ends.first {
        return Ok(());
    }
    let keep = Id {
        number: keep,
        ..ends.last
    };
    let mut trim = cmd("XTRIM");
    trim.arg(stream).arg("MINID").arg("~").arg(keep.text());
    // A part at a time: the server does nothing else meanwhile.
    while link.ask(&trim).await? != redis::Value::Int(0) {}
    Ok(())
}
