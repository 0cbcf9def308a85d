//! Why the broker cannot be used, in words for the operator.

use std::time::Duration;
use std::{fmt, io};

use lapin::{Error, ErrorKind};

use crate::line::line;
use crate::log::{TailError, Trouble};
use crate::missed::MissedReason;

/// AMQP reply codes with a specific cause (AMQP 0-9-1, 1.2).
const CONNECTION_FORCED: u16 = 320;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Whose fault it is and what happened. Texts are one line and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The host name has no address.
    Unresolved(String),
    /// Nothing listens at the address.
    Refused,
    /// No TCP connection, TLS handshake or answer in this time.
    Silent(Duration),
    /// The certificate or the TLS protocol is not as it must be.
    Tls(String),
    /// The peer ended the connection before it had spoken AMQP.
    HungUp,
    /// User or password is wrong.
    Login(String),
    /// The virtual host does not exist, or the user may not enter it.
    Vhost(String),
    /// The user lacks a right in the virtual host.
    Permission(String),
    /// The exchange or queue does not exist (any more).
    Missing(String),
    /// It exists with other arguments.
    Different(String),
    /// The stream exists, and is not available: the broker is starting, or a member of its cluster
    /// is down.
    NotYet(String),
    /// It has been so for long.
    Hopeless(String),
    /// The queue with the stream's name is no stream.
    NoStream,
    /// The consumer was cancelled by the broker: the queue was deleted.
    Cancelled,
    /// The broker has blocked publishers.
    Blocked,
    /// The broker closes all connections, as when it stops.
    Stopping(String),
    /// No heartbeat for too long.
    Dead,
    /// The connection broke.
    Lost(String),
    /// Something else; the text describes it.
    Other(String),
}

impl From<Cause> for TailError {
    fn from(cause: Cause) -> Self {
        // Consequence of a lost connection for messages published until the next one.
        let reason = if cause == Cause::Cancelled {
            MissedReason::QueueDeleted
        } else {
            MissedReason::Reconnect
        };
        let is_there = matches!(cause, Cause::NotYet(_) | Cause::Hopeless(_));
        let trouble = Trouble {
            cause: cause.to_string(),
            advice: cause.advice(),
            reason,
        };
        if is_there {
            Self::NotYet(trouble)
        } else {
            Self::Lost(trouble)
        }
    }
}

impl Cause {
    /// An error while connecting, before the first AMQP frame arrived.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of io::Error are open-ended"
    )]
    pub(super) fn connecting(error: &io::Error, limit: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Silent(limit),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe => Self::HungUp,
            _ => {
                let text = line(error);
                if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) {
                    Self::Tls(text)
                } else if text.contains("lookup address") {
                    Self::Unresolved(text)
                } else {
                    Self::Other(text)
                }
            }
        }
    }

    fn protocol(code: u16, text: &str) -> Self {
        let text = line(text);
        match code {
            ACCESS_REFUSED if text.contains("Login was refused") => Self::Login(text),
            ACCESS_REFUSED => Self::Permission(text),
            NOT_ALLOWED => Self::Vhost(text),
            NOT_FOUND => Self::Missing(text),
            PRECONDITION_FAILED => Self::Different(text),
            CONNECTION_FORCED => Self::Stopping(text),
            code => Self::Other(format!("{code} {text}")),
        }
    }

    /// What the operator can do about it; empty if the text is explanation enough.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "check the host name in the url",
            Self::Refused => "check host and port in the url, and whether the broker runs",
            Self::Silent(_) => {
                "check host and port in the url, firewalls, and whether the broker hangs"
            }
            Self::Tls(_) => {
                "check the host name against the certificate, and its issuer against the system's \
                 roots (SSL_CERT_FILE)"
            }
            Self::HungUp => {
                "check that the port speaks AMQP, and TLS only with amqps://; a broker that is \
                 still starting does this too"
            }
            Self::Login(_) => {
                "check user and password in the url; `guest` may come from localhost only"
            }
            Self::Vhost(_) => {
                "check the virtual host in the url: `rabbitmqctl add_vhost VHOST`, then \
                 `rabbitmqctl set_permissions -p VHOST USER PATTERN PATTERN PATTERN`, where PATTERN \
                 matches rabbitmq.exchange and hightemplar_, such as '^hightemplar'"
            }
            Self::Permission(_) => {
                "`rabbitmqctl set_permissions -p VHOST USER PATTERN PATTERN PATTERN`, where PATTERN \
                 matches rabbitmq.exchange and hightemplar_, such as '^hightemplar'"
            }
            Self::Hopeless(_) => {
                "start the members of the cluster that keep the stream. A stream whose broker was \
                 killed within seconds after it was declared can neither be repaired nor deleted: \
                 then give rabbitmq.stream another name, on every node"
            }
            Self::NoStream => {
                "give rabbitmq.stream another name, or delete the queue that has this one"
            }
            Self::Missing(_)
            | Self::Different(_)
            | Self::NotYet(_)
            | Self::Cancelled
            | Self::Blocked
            | Self::Stopping(_)
            | Self::Dead
            | Self::Lost(_)
            | Self::Other(_) => "",
        }
    }
}

