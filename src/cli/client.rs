//! A client of the gateway: credentials, handshake and first message.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use ht_backend::tls::{self, Terms, TlsFault, Trust};
use ht_proto::subprotocol::{Subprotocol, TOKEN_PREFIX};
use http::{HeaderName, HeaderValue, Uri, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, error::ProtocolError};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

use crate::cli::closed::Closed;

/// Time between two `ping`, well below the gateway's idle timeout.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);

/// Timeout of the handshake, including the bootstrap call.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Read buffer of a connection, in bytes: enough for most messages, so that thousands of connections
/// fit into one process.
const READ_BYTES: usize = 4 << 10;

/// Names of the options in advice about TLS.
const TERMS: Terms = Terms {
    url: "--url",
    secure: "wss://",
    plain: "ws://",
    ca_file: "--ca",
};

/// The gateway's address, and the client's credentials.
#[derive(clap::Args)]
pub(super) struct ClientArgs {
    /// URL of the gateway's public listener
    #[arg(long, default_value = "ws://127.0.0.1:5000/ws/")]
    url: String,
    /// For wss: trust only the certificate authorities of this PEM file [default: those of the
    /// system, or SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Token, sent as a subprotocol, which is in no URL and no log
    #[arg(long)]
    token: Option<String>,
    /// Cookie to send, such as sessionid=abc; can be repeated
    #[arg(long = "cookie", value_name = "NAME=VALUE")]
    cookies: Vec<String>,
    /// Another header to send; can be repeated
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header_of)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

// Not derived: token, cookies and headers are secrets.
impl std::fmt::Debug for ClientArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientArgs").finish_non_exhaustive()
    }
}

/// A client's WebSocket.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What any number of connections share: the handshake's request and the trusted authorities.
#[derive(Clone)]
pub(super) struct Dial {
    request: Request,
    connector: Connector,
}

impl Dial {
    /// From the arguments. Reads the certificate authorities, once for all connections.
    pub(super) fn new(args: &ClientArgs) -> anyhow::Result<Self> {
        let request = request(args)?;
        let connector = if request.uri().scheme_str() == Some("wss") {
            let client = tls::client(Trust::of_file(args.ca.as_deref()));
            Connector::Rustls(client.context(match args.ca {
                Some(_) => "--ca",
                None => "cannot connect to an address with wss://",
            })?)
        } else if args.ca.is_some() {
            bail!("--ca is for addresses that begin with wss://");
        } else {
            Connector::Plain
        };
        Ok(Self { request, connector })
    }

    /// The host that it connects to.
    pub(super) fn host(&self) -> &str {
        self.request.uri().host().unwrap_or_default()
    }

    /// The same without an offer of subprotocols. None if the offer contains a token, or is one of
    /// `--header`.
    fn without_offer(mut self) -> Option<Self> {
        let offer = self
            .request
            .headers_mut()
            .remove(header::SEC_WEBSOCKET_PROTOCOL)?;
        (offer == Subprotocol::V1.name()).then_some(self)
    }
}

/// The handshake's request. It offers our subprotocol: only if that is selected does the close code
/// distinguish a refusal by the API from a failure of the API.
fn request(args: &ClientArgs) -> anyhow::Result<Request> {
    let uri: Uri = args.url.parse().context("--url is no address")?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        bail!(
            "--url: expected an address such as ws://127.0.0.1:5000/ws/ or wss://example.com/ws/"
        );
    }
    let mut request = uri.into_client_request().context("--url is no address")?;
    let headers = request.headers_mut();
    let own = args.headers.iter();
    let mut own = own.filter(|(name, _)| name == header::SEC_WEBSOCKET_PROTOCOL);
    if let Some(token) = &args.token {
        let token = URL_SAFE_NO_PAD.encode(token);
        let offer = format!("{}, {TOKEN_PREFIX}{token}", Subprotocol::V1.name());
        let mut offer = HeaderValue::try_from(offer).expect("base64url is a header's value");
        offer.set_sensitive(true);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    } else if own.next().is_none() {
        let offer = HeaderValue::from_static(Subprotocol::V1.name());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    }
    if !args.cookies.is_empty() {
        let cookie = HeaderValue::from_str(&args.cookies.join("; "))
            .map_err(|_| anyhow!("--cookie contains characters that are invalid in a header"))?;
        headers.insert(header::COOKIE, cookie);
    }
    for (name, value) in &args.headers {
        headers.append(name, value.clone());
    }
    Ok(request)
}

