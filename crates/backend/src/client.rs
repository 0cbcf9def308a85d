//! [`HttpBackend`]: the API over HTTP/1.1.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::answer::{Answer, Failure, RETRY_AFTER_MAX, Refusal, Waiting};
use crate::budget::{Budget, Held, Share};
use crate::config::{BackendConfig, HeaderRule, HookCall};
use crate::credentials::Credentials;
use crate::exchange::{Call, Deadline, Exchange};
use crate::forward::ForwardRules;
use crate::redirect::{REDIRECTS_MAX, Redirect};
use crate::setup::{BackendSetupError, RESERVED};
use crate::tls::TlsFault;
use crate::{Backend, Hook, body, parse, redirect, setup};

/// Longest body that is read only to keep its connection, in bytes.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// The name by which the gateway calls.
pub(crate) const USER_AGENT: &str = concat!("high-templar/", env!("CARGO_PKG_VERSION"));

/// Longest time for such a body.
const DISCARD_TIME_MAX: Duration = Duration::from_millis(250);

/// The team's HTTP API, reached over TCP, TLS or a unix socket.
///
/// Connections are kept alive between calls, a bounded number of them and for a bounded time.
/// The caller bounds how many calls are in flight: [`crate::Guard`] those of bootstrap. All must be
/// made within a tokio runtime with time and I/O, which also drives the connections.
pub struct HttpBackend {
    exchange: Exchange,
    bootstrap: Uri,
    timeout: Duration,
    answer_bytes_max: usize,
    /// What it has of the memory of answers that several APIs share.
    share: Option<Share>,
    user_id_path: Arc<[String]>,
    hooks: Hooks,
    /// The headers of the gateway's own calls: those with a fixed value.
    own: Credentials,
}

/// The hooks' requests; `None` where no hook is configured.
struct Hooks {
    connect: Option<(Method, Uri)>,
    ping: Option<(Method, Uri)>,
    disconnect: Option<(Method, Uri)>,
    timeout: Duration,
}

impl Hooks {
    fn get(&self, hook: Hook) -> Option<&(Method, Uri)> {
        match hook {
            Hook::Connect => self.connect.as_ref(),
            Hook::Ping => self.ping.as_ref(),
            Hook::Disconnect => self.disconnect.as_ref(),
        }
    }
}

impl fmt::Debug for HttpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBackend")
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

impl HttpBackend {
    /// Checks the settings and loads the certificate authorities; makes no connection yet.
    ///
    /// # Errors
    /// When the settings cannot work, or there are no authorities for a checked TLS connection.
    pub fn new(config: BackendConfig) -> Result<Self, BackendSetupError> {
        setup::check(&config)?;
        let base = setup::base(&config)?;
        let slowest = config.timeout.max(config.hooks.timeout);
        let connector = setup::connector(&config, &base, slowest)?;
        let hook = |call: &Option<HookCall>| match call {
            Some(call) => Ok(Some((
                call.method.clone(),
                setup::address(&config, &call.path)?,
            ))),
            None => Ok(None),
        };
        Ok(Self {
            exchange: Exchange::new(connector, config.guard.max_in_flight),
            bootstrap: setup::address(&config, &config.bootstrap)?,
            hooks: Hooks {
                connect: hook(&config.hooks.connect)?,
                ping: hook(&config.hooks.ping)?,
                disconnect: hook(&config.hooks.disconnect)?,
                timeout: config.hooks.timeout,
            },
            own: own_credentials(config.headers.to_vec()),
            timeout: config.timeout,
            answer_bytes_max: config.answer_bytes_max,
            share: None,
            user_id_path: config.user_id_path,
        })
    }

    /// The same, whose answers share their memory with those of other APIs.
    #[must_use]
    pub fn within(self, budget: &Arc<Budget>) -> Self {
        Self {
            share: Some(Share::of(Arc::clone(budget))),
            ..self
        }
    }

