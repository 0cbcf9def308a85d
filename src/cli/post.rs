//! HTTP POSTs to the internal listener.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{first_key, secret_file};

/// Time for the whole call: longer than a trigger may take through a broker.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The key that the internal listener may ask for.
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// API key (internal.api_key); of a list the first one
    #[arg(
        long,
        value_name = "KEY",
        env = "HT_INTERNAL__API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// File that contains the API key
    #[arg(long, value_name = "FILE", env = "HT_INTERNAL__API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
}

// Not derived: the key is a secret.
impl std::fmt::Debug for KeyArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyArgs").finish_non_exhaustive()
    }
}

impl KeyArgs {
    /// The key, if one was given, as text or as a file.
    pub(super) fn get(&self) -> anyhow::Result<Option<String>> {
        if let Some(key) = self.api_key.as_ref().filter(|key| !key.is_empty()) {
            return Ok(Some(first_key(key, false)));
        }
        let file = self.api_key_file.as_ref();
        file.filter(|path| !path.as_os_str().is_empty())
            .map(|path| secret_file::read(Path::new(""), path).map_err(anyhow::Error::msg))
            .map(|text| text.map(|text| first_key(&text, true)))
            .transpose()
    }
}

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
    let call = async {
        let mut door = Door::open(url, path, api_key).await?;
        door.post(body).await
    };
    tokio::time::timeout(TIMEOUT, call)
        .await
        .with_context(|| format!("{url} did not answer within {TIMEOUT:?}"))?
}

/// A connection for any number of posts, one after the other, to the same path.
pub(super) struct Door {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
    api_key: Option<String>,
}

impl Door {
    /// Connects; as [`post`] has it.
    pub(super) async fn open(url: &str, path: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        if let Some(socket) = url.strip_prefix("unix:") {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|cause| unreachable(url, &cause))?;
            return Self::over(stream, "localhost", path.to_owned(), api_key).await;
        }
        let uri: Uri = url
            .parse()
            .with_context(|| format!("{url:?} is no address"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!(
                "{url:?}: expected an address such as http://127.0.0.1:8002, or unix: and a path"
            );
        };
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|cause| unreachable(url, &cause))?;
        stream.set_nodelay(true)?;
        let path = below(uri.path(), path);
        Self::over(stream, authority.as_str(), path, api_key).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        path: String,
        api_key: Option<&str>,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error is that of the post that is under way.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: host.to_owned(),
            path,
            api_key: api_key.map(str::to_owned),
        })
    }

    /// Posts JSON.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> anyhow::Result<Answer> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.api_key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .context("this request cannot be sent: the key holds characters that no header can")?;
        let call = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|cause| anyhow!(cause))?.to_bytes();
            anyhow::Ok(Answer { status, body })
        };
        call.await
            .context("the gateway did not answer as it should")
    }
}

/// The path below that of the listener's address, which may already end in it.
fn below(base: &str, path: &str) -> String {
    let name = path.trim_matches('/');
    let mut parts: Vec<_> = base.split('/').filter(|part| !part.is_empty()).collect();
    while parts.last() == Some(&name) {
        parts.pop();
    }
    let base: String = parts.iter().map(|part| format!("/{part}")).collect();
    base + path
}

fn unreachable(url: &str, cause: &io::Error) -> anyhow::Error {
    anyhow!(
        "no connection to {url} ({cause}): is the gateway running, and is this its internal.listen?"
    )
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
            assert_eq!(below(base, "/trigger/"), expected, "{base}");
        }
    }
}
