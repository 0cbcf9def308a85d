//! Causes of failed TLS handshakes: each in one sentence, and what to do about it.

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::net::IpAddr;
use std::{fmt, io};

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

use crate::cause;

/// Names of a certificate that are shown.
const NAMES_MAX: usize = 10;

/// Longest text of the peer or of rustls that is repeated, in characters.
const TEXT_MAX: usize = 300;

/// Longest common name (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// How the settings that the advice mentions are called where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The address of the server.
    pub url: &'static str,
    /// The scheme with TLS, such as `https://`.
    pub secure: &'static str,
    /// The scheme without.
    pub plain: &'static str,
    /// The file with the authorities.
    pub ca_file: &'static str,
}

impl Terms {
    /// Of the gateway's configuration.
    pub const BACKEND: Self = Self {
        url: "backend.url",
        secure: "https://",
        plain: "http://",
        ca_file: "backend.tls_ca_file",
    };
}

/// Why there is no TLS connection. `Display` is the cause; [`TlsFault::advice`] is what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The certificate is its own issuer and not among those trusted.
    #[error("the server's certificate is self-signed and not trusted")]
    SelfSigned {
        /// The host that was connected to.
        host: String,
    },
    /// The server uses an authority's certificate as its own (webpki's `CaUsedAsEndEntity`).
    #[error(
        "the server's certificate is {}marked as a certificate authority (CA:TRUE), which a \
         server certificate must not be (CaUsedAsEndEntity)",
        if *is_self_signed { "self-signed and " } else { "" }
    )]
    AuthorityAsServer {
        /// The host that was connected to.
        host: String,
        /// Whether it is its own issuer, as `openssl req -x509` makes them.
        is_self_signed: bool,
    },
    /// None of the trusted authorities issued the certificate.
    #[error(
        "the server's certificate was issued by {}, which is not trusted",
        Issuer(issuer)
    )]
    UnknownAuthority {
        /// The issuer's name.
        issuer: Option<String>,
        /// Whether the server sent no intermediate certificate.
        is_alone: bool,
    },
    /// An authority of the same name is trusted, but another key signed the certificate.
    #[error("the certificate is not signed by the trusted authority of that name")]
    BadSignature,
    /// The certificate, or one above it, is too old.
    #[error("the certificate expired on {}{}", Utc(at), Ago(at, now))]
    Expired {
        /// The end of its validity, in seconds since 1970.
        at: Option<u64>,
        /// The time of this machine.
        now: Option<u64>,
    },
    /// The certificate, or one above it, begins in the future.
    #[error(
        "the certificate is not valid before {}; this machine's clock says {}",
        Utc(from),
        Utc(now)
    )]
    NotValidYet {
        /// The beginning of its validity, in seconds since 1970.
        from: Option<u64>,
        /// The time of this machine.
        now: Option<u64>,
    },
    /// The certificate is for other hosts.
    #[error("the server's certificate is not for {host}, but {}", Names(names))]
    WrongHost {
        /// The host that was connected to.
        host: String,
        /// The names that the certificate has.
        names: Vec<String>,
    },
    /// The port answers, but not with TLS.
    #[error("the port does not speak TLS: it answered with something else")]
    NotTls,
    /// The port uses TLS and the request did not.
    #[error("the port speaks TLS, and the request came without")]
    TlsOnly,
    /// The server ended the connection in the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    Closed,
    /// The server wants a certificate of the client.
    #[error("the server demands a client certificate, which the gateway does not have")]
    ClientCertificate,
    /// The server does not recognise the host name.
    #[error("the server does not serve this host name (unrecognized_name)")]
    UnrecognizedName,
    /// There is no common protocol version or cipher suite.
    #[error("client and server have no TLS version or cipher suite in common ({0})")]
    Incompatible(String),
    /// Something else; the text describes it.
    #[error("{0}")]
    Other(String),
}

impl TlsFault {
    /// The TLS fault in an error or below it, if there is one.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        cause::find_tls(error).map(Self::from)
    }

    /// Cause of a failed handshake.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        match cause::find_tls(error) {
            Some(error) => error.into(),
            None if cause::is_closed(error) => Self::Closed,
            None => Self::Other(line(error)),
        }
    }

    /// What to do about it, in one sentence without a full stop; empty if the cause is explanation
    /// enough.
    #[must_use]
    pub fn advice(&self, terms: Terms) -> String {
        let Terms {
            url,
            secure,
            plain,
            ca_file,
        } = terms;
        match self {
            Self::SelfSigned { .. } => format!(
                "if it is the right server, copy its certificate to this machine and set {ca_file} \
                 to the PEM file"
            ),
            Self::AuthorityAsServer { host, .. } => format!(
                "make one that works both for the server and as {ca_file}: `{}`",
                openssl(host)
            ),
            Self::UnknownAuthority { is_alone, .. } => {
                let chain = if *is_alone {
                    "; if it is a public authority, have the server send the intermediate \
                     certificates as well (fullchain.pem)"
                } else {
                    ""
                };
                format!(
                    "set {ca_file} to a PEM file with the certificate of that authority (the file \
                     that is set now, if any, has another one), or add it to the system's \
                     (update-ca-certificates, or SSL_CERT_FILE){chain}"
                )
            }
            Self::BadSignature => format!(
                "the authority was made anew with the same name: update {ca_file} or the system's \
                 authorities"
            ),
            Self::Expired { .. } => {
                "renew it, have the server load it, and check the clock of this machine".to_owned()
            }
            Self::NotValidYet { .. } => "check the clocks of this machine and of the one that \
                                         issued the certificate"
                .to_owned(),
            Self::WrongHost { host, .. } => format!(
                "use a name of the certificate in {url}, or issue one with {} among its \
                 subjectAltName",
                alternative_name(host)
            ),
            Self::NotTls => format!("use {plain} in {url}, or the port that serves {secure}"),
            Self::TlsOnly => format!("use {secure} in {url}, or the port that serves {plain}"),
            Self::Closed => format!(
                "a port without TLS does this ({plain} in {url}), and a server whose TLS is \
                 misconfigured: look at its log"
            ),
            Self::ClientCertificate => {
                "have the server not ask the gateway for one, or put a proxy between them that has \
                 one"
                .to_owned()
            }
            Self::UnrecognizedName => {
                format!("use a host name in {url} that the server has a certificate for")
            }
            Self::Incompatible(_) => {
                "have the server offer TLS 1.2 or 1.3 with ECDHE and AES-GCM or ChaCha20".to_owned()
            }
            Self::Other(_) => String::new(),
        }
    }
}

