//! Why the server cannot be used, in words for the operator.

use std::fmt;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::line::line;
use crate::log::{TailError, Trouble};
use crate::missed::MissedReason;

/// Whose fault it is and what happened. Texts are one line and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No connection could be made.
    Connect(String),
    /// No answer in this time.
    Silent(Duration),
    /// TLS cannot be used as the settings want it.
    Tls(String),
    /// User or password is wrong, or missing.
    Login(String),
    /// The user lacks a right.
    Permission(String),
    /// The server is too old.
    Version(String),
    /// The server is a replica.
    Replica(String),
    /// The server is loading its data.
    Starting(String),
    /// The server has no memory left for records.
    Memory(String),
    /// The server cannot save its data, and takes no more.
    Persistence(String),
    /// The server has too few replicas, and takes no more.
    Replicas(String),
    /// The key is not a stream.
    Key(String),
    /// The server is one of a cluster, and not the one with the key.
    Cluster(String),
    /// All connections of the server are in use.
    Full(String),
    /// The connection broke, or is not the one to use any more.
    Lost(String),
    /// The server refused a request for another reason, and goes on.
    Refused(String),
    /// Something else; the text describes it.
    Other(String),
}

impl Cause {
    /// An error of a connection.
    pub(super) fn of(error: &RedisError) -> Self {
        let text = line(words(error));
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) => Self::Login(text),
            (ErrorKind::Io, _) if error.is_connection_dropped() => Self::Lost(text),
            (_, Some(code)) => Self::said(code, text),
            (_, None) => Self::Other(text),
        }
    }

    /// What the server said: its errors begin with a code.
    fn said(code: &str, text: String) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" | "DENIED" => Self::Login(text),
            "NOPERM" => Self::Permission(text),
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" => Self::Replica(text),
            "LOADING" => Self::Starting(text),
            "OOM" => Self::Memory(text),
            "MISCONF" => Self::Persistence(text),
            "NOREPLICAS" => Self::Replicas(text),
            "WRONGTYPE" => Self::Key(text),
            "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => Self::Cluster(text),
            _ if text.contains("max number of clients") => Self::Full(text),
            _ if text.contains("Authentication required") => Self::Login(text),
            _ => Self::Refused(text),
        }
    }

    pub(super) fn tls(error: &dyn std::error::Error) -> Self {
        Self::Tls(line(error))
    }

    /// Whether a server that goes on has refused a request: what it asked for was not done.
    pub(super) const fn is_refusal(&self) -> bool {
        match self {
            Self::Permission(_)
            | Self::Replica(_)
            | Self::Starting(_)
            | Self::Memory(_)
            | Self::Persistence(_)
            | Self::Replicas(_)
            | Self::Key(_)
            | Self::Cluster(_)
            | Self::Refused(_) => true,
            Self::Connect(_)
            | Self::Silent(_)
            | Self::Tls(_)
            | Self::Login(_)
            | Self::Version(_)
            | Self::Full(_)
            | Self::Lost(_)
            | Self::Other(_) => false,
        }
    }

    /// Whether it keeps a node from appending and, perhaps, not from reading.
    pub(super) const fn concerns_appending(&self) -> bool {
        matches!(
            self,
            Self::Permission(_)
                | Self::Memory(_)
                | Self::Persistence(_)
                | Self::Replicas(_)
                | Self::Refused(_)
        )
    }

    /// What the operator can do about it; empty if the text is explanation enough.
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            Self::Connect(_) => {
                "check host and port in redis.url, `bind` of the server, and whether it runs"
            }
            Self::Silent(_) => "check firewalls, and whether the server hangs (SLOWLOG GET)",
            Self::Tls(_) => {
                "check whether the port is the one with TLS, the host name against the \
                 certificate, and its issuer against redis.tls_ca_file or the system's roots \
                 (SSL_CERT_FILE)"
            }
            Self::Login(_) => "check redis.username and redis.password, or those in redis.url",
            Self::Permission(_) => {
                "give the user the commands that docs/redis.md lists, on the key redis.stream"
            }
            Self::Version(_) => "use Redis 7.0 or later, or Valkey",
            Self::Replica(_) => "name the primary in redis.url, or an address that follows it",
            Self::Memory(_) => {
                "raise maxmemory of the server, lower redis.retention_entries, or find out what \
                 else fills it"
            }
            Self::Persistence(_) => {
                "make room on the server's disk, and see its log: it could not save its data"
            }
            Self::Replicas(_) => {
                "see why replicas are not connected, or lower min-replicas-to-write of the server"
            }
            Self::Key(_) => "choose another name in redis.stream: something else uses this one",
            Self::Cluster(_) => {
                "name the primary that serves the slot of redis.stream: CLUSTER KEYSLOT, CLUSTER \
                 SLOTS"
            }
            Self::Full(_) => "raise maxclients of the server: a node needs three connections",
            Self::Starting(_) | Self::Lost(_) | Self::Refused(_) | Self::Other(_) => "",
        }
    }
}

