//! `high-templar listen`: a client for the terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::anyhow;
use anyhow::bail;
use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use http::HeaderName;
use http::HeaderValue;
use http::Uri;
use http::header;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::cli::Done;
use crate::cli::print;

/// Time between two `ping`, well below the gateway's idle timeout.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Time for the handshake, the API's answer included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where to listen, and as whom.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The gateway's address for browsers
    #[arg(long, default_value = "ws://127.0.0.1:5000/ws/")]
    url: String,
    /// A room as a JSON object, such as '{"target":"order","customer":"*"}'; may be repeated
    #[arg(long = "room", value_name = "JSON", required = true, value_parser = super::room)]
    rooms: Vec<Box<RawValue>>,
    /// Sent as the parameter `token`, as browsers do
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
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("rooms", &self.rooms)
            .finish_non_exhaustive()
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) fn run(args: Args) -> Done {
    let request = request(&args)?;
    super::block_on(async {
        tokio::select! {
            done = listen(request, &args.rooms) => done,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        }
    })
}

/// The handshake's request.
fn request(args: &Args) -> anyhow::Result<Request> {
    let mut url = args.url.clone();
    if let Some(token) = &args.token {
        let joint = if url.contains('?') { '&' } else { '?' };
        let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
        url = format!("{url}{joint}token={token}");
    }
    let uri: Uri = url.parse().context("--url is no address")?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        bail!(
            "--url: expected an address such as ws://127.0.0.1:5000/ws/ or wss://example.com/ws/"
        );
    }
    let mut request = uri.into_client_request().context("--url is no address")?;
    let headers = request.headers_mut();
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

async fn listen(request: Request, rooms: &[Box<RawValue>]) -> Done {
    let mut socket = connect(request).await?;
    admitted(&mut socket).await?;
    for (number, room) in rooms.iter().enumerate() {
        let message = format!(
            "{{\"type\":\"subscribe\",\"requestId\":{number},\"room\":{}}}",
            room.get()
        );
        socket.send(Message::text(message)).await?;
    }
    // Replies name no request; they come in the order of the requests.
    let mut asked = rooms.iter();
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.reset();
    loop {
        tokio::select! {
            _ = pings.tick() => socket.send(Message::text("ping")).await?,
            text = next(&mut socket) => handle(&text?, &mut asked)?,
        }
    }
}

async fn connect(request: Request) -> anyhow::Result<Socket> {
    let (host, path) = (
        request.uri().authority().cloned(),
        request.uri().path().to_owned(),
    );
    let host = host.map_or_else(String::new, |host| host.to_string());
    let connected = tokio::time::timeout(TIMEOUT, tokio_tungstenite::connect_async(request))
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
            404 | 405 => format!("; websockets are served at /ws/, this is {path}"),
            503 => "; it is full, starting or leaving: try again later".to_owned(),
            _ => String::new(),
        };
        bail!("{host} answered with status {status} {said:?}{help}");
    }
    if let tungstenite::Error::Io(cause) = &error {
        bail!("no connection to {host}: {cause}");
    }
    Err(error).with_context(|| format!("no websocket with {host}"))
}

/// Waits for the first frame: whether the API lets this visitor in.
async fn admitted(socket: &mut Socket) -> anyhow::Result<()> {
    let first = tokio::time::timeout(TIMEOUT, next(socket))
        .await
        .context("the gateway did not say whether the API lets us in")??;
    let first: Value = serde_json::from_str(&first)
        .with_context(|| "this is no high-templar: its first message is not JSON")?;
    if first.get("is_authorized").and_then(Value::as_bool) == Some(true) {
        let rooms = first.get("allowed_rooms").and_then(Value::as_array);
        eprintln!("connected; allowed rooms: {}", rooms.map_or(0, Vec::len));
        return Ok(());
    }
    // The close frame tells whether coming back could help.
    let ended = tokio::time::timeout(TIMEOUT, next(socket)).await;
    let why = match ended {
        Ok(Err(why)) => format!(" ({why})"),
        Ok(Ok(_)) | Err(_) => String::new(),
    };
    bail!(
        "the API does not let this visitor in{why}: are --token, --cookie and --header those of \
         a user? The gateway's log says what the API answered"
    );
}

/// The next text; an error tells how the connection ended.
async fn next(socket: &mut Socket) -> anyhow::Result<String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => bail!("{}", closed(frame.as_ref())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("the connection broke"),
            None => bail!("the gateway closed the connection"),
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> String {
    match frame {
        None => "the gateway closed the connection".to_owned(),
        Some(frame) if frame.reason.is_empty() => {
            format!(
                "the gateway closed the connection with code {}",
                u16::from(frame.code)
            )
        }
        Some(frame) => format!(
            "the gateway closed the connection with code {}: {}",
            u16::from(frame.code),
            frame.reason
        ),
    }
}

/// What a message from the gateway may hold; `data` stays as it came.
#[derive(Default)]
struct Received<'a> {
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
    data: Option<&'a RawValue>,
}

fn received(text: &str) -> Option<Received<'_>> {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let word = |name: &str| serde_json::from_str(members.get(name)?.get()).ok();
    Some(Received {
        kind: word("type"),
        code: word("code"),
        message: word("message"),
        data: members.get("data").copied(),
    })
}

fn handle<'a>(
    text: &str,
    mut asked: impl Iterator<Item = &'a Box<RawValue>>,
) -> anyhow::Result<()> {
    if text == "pong" {
        return Ok(());
    }
    let received = received(text).unwrap_or_default();
    if let (Some("publish"), Some(data)) = (received.kind.as_deref(), received.data) {
        // Line breaks in JSON stand between its parts only, where a blank does as well.
        return print(&data.get().replace(['\n', '\r'], " "));
    }
    let Some(code) = received.code else {
        eprintln!("not understood: {text}");
        return Ok(());
    };
    let room = asked.next().map_or("a room", |room| room.get());
    if code == "success" {
        eprintln!("listening to {room}");
        return Ok(());
    }
    match received.message.as_deref() {
        Some("room-not-found") => {
            bail!("the API does not grant {room} to this visitor (room-not-found)")
        }
        other => bail!(
            "no subscription to {room}: {}",
            other.unwrap_or("no reason given")
        ),
    }
}
