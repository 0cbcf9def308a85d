//! Sends a trigger to the gateway as a real backend does: `POST /trigger/` on the internal
//! listener. One short connection each, which is the simplest thing that works.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Upper bound of one trigger: connect, request, whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Where triggers go.
#[derive(Clone, Debug)]
pub(crate) struct TriggerDoor {
    address: SocketAddr,
}

/// Why the gateway did not answer a trigger.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TriggerError {
    /// No connection, or it broke.
    #[error("the gateway cannot be reached: {0}")]
    Connection(#[from] std::io::Error),
    /// Not understandable HTTP.
    #[error("the gateway did not answer: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long or broke off.
    #[error("the gateway's answer could not be read")]
    Answer,
    /// Nothing within [`TIMEOUT`].
    #[error("the gateway did not answer in time")]
    Silent,
}

impl TriggerDoor {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The address a trigger is posted to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/trigger/", self.address)
    }

    /// Posts a body and gives back the answer's status and text.
    pub(crate) async fn send(&self, body: Bytes) -> Result<(u16, Bytes), TriggerError> {
        match tokio::time::timeout(TIMEOUT, self.exchange(body)).await {
            Ok(done) => done,
            Err(_) => Err(TriggerError::Silent),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<(u16, Bytes), TriggerError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/trigger/");
        let headers = request.headers_mut();
        let host = header::HeaderValue::try_from(self.address.to_string());
        headers.insert(header::HOST, host.map_err(|_| TriggerError::Answer)?);
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|_| TriggerError::Answer)?;
            Ok((status, body.to_bytes()))
        };
        // Driven together: nothing is spawned, and dropping this future ends the connection.
        tokio::pin!(answer);
        tokio::select! {
            done = &mut answer => done,
            ended = connection => {
                ended?;
                answer.await
            }
        }
    }
}
