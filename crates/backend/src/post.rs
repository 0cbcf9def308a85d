//! [`Poster`]: requests with a body to a service of the operator, with the backend client's
//! connections, timeouts and error sentences.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::answer::{Failure, Waiting};
use crate::client::{discard, retry_after};
use crate::connect::Connector;
use crate::exchange::{Deadline, served};
use crate::setup::{Fault, NO_NAME};
use crate::tls::TlsSetupError;
use crate::{fault, setup};

/// How a service is reached.
#[derive(Clone, Debug)]
pub struct PostConfig {
    /// Its whole address, `http://` or `https://`.
    pub url: String,
    /// Sent as `Authorization: Bearer`. `Debug` must not show it, so it is a header already.
    pub authorization: Option<HeaderValue>,
    /// Timeout of one request from connecting to the head of the response.
    pub timeout: Duration,
    /// PEM file with the authorities to trust instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
}

/// Why nothing can be posted with these settings; reads on from the name of the setting with the
/// address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostSetupError {
    /// The address is unfit.
    #[error("{0}")]
    Url(&'static str),
    /// TLS cannot be set up.
    #[error("cannot be reached with TLS: {0}")]
    Tls(TlsSetupError),
}

impl PostConfig {
    /// The header for a key; `None` if the key has characters that no header can have.
    #[must_use]
    pub fn authorization(key: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Sends JSON to one address. Every request has a connection of its own.
#[derive(Debug)]
pub struct Poster {
    client: Client<Connector, Full<Bytes>>,
    target: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Poster {
    /// Checks the address and loads the certificate authorities; makes no connection yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(config: PostConfig) -> Result<Self, PostSetupError> {
        let target: Uri = config
            .url
            .parse()
            .map_err(|_| PostSetupError::Url("is not an address"))?;
        let timeout = config.timeout;
        let connector = match target.scheme_str() {
            Some("https") => {
                let ca_file = config.tls_ca_file.as_deref();
                setup::secure(&target, ca_file, timeout).map_err(|fault| match fault {
                    Fault::Host => PostSetupError::Url(NO_NAME),
                    Fault::Tls(error) => PostSetupError::Tls(error),
                })?
            }
            Some("http") => Connector::tcp(timeout),
            _ => {
                let sentence = "must start with http:// or https://";
                return Err(PostSetupError::Url(sentence));
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self {
            client,
            target,
            authorization: config.authorization,
            timeout,
        })
    }

    /// Posts JSON. Redirects are not followed.
    ///
    /// # Errors
    /// When there is no response within the timeout, or its status is not 2xx.
    pub async fn post(&self, json: Bytes) -> Result<(), PostFailure> {
        self.send(json).await.map_err(PostFailure)
    }

    async fn send(&self, json: Bytes) -> Result<(), Failure> {
        let deadline = Deadline::after(self.timeout);
        let mut request = Request::post(self.target.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, crate::client::USER_AGENT)
            .body(Full::new(json))
            .map_err(|error| Failure::Connect(error.to_string()))?;
        if let Some(value) = &self.authorization {
            let value = value.clone();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let captured = capture_connection(&mut request);
        let sending = self.client.request(request);
        let response = deadline.bound(sending, Waiting::Head).await?;
        let response = response.map_err(|error| fault::in_head(&error, &served(&captured)))?;
        let (status, again) = (response.status(), retry_after(response.headers()));
        discard(response, deadline).await;
        match status.is_success() {
            true => Ok(()),
            false => Err(not_taken(status, again)),
        }
    }
}

/// Why a request was not accepted.
#[derive(Debug)]
pub struct PostFailure(Failure);

impl PostFailure {
    /// The `Retry-After` of the response.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    /// Whether the receiver refuses what the request contains, which will not change.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.0,
            Failure::Status {
                status: 400 | 409 | 413 | 415 | 422,
                ..
            }
        )
    }
}

impl fmt::Display for PostFailure {
    /// The sentence of the failure, which is about a receiver here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().replace("the backend", "the receiver"))
    }
}

fn not_taken(status: StatusCode, retry_after: Option<Duration>) -> Failure {
    Failure::Status {
        status: status.as_u16(),
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> PostConfig {
        PostConfig {
            url: url.to_owned(),
            authorization: PostConfig::authorization("s3cret"),
            timeout: Duration::from_secs(1),
            tls_ca_file: None,
        }
    }

    #[test]
    fn an_address_is_checked_and_the_key_is_never_shown() {
        for url in ["", "bills", "ftp://bills.example/", "/usage"] {
            assert!(Poster::new(config(url)).is_err(), "{url:?}");
        }
        let poster = Poster::new(config("http://bills.example/usage?from=ht")).unwrap();
        let shown = format!("{poster:?} {:?}", config("http://bills.example/"));
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(PostConfig::authorization("a\nb").is_none());
    }

    #[test]
    fn a_failure_is_told_of_the_receiver() {
        let failure = PostFailure(not_taken(StatusCode::FORBIDDEN, None));
        assert_eq!(failure.to_string(), "the receiver answered with status 403");
        let failure = PostFailure(Failure::Closed);
        assert!(!failure.to_string().contains("backend"), "{failure}");
    }
}
