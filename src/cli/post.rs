//! One HTTP POST to the internal listener.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::anyhow;
use anyhow::bail;
use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

/// Time for the whole call: longer than a trigger may take through a broker.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer's status and body.
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The body.
    pub(super) body: Bytes,
}

/// Posts JSON to `path` below `url`, which is `http://…` or `unix:` and a socket's path.
pub(super) async fn post(
    url: &str,
    path: &str,
    api_key: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    tokio::time::timeout(TIMEOUT, call(url, path, api_key, body))
        .await
        .with_context(|| format!("{url} did not answer within {TIMEOUT:?}"))?
}

async fn call(
    url: &str,
    path: &str,
    api_key: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    if let Some(socket) = url.strip_prefix("unix:") {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|cause| unreachable(url, &cause))?;
        return exchange(stream, "localhost", path.to_owned(), api_key, body).await;
    }
    let uri: Uri = url
        .parse()
        .with_context(|| format!("{url:?} is no address"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        bail!("{url:?}: expected an address such as http://127.0.0.1:8002, or unix: and a path");
    };
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|cause| unreachable(url, &cause))?;
    let path = format!("{}{path}", uri.path().trim_end_matches('/'));
    exchange(stream, authority.as_str(), path, api_key, body).await
}

fn unreachable(url: &str, cause: &io::Error) -> anyhow::Error {
    anyhow!(
        "no connection to {url} ({cause}): is the gateway running, and is this its internal.listen?"
    )
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: String,
    api_key: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = api_key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .context("this request cannot be sent: the key holds characters that no header can")?;
    let call = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|cause| anyhow!(cause))?.to_bytes();
        anyhow::Ok(Answer { status, body })
    };
    // The connection only moves while it is polled; the answer ends the wait.
    let mut connection = std::pin::pin!(connection);
    let mut call = std::pin::pin!(call);
    tokio::select! {
        answer = &mut call => answer,
        ended = &mut connection => {
            ended?;
            call.await
        }
    }
    .context("the gateway did not answer as it should")
}
