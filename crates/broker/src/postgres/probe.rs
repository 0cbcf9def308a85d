//! Trying the database out, for `high-templar check`.

use std::sync::Arc;
use std::time::Duration;

use crate::config::PostgresConfig;
use crate::postgres::address::Endpoint;
use crate::postgres::cause::Cause;
use crate::postgres::link::Link;
use crate::postgres::{ConfigError, Server};
use crate::tls::Verify;

/// How long closing the connection may take.
const CLOSE: Duration = Duration::from_millis(500);

/// Oldest server that has all that the schema uses.
const OLDEST: i32 = 120_000;

/// Rights that a node needs, and settings that change its promises.
const LOOK: &str = "
SELECT
  current_setting('server_version_num')::integer,
  current_setting('fsync'),
  pg_is_in_recovery(),
  has_function_privilege('{schema}.ht_append(smallint[], text[], bytea[])', 'EXECUTE')
    AND has_function_privilege('{schema}.ht_move(integer, bigint)', 'EXECUTE')
    AND has_function_privilege('{schema}.ht_trim(bigint, interval, bigint, integer)', 'EXECUTE')
    AND has_function_privilege('{schema}.ht_sleep(boolean)', 'EXECUTE'),
  has_table_privilege('{schema}.ht_log', 'SELECT')";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The database that answered.
    pub endpoint: Endpoint,
    /// The position of the newest record.
    pub position: u64,
    /// Unusual findings that work, in sentences.
    pub notes: Vec<String>,
}

/// Why the database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It does not work.
    #[error("{endpoint}: {cause}{}{advice}", if advice.is_empty() { "" } else { "; " })]
    Unusable {
        /// The database.
        endpoint: Endpoint,
        /// What went wrong.
        cause: String,
        /// What to do about it; may be empty.
        advice: &'static str,
    },
}

/// Checks what a node needs: login, schema, rights. Appends nothing.
///
/// # Errors
/// With what is missing, and what to do about it.
pub async fn probe(config: &PostgresConfig) -> Result<ProbeReport, ProbeError> {
    let server = Server::new(config)?;
    look(&server).await.map_err(|cause| ProbeError::Unusable {
        endpoint: server.address.endpoint.clone(),
        cause: cause.to_string(),
        advice: cause.advice(),
    })
}

async fn look(server: &Server) -> Result<ProbeReport, Cause> {
    let mut link = Link::open(server).await?;
    let head = link.head(server).await?;
    let sql = server.schema.fill(LOOK);
    let client = Arc::clone(&link.client);
    let row = link
        .ask(async move { client.query_one(&sql, &[]).await })
        .await?;
    let (version, fsync, standby): (i32, &str, bool) = (row.get(0), row.get(1), row.get(2));
    if standby {
        return Err(Cause::Standby("it is in recovery".into()));
    }
    for (column, what) in [
        (3, "to execute the functions of the log"),
        (4, "to read the log"),
    ] {
        if !row.get::<_, bool>(column) {
            return Err(Cause::Permission(what.into()));
        }
    }
    let mut notes = Vec::new();
    if version < OLDEST {
        notes.push("the server is older than PostgreSQL 12, the oldest that is tested".into());
    }
    if fsync == "off" {
        notes.push("fsync is off: a crash of the machine can lose or damage the log".into());
    }
    let endpoint = server.address.endpoint.clone();
    if server.address.verify == Verify::Nobody && endpoint.tls == "require" {
        notes.push(
            "sslmode=require encrypts without checking the server's certificate; verify-full \
             checks it"
                .into(),
        );
    }
    link.close(CLOSE).await;
    Ok(ProbeReport {
        endpoint,
        position: u64::try_from(head.pos).unwrap_or(0),
        notes,
    })
}