impl From<Error> for Cause {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "lapin declares its kinds unstable"
    )]
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(error) => {
                Self::protocol(error.get_id(), error.get_message().as_str())
            }
            ErrorKind::MissingHeartbeatError => Self::Dead,
            ErrorKind::IOError(_) | ErrorKind::InvalidConnectionState(_) => {
                Self::Lost(line(&error))
            }
            _ => Self::Other(line(&error)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(text) => write!(f, "the host name cannot be resolved: {text}"),
            Self::Refused => f.write_str("connection refused: nothing listens on that port"),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::Tls(text) => write!(f, "the TLS handshake failed: {text}"),
            Self::HungUp => f.write_str("the peer closed the connection before speaking AMQP"),
            Self::Login(text) => write!(f, "wrong user or password: {text}"),
            Self::Vhost(text) => write!(f, "no access to the virtual host: {text}"),
            Self::Permission(text) => write!(f, "the user lacks a permission: {text}"),
            Self::Missing(text) => write!(f, "it does not exist: {text}"),
            Self::Different(text) => write!(f, "it exists with other arguments: {text}"),
            Self::NotYet(text) => write!(f, "the stream is not available yet: {text}"),
            Self::Hopeless(text) => write!(f, "the stream stays unavailable: {text}"),
            Self::NoStream => f.write_str("the queue with the stream's name is not a stream"),
            Self::Cancelled => {
                f.write_str("the broker cancelled the consumer: the queue was deleted")
            }
            Self::Blocked => {
                f.write_str("it takes nothing from publishers: its memory or disk alarm is on")
            }
            Self::Stopping(text) => write!(f, "the broker closed the connection: {text}"),
            Self::Dead => f.write_str("the broker sent no heartbeat for too long"),
            Self::Lost(text) => write!(f, "the connection broke: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_codes_become_causes() {
        for (code, text, expected) in [
            (
                403,
                "ACCESS_REFUSED - Login was refused using PLAIN",
                "wrong user or password: ",
            ),
            (
                403,
                "ACCESS_REFUSED - access to exchange",
                "the user lacks a permission: ",
            ),
            (
                530,
                "NOT_ALLOWED - vhost x not found",
                "no access to the virtual host: ",
            ),
            (404, "NOT_FOUND - no exchange", "it does not exist: "),
            (
                406,
                "PRECONDITION_FAILED - inequivalent",
                "it exists with other arguments: ",
            ),
            (
                320,
                "CONNECTION_FORCED - shutdown",
                "the broker closed the connection: ",
            ),
            (541, "INTERNAL_ERROR", "541 "),
        ] {
            let shown = Cause::protocol(code, text).to_string();
            assert_eq!(shown, format!("{expected}{text}"));
        }
    }

    #[test]
    fn texts_are_one_bounded_line() {
        assert_eq!(line("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(line("x".repeat(10_000)).len(), 300);
    }
}
