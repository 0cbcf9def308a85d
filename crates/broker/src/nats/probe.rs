//! Trying the server out, for `high-templar check`.

use crate::config::NatsConfig;
use crate::nats::address::Endpoint;
use crate::nats::cause::Cause;
use crate::nats::link::Link;
use crate::nats::stream::Stream;
use crate::nats::{ConfigError, Server};

/// Oldest server that is tested.
const OLDEST: (i64, i64) = (2, 9);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The servers that were tried.
    pub endpoint: Endpoint,
    /// The stream.
    pub stream: String,
    /// The position of the newest record; none if the stream does not exist yet.
    pub position: Option<u64>,
    /// Longest message that the server accepts.
    pub max_payload: usize,
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
        /// The servers.
        endpoint: Endpoint,
        /// What went wrong.
        cause: String,
        /// What to do about it; may be empty.
        advice: &'static str,
    },
}

/// Checks what a node needs: login, JetStream, and the stream if it exists. Makes and appends
/// nothing.
///
/// # Errors
/// With what is missing, and what to do about it.
pub async fn probe(config: &NatsConfig) -> Result<ProbeReport, ProbeError> {
    let server = Server::new(config)?;
    look(&server).await.map_err(|cause| ProbeError::Unusable {
        endpoint: server.address.endpoint.clone(),
        cause: cause.to_string(),
        advice: cause.advice(),
    })
}

async fn look(server: &Server) -> Result<ProbeReport, Cause> {
    let link = Link::open(server, "high-templar check").await?;
    let stream = match server.stream(&link).await {
        Ok(stream) => Some(stream),
        Err(Cause::NoStream) => None,
        Err(cause) => return Err(cause),
    };
    let mut notes = Vec::new();
    let (major, minor) = OLDEST;
    if !link.client.is_server_compatible(major, minor, 0) {
        let version = link.client.server_info().version;
        notes.push(format!(
            "the server has version {version}; the oldest that is tested is 2.9"
        ));
    }
    if let Some(stream) = &stream {
        notes.extend(of_stream(stream, server));
        let is_clustered = link.client.server_info().cluster.is_some();
        if is_clustered && stream.config.num_replicas == 1 {
            notes.push(
                "the stream has one copy: it is unavailable as long as that server is".into(),
            );
        }
    }
    Ok(ProbeReport {
        endpoint: server.address.endpoint.clone(),
        stream: server.names.stream().to_owned(),
        position: stream.map(|stream| stream.state.last_seq),
        max_payload: link.client.max_payload(),
        notes,
    })
}

/// Settings of a stream that exists, as far as they change a promise: they are the operator's.
fn of_stream(stream: &Stream, server: &Server) -> Vec<String> {
    let config = &stream.config;
    let mut notes = Vec::new();
    if config.storage != "file" {
        notes.push("the stream is in memory: a restart of the server loses it".into());
    }
    if config.discard != "old" {
        notes.push("a stream that is full refuses new messages: set its discard to old".into());
    }
    let age = config.max_age / 1_000_000_000;
    if age != server.retention.as_secs() && age != 0 {
        notes.push(format!(
            "the stream retains messages for {age} s, whatever nats.retention says: it is used as \
             it is"
        ));
    }
    if config.max_age == 0 && config.max_bytes <= 0 {
        notes.push("the stream retains all messages: set a limit of its age or its bytes".into());
    }
    notes
}
