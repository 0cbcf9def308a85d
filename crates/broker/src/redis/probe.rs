//! Trying the server out, for `high-templar check`.

use redis::cmd;

use crate::config::RedisConfig;
use crate::redis::address::Endpoint;
use crate::redis::cause::Cause;
use crate::redis::link::{Link, field};
use crate::redis::{APPEND, ConfigError, Server};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The server that answered.
    pub endpoint: Endpoint,
    /// The position of the newest record.
    pub position: u64,
    /// Unusual findings that work, in sentences.
    pub notes: Vec<String>,
}

/// Why the server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It does not work.
    #[error("{endpoint}: {cause}{}{advice}", if advice.is_empty() { "" } else { "; " })]
    Unusable {
        /// The server.
        endpoint: Endpoint,
        /// What went wrong.
        cause: String,
        /// What to do about it; may be empty.
        advice: &'static str,
    },
}

/// Checks what a node needs: login, version, role, rights. Appends nothing.
///
/// # Errors
/// With what is missing, and what to do about it.
pub async fn probe(config: &RedisConfig) -> Result<ProbeReport, ProbeError> {
    let server = Server::new(config)?;
    look(&server).await.map_err(|cause| ProbeError::Unusable {
        endpoint: server.address.endpoint.clone(),
        cause: cause.to_string(),
        advice: cause.advice(),
    })
}

async fn look(server: &Server) -> Result<ProbeReport, Cause> {
    let mut link = Link::open(server).await?;
    let stream = &server.stream;
    let ends = link.ends(stream).await?;
    // Without a record the script appends none, and nothing is as long as this.
    let mut append = cmd("EVAL");
    link.ask(append.arg(APPEND).arg(1).arg(stream).arg(0))
        .await?;
    let mut trim = cmd("XTRIM");
    trim.arg(stream).arg("MAXLEN").arg("~").arg(i64::MAX);
    link.ask(&trim).await?;
    let mut notes = notes(&link.info().await?);
    if server.address.trusts_anybody() {
        notes.push("redis.tls_verify = false encrypts without checking the server".into());
    }
    Ok(ProbeReport {
        endpoint: server.address.endpoint.clone(),
        position: ends.map_or(0, |ends| ends.last.number),
        notes,
    })
}

/// Settings of the server that change its promises.
fn notes(info: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if field(info, "aof_enabled") == Some("0") {
        notes.push(
            "appendonly is off: a crash of the server loses what it accepted since it last saved \
             its data. Set appendonly yes"
                .into(),
        );
    }
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    if policy.starts_with("allkeys") {
        notes.push(format!(
            "maxmemory-policy is {policy}: the server may drop the log when its memory is full. \
             Set noeviction, or a policy that begins with volatile"
        ));
    }
    let has_replicas = field(info, "connected_slaves").is_some_and(|count| count != "0");
    if has_replicas && field(info, "min_slaves_good_slaves").is_none() {
        notes.push(
            "min-replicas-to-write is 0: a failover loses what no replica had. Set it to 1".into(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_what_changes_the_promises() {
        let info = |aof: &str, policy: &str, replication: &str| {
            notes(&format!(
                "aof_enabled:{aof}\r\nmaxmemory_policy:{policy}\r\n{replication}\r\n"
            ))
        };
        let good = "role:master\r\nconnected_slaves:0";
        assert_eq!(info("1", "noeviction", good), [""; 0]);
        assert_eq!(info("1", "volatile-lru", good), [""; 0]);
        assert!(info("0", "noeviction", good)[0].starts_with("appendonly is off"));
        assert!(info("1", "allkeys-lru", good)[0].starts_with("maxmemory-policy is allkeys-lru"));
        let found = info("1", "noeviction", "connected_slaves:1");
        assert!(found[0].starts_with("min-replicas-to-write is 0"));
        let minimum = "connected_slaves:1\r\nmin_slaves_good_slaves:1";
        assert_eq!(info("1", "noeviction", minimum), [""; 0]);
    }
}
