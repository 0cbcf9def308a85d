//! A client of the gateway: its credentials, its handshake, its first message.

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
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

use crate::cli::closed::Closed;

/// Time between two `ping`, well below the gateway's idle timeout.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);

/// Time for the handshake, the API's answer included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes that a connection reads at once: as many as most messages need, so that thousands of
/// connections fit into one process.
const READ_BYTES: usize = 4 << 10;

/// How the options are called in advice about TLS.
const TERMS: Terms = Terms {
    url: "--url",
    secure: "wss://",
    plain: "ws://",
    ca_file: "--ca",
};

/// Where to connect, and as whom.
#[derive(clap::Args)]
pub(super) struct VisitorArgs {
    /// The gateway's address for browsers
    #[arg(long, default_value = "ws://127.0.0.1:5000/ws/")]
    url: String,
    /// For wss: trust the certificate authorities of this PEM file and no others [default: those of
    /// the system, or SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sent as a subprotocol, so that it is in no URL and no log
    #[arg(long)]
    token: Option<String>,
    /// Sent as the header Cookie, such as sessionid=abc; may be repeated
    #[arg(long = "cookie", value_name = "NAME=VALUE")]
    cookies: Vec<String>,
    /// Another header; may be repeated
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header_of)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

// Not derived: token, cookies and headers are secrets.
impl std::fmt::Debug for VisitorArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VisitorArgs").finish_non_exhaustive()
    }
}

/// A websocket, as a client.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What connects any number of times: the handshake's request, and whom to trust.
#[derive(Clone)]
pub(super) struct Dial {
    request: Request,
    connector: Connector,
}

impl Dial {
    /// As the arguments say. Reads the certificate authorities, once for all connections.
    pub(super) fn new(args: &VisitorArgs) -> anyhow::Result<Self> {
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

    /// Where it connects to.
    pub(super) fn host(&self) -> &str {
        self.request.uri().host().unwrap_or_default()
    }
}

/// The handshake's request.
fn request(args: &VisitorArgs) -> anyhow::Result<Request> {
    let uri: Uri = args.url.parse().context("--url is no address")?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        bail!(
            "--url: expected an address such as ws://127.0.0.1:5000/ws/ or wss://example.com/ws/"
        );
    }
    let mut request = uri.into_client_request().context("--url is no address")?;
    let headers = request.headers_mut();
    if let Some(token) = &args.token {
        // A client is content only with an answer to its offer, which a token never is.
        let token = URL_SAFE_NO_PAD.encode(token);
        let offer = format!("{}, {TOKEN_PREFIX}{token}", Subprotocol::V1.name());
        let mut offer = HeaderValue::try_from(offer).expect("base64url is a header's value");
        offer.set_sensitive(true);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    }
    if !args.cookies.is_empty() {
        let cookie = HeaderValue::from_str(&args.cookies.join("; "))
            .map_err(|_| anyhow!("--cookie holds characters that no header can"))?;
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
        .map_err(|_| "this is not a header's name")?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| "the value holds characters that no header can")?;
    Ok((name, value))
}

/// Connects. Errors say what to do.
pub(super) async fn connect(dial: Dial) -> anyhow::Result<Socket> {
    let Dial { request, connector } = dial;
    let (host, path) = (
        request.uri().authority().cloned(),
        request.uri().path().to_owned(),
    );
    let host = host.map_or_else(String::new, |host| host.to_string());
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    let connected = tokio::time::timeout(TIMEOUT, connecting)
        .await
        .with_context(|| format!("{host} did not answer within {TIMEOUT:?}"))?;
    let error = match connected {
        Ok((socket, _)) => return Ok(socket),
        Err(error) => error,
    };
    if let tungstenite::Error::Http(response) = &error {
        let status = response.status().as_u16();
        let body = response.body().as_deref().unwrap_or_default();
        let said = String::from_utf8_lossy(&body[..body.len().min(500)])
            .trim()
            .to_owned();
        let help = match status {
            404 | 405 => format!(
                "; websockets are served at /ws/, or what websocket_path says; this is {path}"
            ),
            503 => "; it is full, starting or shutting down: retry later".to_owned(),
            _ => String::new(),
        };
        bail!("{host} answered with status {status} {said:?}{help}");
    }
    if let tungstenite::Error::Io(cause) = &error {
        if let Some(fault) = TlsFault::of(cause) {
            let advice = fault.advice(TERMS);
            let advice = if advice.is_empty() {
                advice
            } else {
                format!("; {advice}")
            };
            bail!("no TLS with {host}: {fault}{advice}");
        }
        bail!("no connection to {host}: {cause}");
    }
    Err(error).with_context(|| format!("no websocket with {host}"))
}

/// Waits for the first frame: whether the API admits this client, and to how many rooms.
pub(super) async fn admitted(socket: &mut Socket) -> anyhow::Result<usize> {
    let first = tokio::time::timeout(TIMEOUT, next(socket))
        .await
        .context("the gateway sent no first message: does the API answer?")?
        .map_err(not_admitted)?;
    let first: Value = serde_json::from_str(&first)
        .with_context(|| "this is no high-templar: its first message is not JSON")?;
    if first.get("is_authorized").and_then(Value::as_bool) == Some(true) {
        let rooms = first.get("allowed_rooms").and_then(Value::as_array);
        return Ok(rooms.map_or(0, Vec::len));
    }
    // `is_authorized: false` alone is no refusal: the close frame says why.
    match tokio::time::timeout(TIMEOUT, next(socket)).await {
        Ok(Err(why)) => Err(not_admitted(why)),
        Ok(Ok(_)) | Err(_) => bail!(
            "the gateway did not admit this client and did not say why: its log has the API's \
             answer"
        ),
    }
}

/// The same error; how the connection was closed becomes why the client was not admitted.
fn not_admitted(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Closed>() {
        Some(closed) => anyhow!(closed.before_admission()),
        None => error,
    }
}

/// The next text; an error says how the connection ended, a [`Closed`] if the gateway closed it.
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

/// Why a room may not be listened to, from the `message` and the `reason` of an error reply.
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
