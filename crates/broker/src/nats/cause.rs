//! Why the server cannot be used, in words for the operator.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use async_nats::{ConnectError, ConnectErrorKind};

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
    /// The server refuses the login.
    Login(String),
    /// The user lacks a right.
    Permission(String),
    /// The server is there, and JetStream is not enabled, or not yet.
    NoJetStream,
    /// JetStream is there, and the stream is not available: the cluster is choosing a leader.
    NotYet(String),
    /// The stream does not exist.
    NoStream,
    /// The stream cannot be used as the log.
    Stream(String),
    /// The server refused a request for another reason.
    Refused(String),
    /// The connection broke.
    Lost(String),
}

impl Cause {
    /// A connection could not be made.
    pub(super) fn of(error: &ConnectError) -> Self {
        let kind = error.kind();
        let mut texts = Vec::new();
        let mut is_tls = kind == ConnectErrorKind::Tls;
        let mut source = error.source();
        while let Some(cause) = source {
            texts.push(cause.to_string());
            is_tls |= is_of_tls(cause);
            source = cause.source();
        }
        let text = if texts.is_empty() {
            kind.to_string()
        } else {
            texts.join(": ")
        };
        let text = line(text);
        match kind {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                Self::Login(text)
            }
            _ if is_tls => Self::Tls(text),
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => Self::Connect(text),
        }
    }

    /// What the operator can do about it; empty if the text is explanation enough.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Connect(_) => "check host and port in nats.url, and whether the server runs",
            Self::Silent(_) => "check firewalls, whether the server hangs, and the user's rights",
            Self::Tls(_) => {
                "check the host name in nats.url against the server's certificate, its issuer \
                 against nats.tls_ca_file or the system's roots (SSL_CERT_FILE), and whether the \
                 server wants a certificate of the client (nats.tls_certificate_file)"
            }
            Self::Login(_) => {
                "check the login: nats.url, or nats.username and nats.password, nats.token, \
                 nats.nkey or nats.credentials"
            }
            Self::Permission(_) => {
                "give the user the rights that docs/nats.md names (Rights), or make the stream \
                 yourself"
            }
            Self::NoJetStream => {
                "enable JetStream in the server's configuration (jetstream {}) and for the account"
            }
            Self::Stream(_) => {
                "edit the stream (nats stream edit), or name another one in nats.stream"
            }
            Self::Refused(_) => {
                "check nats.replicas against the cluster, and the limits of JetStream for the \
                 server and the account (nats account info)"
            }
            Self::NotYet(_) | Self::NoStream | Self::Lost(_) => "",
        }
    }
}

/// Whether an error is one of TLS: to the library a handshake that fails is an error of the socket.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let socket = error.downcast_ref::<io::Error>();
    socket.is_some_and(|error| {
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>())
    })
}

impl From<Cause> for TailError {
    fn from(cause: Cause) -> Self {
        let trouble = Trouble {
            cause: cause.to_string(),
            advice: cause.advice(),
            reason: MissedReason::Reconnect,
        };
        match cause {
            Cause::NoJetStream | Cause::NotYet(_) => Self::NotYet(trouble),
            Cause::Connect(_)
            | Cause::Silent(_)
            | Cause::Tls(_)
            | Cause::Login(_)
            | Cause::Permission(_)
            | Cause::NoStream
            | Cause::Stream(_)
            | Cause::Refused(_)
            | Cause::Lost(_) => Self::Lost(trouble),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(text) | Self::Stream(text) => f.write_str(text),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::Tls(text) => write!(f, "TLS cannot be used: {text}"),
            Self::Login(text) => write!(f, "the login was refused: {text}"),
            Self::Permission(text) => write!(f, "the user lacks a right: {text}"),
            Self::NoJetStream => {
                f.write_str("JetStream does not answer: it is not enabled, or is starting")
            }
            Self::NotYet(text) => write!(f, "the stream is not available yet: {text}"),
            Self::NoStream => f.write_str("the stream does not exist"),
            Self::Refused(text) => write!(f, "the server refused it: {text}"),
            Self::Lost(text) => write!(f, "the connection broke: {text}"),
        }
    }
}
