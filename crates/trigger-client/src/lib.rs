//! HTTP requests to the internal listener of a gateway: the client of the commands `publish`, `bench`,
//! `demo` and `tenant list`.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::uri::InvalidUri;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Time limit of [`post`]: longer than a trigger may take through a broker.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest response body that is read, in bytes: a list of 100,000 tenants is shorter.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where triggers are posted, below the URL of the internal listener.
const PATH: &str = "/trigger/";

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// Why there is no [`Answer`]. The text says what to do, the source what was wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The caller's mistake.
    #[error("{url:?} is no address")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// The caller's mistake: the internal listener speaks plain HTTP.
    #[error("{0:?}: expected an address such as http://127.0.0.1:8002, or unix: and a path")]
    Scheme(String),
    /// The caller's mistake.
    #[error("this request cannot be sent: the key holds characters that no header can")]
    Key,
    /// Nobody listens there.
    #[error(
        "no connection to {url} ({cause}): is the gateway running, and is this its internal.listen?"
    )]
    Unreachable {
        /// As it was given.
        url: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the gateway did not answer as it should")]
    Http(#[from] hyper::Error),
    /// The body broke off, or is longer than is read.
    #[error("the gateway did not answer as it should")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing within the time limit.
    #[error("{url} did not answer within {TIMEOUT:?}")]
    Timeout {
        /// As it was given.
        url: String,
    },
}

/// Posts one trigger to the listener at `url`, which is `http://…` or `unix:` and a socket's path.
///
/// # Errors
/// When there is no answer within 30 seconds.
pub async fn post(url: &str, api_key: Option<&str>, body: Bytes) -> Result<Answer, PostError> {
    in_time(url, async {
        let mut client = Client::connect(url, api_key).await?;
        client.post(body).await
    })
    .await
}

/// Gets what the listener at `url` has at `path`, which begins with a slash; see [`post`].
///
/// # Errors
/// When there is no answer within 30 seconds.
pub async fn get(url: &str, api_key: Option<&str>, path: &str) -> Result<Answer, PostError> {
    in_time(url, async {
        let mut client = Client::connect(url, api_key).await?;
        client.get(path).await
    })
    .await
}

async fn in_time(
    url: &str,
    call: impl Future<Output = Result<Answer, PostError>>,
) -> Result<Answer, PostError> {
    let answer = tokio::time::timeout(TIMEOUT, call).await;
    answer.unwrap_or_else(|_| {
        Err(PostError::Timeout {
            url: url.to_owned(),
        })
    })
}

/// A connection for any number of triggers, one after the other.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
    api_key: Option<String>,
}

impl Client {
    /// Connects to the listener at `url`; see [`post`].
    ///
    /// # Errors
    /// When `url` is no address, or nobody listens there.
    pub async fn connect(url: &str, api_key: Option<&str>) -> Result<Self, PostError> {
        let unreachable = |cause| PostError::Unreachable {
            url: url.to_owned(),
            cause,
        };
        if let Some(socket) = url.strip_prefix("unix:") {
            let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
            return Self::over(stream, "localhost", PATH.to_owned(), api_key).await;
        }
        let uri = url.parse::<Uri>().map_err(|source| PostError::Url {
            url: url.to_owned(),
            source,
        })?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(PostError::Scheme(url.to_owned()));
        };
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(unreachable)?;
        let path = below(uri.path());
        Self::over(stream, authority.as_str(), path, api_key).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        path: String,
        api_key: Option<&str>,
    ) -> Result<Self, PostError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, and its error is that of the post that is under way.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: host.to_owned(),
            path,
            api_key: api_key.map(str::to_owned),
        })
    }

    /// Posts one trigger. Has no time limit of its own.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn post(&mut self, body: Bytes) -> Result<Answer, PostError> {
        let request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, body).await
    }

    /// Gets what is at a path beside that of triggers. Has no time limit of its own.
    async fn get(&mut self, path: &str) -> Result<Answer, PostError> {
        let base = self.path.strip_suffix(PATH).unwrap_or_default();
        let request = Request::get(format!("{base}{path}"));
        self.send(request, Bytes::new()).await
    }

    async fn send(&mut self, mut request: Builder, body: Bytes) -> Result<Answer, PostError> {
        request = request.header(header::HOST, &self.host);
        if let Some(key) = &self.api_key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|_| PostError::Key)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(PostError::Body)?.to_bytes();
        Ok(Answer { status, body })
    }
}

/// [`PATH`] below the path of the listener's address, which may already end in it.
fn below(base: &str) -> String {
    let name = PATH.trim_matches('/');
    let mut parts: Vec<_> = base.split('/').filter(|part| !part.is_empty()).collect();
    while parts.last() == Some(&name) {
        parts.pop();
    }
    let base: String = parts.iter().map(|part| format!("/{part}")).collect();
    base + PATH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_already_end_in_the_path() {
        for (base, expected) in [
            ("", "/trigger/"),
            ("/", "/trigger/"),
            ("//", "/trigger/"),
            ("/trigger", "/trigger/"),
            ("/trigger/", "/trigger/"),
            ("//trigger//trigger/", "/trigger/"),
            ("/gateway", "/gateway/trigger/"),
            ("/gateway//trigger/", "/gateway/trigger/"),
        ] {
            assert_eq!(below(base), expected, "{base}");
        }
    }

    #[tokio::test]
    async fn mistakes_in_the_address_are_named() {
        for (url, said) in [
            ("http://a b", "\"http://a b\" is no address"),
            ("https://127.0.0.1:1", "expected an address such as"),
            ("127.0.0.1:8002", "expected an address such as"),
            ("unix:/nowhere/at/all", "no connection to unix:/nowhere"),
        ] {
            let answer = post(url, None, Bytes::new()).await;
            let error = answer.unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}