    /// Checks settings as [`HttpBackend::new`] does, but for the certificate authorities.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn check(config: &BackendConfig) -> Result<(), BackendSetupError> {
        setup::check(config)?;
        setup::base(config)?;
        setup::address(config, &config.bootstrap)?;
        let hooks = &config.hooks;
        let mut hooks = [&hooks.connect, &hooks.ping, &hooks.disconnect]
            .into_iter()
            .flatten();
        hooks.try_for_each(|call| setup::address(config, &call.path).map(drop))
    }

    async fn ask(&self, credentials: &Credentials) -> Result<Answer, Failure> {
        let deadline = Deadline::after(self.timeout);
        let headers = request_headers(credentials);
        let mut target = self.bootstrap.clone();
        let mut location = String::new();
        for _ in 0..=REDIRECTS_MAX {
            let call = Call {
                method: &Method::GET,
                target: &target,
                headers: &headers,
                repeatable: true,
            };
            let response = self.exchange.send(&call, deadline).await?;
            match redirect::redirect(&target, response.status(), response.headers()) {
                Redirect::None => {
                    let answer = self.judge(response, deadline).await;
                    return match answer {
                        Err(Failure::ContentType(content_type)) if !location.is_empty() => {
                            Ok(Answer::Refused(Refusal::LoginPage {
                                location,
                                content_type,
                            }))
                        }
                        answer => answer,
                    };
                }
                Redirect::Follow(next) => {
                    location = redirect::shown(response.headers());
                    discard(response, deadline).await;
                    target = next;
                }
                Redirect::Foreign(elsewhere) => {
                    let location = redirect::shown(response.headers());
                    discard(response, deadline).await;
                    return Ok(Answer::Refused(Refusal::Redirect {
                        location,
                        elsewhere,
                    }));
                }
            }
        }
        Ok(Answer::Refused(Refusal::RedirectLoop { location }))
    }

    /// Whether the calls use TLS.
    fn is_secure(&self) -> bool {
        self.bootstrap.scheme_str() == Some("https")
    }

    /// What a final response means.
    async fn judge(
        &self,
        response: Response<Incoming>,
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let status = response.status();
        if status != StatusCode::OK {
            let retry_after = retry_after(response.headers());
            if status == StatusCode::BAD_REQUEST && !self.is_secure() {
                if wants_tls(response, deadline).await {
                    return Err(Failure::Tls(TlsFault::TlsOnly));
                }
            } else {
                discard(response, deadline).await;
            }
            let status = status.as_u16();
            return match Failure::of_status(status, retry_after) {
                Some(failure) => Err(failure),
                None => Ok(Answer::Refused(Refusal::Status(status))),
            };
        }
        parse::check_content_type(response.headers())?;
        let (head, incoming) = response.into_parts();
        let mut held = Held::of(self.share.as_ref());
        let reading = body::read(incoming, &head.headers, self.answer_bytes_max, &mut held);
        let body: Bytes = deadline.bound(reading, Waiting::Body).await??;
        Ok(parse::answer(&body, &self.user_id_path))
    }

    async fn call_hook(&self, hook: Hook, credentials: &Credentials) -> Result<(), Failure> {
        let Some((method, target)) = self.hooks.get(hook) else {
            return Ok(());
        };
        let mut headers = request_headers(credentials);
        if !matches!(*method, Method::GET | Method::HEAD) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let call = Call {
            method,
            target,
            headers: &headers,
            repeatable: false,
        };
        let deadline = Deadline::after(self.hooks.timeout);
        let response = self.exchange.send(&call, deadline).await?;
        discard(response, deadline).await;
        Ok(())
    }
}

impl Backend for HttpBackend {
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match self.ask(credentials).await {
                Ok(answer) => answer,
                Err(failure) => Answer::Failed(failure),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        self.bootstrap(&self.own)
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), Failure>> {
        let deadline = Deadline::after(self.timeout);
        Box::pin(self.exchange.reach(&self.bootstrap, deadline))
    }

    fn has_hook(&self, hook: Hook) -> bool {
        self.hooks.get(hook).is_some()
    }

    fn hook<'a>(
        &'a self,
        hook: Hook,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.call_hook(hook, credentials))
    }
}

/// What the gateway sends in its own calls: headers with a fixed value, and its user agent.
fn own_credentials(headers: Vec<HeaderRule>) -> Credentials {
    let nobody = HeaderMap::new();
    // Fixed values were checked with the settings.
    let own = ForwardRules::new(headers).apply(&nobody, None);
    let mut own = own.unwrap_or_default();
    let name = HeaderValue::from_static(USER_AGENT);
    own.headers_mut().entry(header::USER_AGENT).or_insert(name);
    own
}

/// The headers of every call: what is forwarded, and what this client can read. `Host` is added
/// by the client from the address.
fn request_headers(credentials: &Credentials) -> HeaderMap {
    let mut headers = credentials.headers().clone();
    for name in RESERVED {
        headers.remove(name);
    }
    headers
        .entry(header::ACCEPT)
        .or_insert(HeaderValue::from_static("application/json"));
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("gzip, deflate"),
    );
    headers
}

/// The `Retry-After` of an answer (RFC 9110 section 10.2.3): seconds, or a date, which is measured
/// against the answer's own `Date`, so that no clock has to be right.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    let seconds = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits to be counted are too many seconds as well.
        value.parse().unwrap_or(u64::MAX)
    } else {
        let date = |text| httpdate::parse_http_date(text).ok();
        let (at, now) = (date(value)?, date(text(header::DATE)?)?);
        at.duration_since(now).ok()?.as_secs()
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX)).filter(|_| !value.is_empty())
}

/// Error texts, with status 400, for HTTP at a port for TLS: nginx, Go, Apache.
const TLS_WANTED: [&[u8]; 3] = [
    b"The plain HTTP request was sent to HTTPS port",
    b"Client sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
];

/// Reads a small body and checks whether it reports that this port is for TLS.
async fn wants_tls(response: Response<Incoming>, deadline: Deadline) -> bool {
    let body = Limited::new(response.into_body(), DISCARD_BYTES_MAX).collect();
    let reading = tokio::time::timeout(DISCARD_TIME_MAX, body);
    match deadline.bound(reading, Waiting::Body).await {
        Ok(Ok(Ok(body))) => {
            let body = body.to_bytes();
            let has = |words: &&[u8]| body.windows(words.len()).any(|part| part == *words);
            TLS_WANTED.iter().any(has)
        }
        // A body that does not arrive at once is not read, which closes the connection.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => false,
    }
}

/// Drains a small body so that its connection can be reused. A body that does not arrive at once is
/// not read, which closes the connection.
pub(crate) async fn discard(response: Response<Incoming>, deadline: Deadline) {
    let body = body::discard(response.into_body(), DISCARD_BYTES_MAX);
    let reading = tokio::time::timeout(DISCARD_TIME_MAX, body);
    // Whether it was read makes no difference to the call.
    let _ = deadline.bound(reading, Waiting::Body).await;
}