impl From<&Error> for TlsFault {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the errors of rustls are open-ended"
    )]
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::MessageTooShort,
            ) => Self::NotTls,
            Error::AlertReceived(
                AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
            ) => Self::ClientCertificate,
            Error::AlertReceived(AlertDescription::UnrecognisedName) => Self::UnrecognizedName,
            Error::AlertReceived(
                alert @ (AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity),
            ) => Self::Incompatible(format!("{alert:?}")),
            Error::PeerIncompatible(why) => incompatible(why),
            error => Self::Other(line(error)),
        }
    }
}

fn incompatible(why: &PeerIncompatible) -> TlsFault {
    TlsFault::Incompatible(line(format_args!("{why:?}")))
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of rustls are open-ended"
)]
fn certificate(error: &CertificateError) -> TlsFault {
    let seconds = |time: &UnixTime| Some(time.as_secs());
    match error {
        CertificateError::Other(OtherError(fault)) => match fault.downcast_ref::<TlsFault>() {
            Some(fault) => fault.clone(),
            None => TlsFault::Other(line(format_args!(
                "the certificate cannot be used: {fault}"
            ))),
        },
        CertificateError::UnknownIssuer => TlsFault::UnknownAuthority {
            issuer: None,
            is_alone: false,
        },
        CertificateError::BadSignature => TlsFault::BadSignature,
        CertificateError::Expired => TlsFault::Expired {
            at: None,
            now: None,
        },
        CertificateError::ExpiredContext { time, not_after } => TlsFault::Expired {
            at: seconds(not_after),
            now: seconds(time),
        },
        CertificateError::NotValidYet => TlsFault::NotValidYet {
            from: None,
            now: None,
        },
        CertificateError::NotValidYetContext { time, not_before } => TlsFault::NotValidYet {
            from: seconds(not_before),
            now: seconds(time),
        },
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => TlsFault::WrongHost {
            host: expected.to_str().into_owned(),
            names: presented.iter().map(|name| presented_name(name)).collect(),
        },
        error => TlsFault::Other(line(format_args!(
            "the certificate cannot be used: {error}"
        ))),
    }
}

/// A name as rustls presents it, `DnsName("a.test")` or `IpAddress(127.0.0.1)`, by itself.
fn presented_name(text: &str) -> String {
    let inner = text
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    line(inner.unwrap_or(text).trim_matches('"'))
}

/// The command that makes a certificate which can be both the server's and the one to trust.
fn openssl(host: &str) -> String {
    let common_name: String = host.chars().take(COMMON_NAME_MAX).collect();
    format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj /CN={common_name} -addext \
         subjectAltName={} -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem",
        alternative_name(host)
    )
}

/// A host as openssl writes it in `subjectAltName`.
fn alternative_name(host: &str) -> String {
    let kind = if host.parse::<IpAddr>().is_ok() {
        "IP"
    } else {
        "DNS"
    };
    format!("{kind}:{host}")
}

/// One line of bounded length, without control characters.
fn line(text: impl fmt::Display) -> String {
    text.to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_MAX)
        .collect()
}

struct Issuer<'a>(&'a Option<String>);

impl fmt::Display for Issuer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("an authority"),
        }
    }
}

/// A moment that may be unknown, as a date.
struct Utc<'a>(&'a Option<u64>);

impl fmt::Display for Utc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.and_then(|seconds| i64::try_from(seconds).ok());
        match seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            Some(time) => write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S UTC")),
            None => f.write_str("an unknown date"),
        }
    }
}

/// How long ago something was, in days.
struct Ago<'a>(&'a Option<u64>, &'a Option<u64>);

impl fmt::Display for Ago<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let Self(Some(at), Some(now)) = self else {
            return Ok(());
        };
        match now.saturating_sub(*at) / DAY {
            0 => f.write_str(", less than a day ago"),
            1 => f.write_str(", a day ago"),
            days => write!(f, ", {days} days ago"),
        }
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str(
                "names no host at all: it has no subjectAltName, and the common name does not count",
            ),
            names if names.len() > NAMES_MAX => {
                let more = names.len() - NAMES_MAX;
                write!(f, "for {} and {more} more", names[..NAMES_MAX].join(", "))
            }
            names => write!(f, "for {}", names.join(", ")),
        }
    }
}