/// What an error says, without the library's names of kinds.
fn words(error: &RedisError) -> String {
    let text = error.to_string();
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) if text.starts_with('"') => format!("{code} {detail}"),
        _ => match (text.split_once(" - "), error.detail()) {
            (Some((what, _)), Some(detail)) => format!("{what}: {detail}"),
            (Some((what, _)), None) => what.to_owned(),
            (None, _) => text,
        },
    }
}

impl From<Cause> for TailError {
    fn from(cause: Cause) -> Self {
        let trouble = Trouble {
            cause: cause.to_string(),
            advice: cause.advice(),
            reason: MissedReason::Reconnect,
        };
        if matches!(cause, Cause::Starting(_)) {
            Self::NotYet(trouble)
        } else {
            Self::Lost(trouble)
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Other(text) => f.write_str(text),
            Self::Connect(text) => write!(f, "cannot connect: {text}"),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::Tls(text) => write!(f, "TLS cannot be used: {text}"),
            Self::Login(text) => write!(f, "the login was refused: {text}"),
            Self::Permission(text) => write!(f, "the user lacks a right: {text}"),
            Self::Version(version) => write!(f, "the server is too old: Redis {version}"),
            Self::Replica(text) => write!(f, "the server is a replica: {text}"),
            Self::Starting(text) => write!(f, "the server is starting: {text}"),
            Self::Memory(text) => write!(f, "the server has no memory left: {text}"),
            Self::Persistence(text) => write!(f, "the server cannot save its data: {text}"),
            Self::Replicas(text) => write!(f, "the server has too few replicas: {text}"),
            Self::Key(text) => write!(f, "redis.stream is not a stream: {text}"),
            Self::Cluster(text) => write!(f, "the server does not serve redis.stream: {text}"),
            Self::Full(text) => write!(f, "the server has no free connection: {text}"),
            Self::Lost(text) => write!(f, "the connection broke: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{ServerErrorKind, make_extension_error};

    use super::*;

    #[test]
    fn words_are_those_of_the_server() {
        let switch = "Redis server refused to switch database";
        let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
        for (error, expected) in [
            (
                make_extension_error("OOM".into(), Some("command not allowed".into())),
                "the server has no memory left: OOM command not allowed",
            ),
            (
                RedisError::from((kind, switch, "DB index is out of range".to_owned())),
                "Redis server refused to switch database: DB index is out of range",
            ),
            (
                (ErrorKind::AuthenticationFailed, "authentication failed").into(),
                "the login was refused: authentication failed",
            ),
            (
                std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(),
                "the connection broke: broken pipe",
            ),
        ] {
            assert_eq!(Cause::of(&error).to_string(), expected);
        }
    }

    /// Errors as the server sends them, and whether nothing was done and the log is there.
    #[test]
    fn codes_name_the_cause() {
        for (code, expected) in [
            ("NOAUTH", "the login was refused"),
            ("WRONGPASS", "the login was refused"),
            ("NOPERM", "the user lacks a right"),
            ("READONLY", "the server is a replica"),
            ("UNBLOCKED", "the server is a replica"),
            ("LOADING", "the server is starting"),
            ("MISCONF", "the server cannot save its data"),
            ("NOREPLICAS", "the server has too few replicas"),
            ("WRONGTYPE", "redis.stream is not a stream"),
            ("MOVED", "the server does not serve redis.stream"),
        ] {
            let cause = Cause::said(code, "text".into());
            assert_eq!(cause.to_string(), format!("{expected}: text"));
            assert_eq!(cause.is_refusal(), expected != "the login was refused");
            let is_starting = matches!(TailError::from(cause), TailError::NotYet(_));
            assert_eq!(is_starting, code == "LOADING");
        }
        let full = Cause::said("ERR", "max number of clients reached".into());
        assert!(matches!(full, Cause::Full(_)) && !full.is_refusal());
        assert!(Cause::said("ERR", "syntax error".into()).is_refusal());
    }
}