fn header_of(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| "this is not a valid header name")?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| "the value contains characters that are invalid in a header")?;
    Ok((name, value))
}

/// Connects. Errors say what to do. A server that selects no subprotocol, such as Python high-templar
/// 3.1, is connected to once more without an offer.
pub(super) async fn connect(dial: Dial) -> anyhow::Result<Socket> {
    let uri = dial.request.uri().clone();
    let host = uri.authority().map_or("", |host| host.as_str());
    let error = match connect_once(dial.clone(), host).await? {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    let error = match (&error, dial.without_offer()) {
        (
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)),
            Some(dial),
        ) => match connect_once(dial, host).await? {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        },
        _ => error,
    };
    Err(explain(error, host, uri.path()))
}

async fn connect_once(dial: Dial, host: &str) -> anyhow::Result<tungstenite::Result<Socket>> {
    let Dial { request, connector } = dial;
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    let connected = tokio::time::timeout(TIMEOUT, connecting)
        .await
        .with_context(|| format!("{host} did not answer within {TIMEOUT:?}"))?;
    Ok(connected.map(|(socket, _)| socket))
}

/// Why a connection failed, and what to do.
fn explain(error: tungstenite::Error, host: &str, path: &str) -> anyhow::Error {
    if let tungstenite::Error::Http(response) = &error {
        let status = response.status().as_u16();
        let body = response.body().as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(500)])
            .trim()
            .to_owned();
        let help = match status {
            404 | 405 => format!(
                "; websockets are served at /ws/, or at the configured websocket_path; this is {path}"
            ),
            503 => "; it is full, starting or shutting down: retry later".to_owned(),
            _ => String::new(),
        };
        return anyhow!("{host} answered with status {status} {text:?}{help}");
    }
    if let tungstenite::Error::Io(cause) = &error {
        if let Some(fault) = TlsFault::of(cause) {
            let advice = fault.advice(TERMS);
            let advice = if advice.is_empty() {
                advice
            } else {
                format!("; {advice}")
            };
            return anyhow!("no TLS with {host}: {fault}{advice}");
        }
        return anyhow!("no connection to {host}: {cause}");
    }
    anyhow::Error::new(error).context(format!("no websocket with {host}"))
}

/// Waits for the first frame. Returns the number of allowed rooms if the API admits this client.
pub(super) async fn admitted(socket: &mut Socket) -> anyhow::Result<usize> {
    let first = tokio::time::timeout(TIMEOUT, next(socket))
        .await
        .context("the gateway sent no first message: does the API answer?")?
        .map_err(not_admitted)?;
    let first: Value = serde_json::from_str(&first)
        .with_context(|| "this is not a high-templar: its first message is not JSON")?;
    if first.get("is_authorized").and_then(Value::as_bool) == Some(true) {
        let rooms = first.get("allowed_rooms").and_then(Value::as_array);
        return Ok(rooms.map_or(0, Vec::len));
    }
    // `is_authorized: false` alone is no refusal: the close code has the reason.
    match tokio::time::timeout(TIMEOUT, next(socket)).await {
        Ok(Err(why)) => Err(not_admitted(why)),
        Ok(Ok(_)) | Err(_) => bail!(
            "the gateway did not admit this client and gave no reason: its log has the API's \
             response"
        ),
    }
}

/// Turns the way in which the connection was closed into the reason why the client was not admitted.
fn not_admitted(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Closed>() {
        Some(closed) => anyhow!(closed.before_admission()),
        None => error,
    }
}

/// Receives the next text. The error is a [`Closed`] if the gateway closed the connection.
pub(super) async fn next(socket: &mut Socket) -> anyhow::Result<String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => bail!(Closed::new(frame.as_ref())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("the connection broke"),
            None => bail!(Closed::new(None)),
        }
    }
}

/// The message that subscribes to a room.
pub(super) fn subscribe(room: &str, request_id: usize) -> Message {
    let message = format!(r#"{{"type":"subscribe","requestId":{request_id},"room":{room}}}"#);
    Message::text(message)
}

/// Why a subscribe failed, from the `message` and the `reason` of an error reply.
pub(super) fn not_subscribed(
    room: &str,
    message: Option<&str>,
    reason: Option<&str>,
) -> anyhow::Error {
    match message {
        Some("room-not-found") => {
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            anyhow!("the API does not grant {room} to this client (room-not-found){reason}")
        }
        other => anyhow!(
            "no subscription to {room}: {}",
            other.unwrap_or("no reason given")
        ),
    }
}
