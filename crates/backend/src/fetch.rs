//! A document of another server, over the same connections, TLS and bounds as the API.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::answer::{Failure, Waiting};
use crate::body;
use crate::budget::Held;
use crate::config::{BackendConfig, GuardConfig, HookCalls};
use crate::exchange::{Call, Deadline, Exchange};
use crate::setup::{self, BackendSetupError};

/// Where a document is, and how it is read.
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// The server's base address, `http://` or `https://`, ending in a slash.
    pub url: String,
    /// Timeout of one call, the whole response included.
    pub timeout: Duration,
    /// Longest response that is read, in bytes.
    pub bytes_max: usize,
    /// Check the server's certificate.
    pub tls_verify: bool,
    /// PEM file with the authorities to trust instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
}

/// Reads documents of one server.
pub struct Fetch {
    exchange: Exchange,
    url: String,
    timeout: Duration,
    bytes_max: usize,
}

/// A response of such a server.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status. Redirects are not followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body of a response with status 200, decoded; empty otherwise.
    pub body: Bytes,
}

impl Fetch {
    /// Loads the certificate authorities; makes no connection yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(config: FetchConfig) -> Result<Self, BackendSetupError> {
        let FetchConfig {
            url,
            timeout,
            bytes_max,
            tls_verify,
            tls_ca_file,
        } = config;
        let config = BackendConfig {
            url,
            socket: None,
            bootstrap: String::new(),
            timeout,
            user_id_path: Arc::default(),
            headers: Arc::default(),
            forward_bytes_max: 0,
            guard: GuardConfig::default(),
            answer_bytes_max: bytes_max,
            tls_verify,
            tls_ca_file,
            hooks: HookCalls::default(),
        };
        let base = setup::base(&config)?;
        let connector = setup::connector(&config, &base, timeout)?;
        Ok(Self {
            exchange: Exchange::new(connector, 1),
            url: config.url,
            timeout,
            bytes_max,
        })
    }

    /// Sends a GET for the base address with this query, which is percent-encoded.
    ///
    /// # Errors
    /// When there is no whole response in time.
    pub async fn get(&self, query: &str, headers: &HeaderMap) -> Result<Fetched, Failure> {
        if query.is_empty() {
            return self.get_at("", headers).await;
        }
        self.get_at(&format!("?{query}"), headers).await
    }

    /// Sends a GET for the base address with `rest` behind it: a path, a query or both, which are
    /// percent-encoded.
    ///
    /// # Errors
    /// When there is no whole response in time.
    pub async fn get_at(&self, rest: &str, headers: &HeaderMap) -> Result<Fetched, Failure> {
        let target = format!("{}{rest}", self.url).parse();
        let target: Uri = target.map_err(|_| Failure::Protocol("the address is invalid".into()))?;
        let deadline = Deadline::after(self.timeout);
        let call = Call {
            method: &Method::GET,
            target: &target,
            headers,
            repeatable: true,
        };
        let response = self.exchange.send(&call, deadline).await?;
        let (head, incoming) = response.into_parts();
        let mut held = Held::of(None);
        let body = if head.status == StatusCode::OK {
            let reading = body::read(incoming, &head.headers, self.bytes_max, &mut held);
            deadline.bound(reading, Waiting::Body).await??
        } else {
            Bytes::new()
        };
        Ok(Fetched {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}
