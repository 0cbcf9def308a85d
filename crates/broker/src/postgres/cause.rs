//! Why the database cannot be used, in words for the operator.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

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
    /// TLS cannot be used as the url wants it.
    Tls(String),
    /// User or password is wrong, or `pg_hba.conf` refuses.
    Login(String),
    /// The database does not exist.
    Database(String),
    /// The role lacks a right.
    Permission(String),
    /// The schema, or something in it, does not exist.
    Schema(String),
    /// The schema is older than this version needs.
    Version(i32),
    /// The server accepts no writes.
    Standby(String),
    /// All connections of the server or the role are in use.
    Full(String),
    /// The server shuts down.
    Stopping(String),
    /// The server is starting.
    Starting(String),
    /// The connection broke.
    Lost(String),
    /// The server refused a request for another reason, and goes on.
    Refused(String),
    /// Something else; the text describes it.
    Other(String),
}

impl Cause {
    /// An error of a connection.
    pub(super) fn of(error: &Error) -> Self {
        if let Some(error) = error.as_db_error() {
            return Self::said(error);
        }
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        let text = line(text);
        if error.is_closed() {
            Self::Lost(text)
        } else if text.contains("TLS") || text.contains("certificate") {
            Self::Tls(text)
        } else if text.contains("authentication error") || text.contains("password missing") {
            Self::Login(text)
        } else if text.starts_with("error connecting") || text.starts_with("timeout") {
            Self::Connect(text)
        } else if text.starts_with("error communicating") {
            Self::Lost(text)
        } else {
            Self::Other(text)
        }
    }

    /// What the server said. Its details may hold data, and are left out.
    fn said(error: &DbError) -> Self {
        let code = error.code();
        let text = line(format_args!("{} ({})", error.message(), code.code()));
        if [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ]
        .contains(code)
        {
            Self::Login(text)
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            Self::Database(text)
        } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
            Self::Permission(text)
        } else if [
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_COLUMN,
        ]
        .contains(code)
        {
            Self::Schema(text)
        } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            Self::Standby(text)
        } else if *code == SqlState::TOO_MANY_CONNECTIONS {
            Self::Full(text)
        } else if *code == SqlState::CANNOT_CONNECT_NOW {
            Self::Starting(text)
        } else if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code) {
            Self::Stopping(text)
        } else if error.parsed_severity() == Some(Severity::Error) {
            Self::Refused(text)
        } else {
            Self::Other(text)
        }
    }

    /// Whether a server that goes on has refused a request: what it asked for was not done.
    pub(super) const fn is_refusal(&self) -> bool {
        match self {
            Self::Permission(_)
            | Self::Schema(_)
            | Self::Version(_)
            | Self::Standby(_)
            | Self::Refused(_) => true,
            Self::Connect(_)
            | Self::Silent(_)
            | Self::Tls(_)
            | Self::Login(_)
            | Self::Database(_)
            | Self::Full(_)
            | Self::Stopping(_)
            | Self::Starting(_)
            | Self::Lost(_)
            | Self::Other(_) => false,
        }
    }

    /// Whether there is no log to use.
    pub(super) const fn is_schema(&self) -> bool {
        matches!(self, Self::Schema(_) | Self::Version(_))
    }

    /// What the operator can do about it; empty if the text is explanation enough.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Connect(_) => {
                "check host and port in postgres.url, listen_addresses of the server, and whether \
                 it runs"
            }
            Self::Silent(_) => {
                "check firewalls, whether the server hangs, and locks on the tables of the log \
                 (pg_stat_activity)"
            }
            Self::Tls(_) => {
                "check sslmode in postgres.url, the host name against the certificate, and its \
                 issuer against sslrootcert or the system's roots (SSL_CERT_FILE)"
            }
            Self::Login(_) => "check user and password in postgres.url, and pg_hba.conf",
            Self::Database(_) => "check the database in postgres.url, or create it",
            Self::Permission(_) => {
                "give the role its rights: `high-templar postgres schema --gateway ROLE | psql`"
            }
            Self::Schema(_) | Self::Version(_) => {
                "apply the schema as its owner: `high-templar postgres schema | psql`, or \
                 `manage.py migrate`; check that postgres.log and the database are the right ones"
            }
            Self::Standby(_) => {
                "name the primary in postgres.url; with several hosts add \
                 target_session_attrs=read-write"
            }
            Self::Full(_) => {
                "raise max_connections or the limit of the role: a node needs three connections"
            }
            Self::Stopping(_)
            | Self::Starting(_)
            | Self::Lost(_)
            | Self::Refused(_)
            | Self::Other(_) => "",
        }
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
            Self::Connect(text) | Self::Refused(text) | Self::Other(text) => f.write_str(text),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::Tls(text) => write!(f, "TLS cannot be used: {text}"),
            Self::Login(text) => write!(f, "the login was refused: {text}"),
            Self::Database(text) => write!(f, "no such database: {text}"),
            Self::Permission(text) => write!(f, "the role lacks a right: {text}"),
            Self::Schema(text) => write!(f, "the schema of the log is missing: {text}"),
            Self::Version(version) => {
                write!(
                    f,
                    "the schema of the log has version {version}, which is too old"
                )
            }
            Self::Standby(text) => write!(f, "the server is a standby: {text}"),
            Self::Full(text) => write!(f, "the server has no free connection: {text}"),
            Self::Stopping(text) => write!(f, "the server shuts down: {text}"),
            Self::Starting(text) => write!(f, "the server is starting: {text}"),
            Self::Lost(text) => write!(f, "the connection broke: {text}"),
        }
    }
}
