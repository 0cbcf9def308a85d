//! Checking a configuration and making the addresses and the connector of it.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri, header};
use rustls::pki_types::ServerName;

use crate::config::{BackendConfig, HeaderRule, HeaderSource};
use crate::connect::Connector;
use crate::tls::{self, TlsSetupError, Trust};

/// Why a backend cannot be set up: the configuration's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendSetupError {
    /// The base address is unfit.
    #[error("backend.url {0}")]
    Url(&'static str),
    /// A path does not make an address when it is put behind the base address.
    #[error("the path {path:?} cannot be called: it must be relative, without spaces or fragment")]
    Path {
        /// The path as configured.
        path: String,
    },
    /// A unix socket carries no TLS.
    #[error("backend.socket needs a backend.url that starts with http://")]
    SocketWithTls,
    /// A header that cannot be forwarded.
    #[error("the header {header} cannot be forwarded: {reason}")]
    Header {
        /// Its name at the API.
        header: HeaderName,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A bound or a time is zero.
    #[error("{0} must be more than zero")]
    Zero(&'static str),
    /// TLS cannot be set up.
    #[error("{setting}{0}", setting = setting_of(.0))]
    Tls(TlsSetupError),
}

/// The setting that an error is about, as the beginning of its sentence.
fn setting_of(error: &TlsSetupError) -> &'static str {
    match error {
        TlsSetupError::CaFile { .. } => "backend.tls_ca_file: ",
        TlsSetupError::Variables { .. } | TlsSetupError::NoAuthorities | TlsSetupError::Tls(_) => {
            ""
        }
    }
}

/// Headers that belong to the connection or to the message's framing. A forwarded value there
/// could smuggle a second request or break the answer's reading.
pub(crate) const RESERVED: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHORIZATION,
];

/// Checks everything but the addresses.
pub(crate) fn check(config: &BackendConfig) -> Result<(), BackendSetupError> {
    let zero = |name, zero: bool| zero.then_some(BackendSetupError::Zero(name));
    let hooks = &config.hooks;
    let has_hooks = [&hooks.connect, &hooks.ping, &hooks.disconnect]
        .iter()
        .any(|call| call.is_some());
    let zeros = [
        zero("backend.timeout", config.timeout == Duration::ZERO),
        zero("backend.max_in_flight", config.guard.max_in_flight == 0),
        zero("backend.answer_bytes_max", config.answer_bytes_max == 0),
        zero(
            "the hooks' timeout",
            has_hooks && hooks.timeout == Duration::ZERO,
        ),
    ];
    if let Some(error) = zeros.into_iter().flatten().next() {
        return Err(error);
    }
    config.headers.iter().try_for_each(check_header)
}

fn check_header(rule: &HeaderRule) -> Result<(), BackendSetupError> {
    let fail = |reason| {
        Err(BackendSetupError::Header {
            header: rule.name.clone(),
            reason,
        })
    };
    let fixed = match &rule.source {
        HeaderSource::Fixed(value) => Some(value),
        HeaderSource::Header(_) | HeaderSource::Param(_) | HeaderSource::Cookie(_) => None,
    };
    if RESERVED.contains(&rule.name) {
        return fail("it belongs to the connection with the backend");
    }
    if rule.name == header::HOST && fixed.is_none() {
        return fail("clients must not choose it; only a fixed value can");
    }
    if fixed.is_some_and(|value| HeaderValue::from_str(value).is_err()) {
        return fail("its value holds a control character");
    }
    match &rule.format {
        Some(format) if format.matches("{}").count() != 1 => {
            fail("its format must have exactly one {}")
        }
        Some(format) if HeaderValue::from_str(format).is_err() => {
            fail("its format holds a control character")
        }
        Some(_) | None => Ok(()),
    }
}

/// The base address, checked.
pub(crate) fn base(config: &BackendConfig) -> Result<Uri, BackendSetupError> {
    let url = config.url.as_str();
    let uri: Uri = url
        .parse()
        .map_err(|_| BackendSetupError::Url("is not an address"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(BackendSetupError::Url(
            "must start with http:// or https://",
        ));
    }
    if uri.authority().is_none_or(|a| a.as_str().contains('@')) {
        return Err(BackendSetupError::Url(
            "must not hold a user or password; set a header for that",
        ));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(BackendSetupError::Url("has no host"));
    }
    if uri.query().is_some() || url.contains('#') || !url.ends_with('/') {
        return Err(BackendSetupError::Url("must end in a slash"));
    }
    Ok(uri)
}

/// The address of a path, which is put behind the base address as it is.
pub(crate) fn address(config: &BackendConfig, path: &str) -> Result<Uri, BackendSetupError> {
    let failed = || BackendSetupError::Path {
        path: path.to_owned(),
    };
    if path.contains(['#', '\\']) || path.split('/').any(|segment| segment == "..") {
        return Err(failed());
    }
    format!("{}{path}", config.url)
        .parse()
        .map_err(|_| failed())
}

/// The way to the backend; `timeout` is the longest that one connection may take.
pub(crate) fn connector(
    config: &BackendConfig,
    base: &Uri,
    timeout: Duration,
) -> Result<Connector, BackendSetupError> {
    let secure = base.scheme_str() == Some("https");
    match &config.socket {
        Some(_) if secure => Err(BackendSetupError::SocketWithTls),
        Some(path) => Ok(Connector::unix(timeout, path)),
        None if secure => {
            let trust = if config.tls_verify {
                Trust::of_file(config.tls_ca_file.as_deref())
            } else {
                tracing::warn!(
                    "the backend's certificate is not checked: backend.tls_verify is false"
                );
                Trust::Anyone
            };
            trusting(base, trust, timeout).map_err(|fault| match fault {
                Fault::Host => BackendSetupError::Url(NO_NAME),
                Fault::Tls(error) => BackendSetupError::Tls(error),
            })
        }
        None => Ok(Connector::tcp(timeout)),
    }
}

/// The way to a server whose certificate is checked.
pub(crate) fn secure(
    address: &Uri,
    ca_file: Option<&Path>,
    timeout: Duration,
) -> Result<Connector, Fault> {
    trusting(address, Trust::of_file(ca_file), timeout)
}

/// Why there is no way to a server over TLS.
pub(crate) enum Fault {
    /// No certificate can name its host.
    Host,
    /// TLS cannot be set up.
    Tls(TlsSetupError),
}

/// What is wrong with such an address.
pub(crate) const NO_NAME: &str = "has a host that no certificate can name";

fn trusting(address: &Uri, trust: Trust<'_>, timeout: Duration) -> Result<Connector, Fault> {
    let host = address.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Fault::Host)?;
    let client = tls::client(trust).map_err(Fault::Tls)?;
    Ok(Connector::tls(timeout, client.into(), name))
}
