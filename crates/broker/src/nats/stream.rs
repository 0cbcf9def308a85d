//! The stream: what the server says of it, and making it where it does not exist.

use std::time::Duration;

use ht_proto::entry::Position;
use serde::Deserialize;
use serde_json::json;

use crate::nats::Server;
use crate::nats::cause::Cause;
use crate::nats::link::Link;
use crate::nats::names::covers;

/// Within this time a message with a `Nats-Msg-Id` that was stored before is not stored again.
const DUPLICATES: Duration = Duration::from_secs(120);

/// What the server says of the stream.
#[derive(Debug, Deserialize)]
pub(super) struct Stream {
    pub(super) config: Config,
    /// When it was made: another one is another log.
    pub(super) created: String,
    pub(super) state: State,
    cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    subjects: Vec<String>,
    retention: String,
    pub(super) storage: String,
    #[serde(default)]
    pub(super) max_age: u64,
    #[serde(default)]
    pub(super) max_bytes: i64,
    #[serde(default)]
    pub(super) num_replicas: usize,
    #[serde(default)]
    pub(super) discard: String,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    mirror: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    messages: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    leader: Option<String>,
}

impl Stream {
    /// The oldest record that is retained.
    pub(super) fn first(&self) -> Option<Position> {
        (self.state.messages > 0).then(|| position(self.state.first_seq))
    }

    /// The newest one.
    pub(super) fn last(&self) -> Option<Position> {
        (self.state.messages > 0).then(|| position(self.state.last_seq))
    }

    /// Makes sure that it can carry the log.
    fn check(&self, server: &Server) -> Result<(), Cause> {
        let name = server.names.stream();
        let cluster = self.cluster.as_ref();
        if cluster.is_some_and(|cluster| cluster.leader.as_deref().is_none_or(str::is_empty)) {
            return Err(Cause::NotYet("it has no leader".into()));
        }
        let unusable = |what: &str| Err(Cause::Stream(format!("the stream {name} {what}")));
        let patterns = &self.config.subjects;
        let lacks = |subject: &str| !patterns.iter().any(|pattern| covers(pattern, subject));
        if let Some(subject) = server.names.subjects().into_iter().find(|it| lacks(it)) {
            return unusable(&format!("does not have the subject {subject}"));
        }
        if self.config.retention != "limits" {
            return unusable("deletes what was consumed: its retention is not by limits");
        }
        if self.config.sealed || self.config.mirror.is_some() {
            return unusable("takes no messages: it is sealed, or a mirror");
        }
        Ok(())
    }
}

impl Server {
    /// The stream.
    pub(super) async fn stream(&self, link: &Link) -> Result<Stream, Cause> {
        let verb = format!("STREAM.INFO.{}", self.names.stream());
        let stream: Stream = link.request(&verb, &json!({})).await?;
        stream.check(self)?;
        Ok(stream)
    }

    /// The stream, which is made if it does not exist. One that exists is never changed: what it
    /// retains is the operator's to set.
    pub(super) async fn stream_or_new(&self, link: &Link) -> Result<Stream, Cause> {
        match self.stream(link).await {
            Err(Cause::NoStream) => {}
            found => return found,
        }
        let name = self.names.stream();
        let config = json!({
            "name": name,
            "subjects": self.names.subjects().map(|subject| subject.as_str()),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_age": nanos(self.retention),
            "max_bytes": self.retention_bytes,
            "num_replicas": self.replicas,
            "duplicate_window": nanos(DUPLICATES.min(self.retention)),
            "deny_delete": true,
        });
        let made: Result<Stream, _> = link
            .request(&format!("STREAM.CREATE.{name}"), &config)
            .await;
        match made {
            Ok(stream) => {
                tracing::info!(stream = name, "the stream did not exist: made it");
                Ok(stream)
            }
            // Another node was faster, with other settings, perhaps.
            Err(cause) => self.stream(link).await.map_err(|_| cause),
        }
    }
}

/// A time in the server's unit.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The position of the message with this sequence number.
pub(super) fn position(sequence: u64) -> Position {
    Position::new(sequence).unwrap_or(Position::MAX)
}
