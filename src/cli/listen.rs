//! `high-templar listen`: a client for the terminal.

use futures_util::SinkExt as _;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Message;

use crate::cli::client::{self, ClientArgs, Dial};
use crate::cli::{Done, Exit, print};

/// What to listen to, and the client.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A room as a JSON object, such as '{"target":"order","customer":"*"}'; can be repeated
    #[arg(long = "room", value_name = "JSON", required = true, value_parser = super::room)]
    rooms: Vec<Box<RawValue>>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: Args) -> Done {
    let dial = Dial::new(&args.client)?;
    super::block_on(async {
        tokio::select! {
            done = listen(dial, &args.rooms) => done,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Success),
        }
    })
}

async fn listen(dial: Dial, rooms: &[Box<RawValue>]) -> Done {
    let mut socket = client::connect(dial).await?;
    let allowed = client::admitted(&mut socket).await?;
    eprintln!("connected; allowed rooms: {allowed}");
    for (number, room) in rooms.iter().enumerate() {
        let message = client::subscribe(room.get(), number);
        socket.send(message).await?;
    }
    // Replies are sent in the order of the requests.
    let mut pending = rooms.iter();
    let mut pings = tokio::time::interval(client::PING_EVERY);
    pings.reset();
    loop {
        tokio::select! {
            _ = pings.tick() => socket.send(Message::text("ping")).await?,
            text = client::next(&mut socket) => handle(&text?, &mut pending)?,
        }
    }
}

/// Members of a message from the gateway; `data` keeps its bytes.
#[derive(Default)]
struct Received<'a> {
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
    reason: Option<String>,
    data: Option<&'a RawValue>,
}

fn received(text: &str) -> Option<Received<'_>> {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let word = |name: &str| serde_json::from_str(members.get(name)?.get()).ok();
    Some(Received {
        kind: word("type"),
        code: word("code"),
        message: word("message"),
        reason: word("reason"),
        data: members.get("data").copied(),
    })
}

fn handle<'a>(
    text: &str,
    mut pending: impl Iterator<Item = &'a Box<RawValue>>,
) -> anyhow::Result<()> {
    if text == "pong" {
        return Ok(());
    }
    let received = received(text).unwrap_or_default();
    if let (Some("publish"), Some(data)) = (received.kind.as_deref(), received.data) {
        // Line breaks in JSON are whitespace between its tokens, so blanks can replace them.
        return print(&data.get().replace(['\n', '\r'], " "));
    }
    if received.kind.is_some() {
        // Not a reply. Newer gateways may send types that are not known here.
        return Ok(());
    }
    let Some(code) = received.code else {
        eprintln!("unknown message: {text}");
        return Ok(());
    };
    let room = pending.next().map_or("a room", |room| room.get());
    if code == "success" {
        eprintln!("listening to {room}");
        return Ok(());
    }
    let (message, reason) = (received.message.as_deref(), received.reason.as_deref());
    Err(client::not_subscribed(room, message, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_without_a_type_are_replies() {
        let rooms = ["{}".to_owned(), "{\"a\":1}".to_owned()];
        let rooms = rooms.map(|room| RawValue::from_string(room).expect("a room"));
        let mut pending = rooms.iter();
        for message in [
            r#"{"type": "notice", "code": "success"}"#,
            r#"{"type": "notice", "code": "error", "message": "no"}"#,
            "pong",
            "{}",
            "not JSON",
        ] {
            handle(message, &mut pending).expect("no reply");
        }
        assert_eq!(pending.len(), 2);
        handle(r#"{"code": "success"}"#, &mut pending).expect("a reply");
        assert_eq!(pending.len(), 1);
        let refused = r#"{"code": "error", "message": "room-not-found"}"#;
        let refused = handle(refused, &mut pending)
            .expect_err("a refusal")
            .to_string();
        assert!(refused.contains(r#"{"a":1}"#), "{refused}");
    }
}
