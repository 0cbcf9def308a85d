//! `high-templar listen`: a client for the terminal.

use std::process::ExitCode;

use futures_util::SinkExt as _;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Message;

use crate::cli::visitor::{self, Dial, VisitorArgs};
use crate::cli::{Done, print};

/// Where to listen, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A room as a JSON object, such as '{"target":"order","customer":"*"}'; may be repeated
    #[arg(long = "room", value_name = "JSON", required = true, value_parser = super::room)]
    rooms: Vec<Box<RawValue>>,
    #[command(flatten)]
    visitor: VisitorArgs,
}

pub(super) fn run(args: Args) -> Done {
    let dial = Dial::new(&args.visitor)?;
    super::block_on(async {
        tokio::select! {
            done = listen(dial, &args.rooms) => done,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn listen(dial: Dial, rooms: &[Box<RawValue>]) -> Done {
    let mut socket = visitor::connect(dial).await?;
    let allowed = visitor::admitted(&mut socket).await?;
    eprintln!("connected; allowed rooms: {allowed}");
    for (number, room) in rooms.iter().enumerate() {
        let message = visitor::subscribe(room.get(), number);
        socket.send(message).await?;
    }
    // Replies name no request; they come in the order of the requests.
    let mut asked = rooms.iter();
    let mut pings = tokio::time::interval(visitor::PING_EVERY);
    pings.reset();
    loop {
        tokio::select! {
            _ = pings.tick() => socket.send(Message::text("ping")).await?,
            text = visitor::next(&mut socket) => handle(&text?, &mut asked)?,
        }
    }
}

/// What a message from the gateway may hold; `data` stays as it came.
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
    if received.kind.is_some() {
        // Sent without a request. Newer gateways may have types that are not known here.
        return Ok(());
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
    let (message, reason) = (received.message.as_deref(), received.reason.as_deref());
    Err(visitor::not_subscribed(room, message, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_without_a_type_are_replies() {
        let rooms = ["{}".to_owned(), "{\"a\":1}".to_owned()];
        let rooms = rooms.map(|room| RawValue::from_string(room).expect("a room"));
        let mut asked = rooms.iter();
        for message in [
            r#"{"type": "notice", "code": "success"}"#,
            r#"{"type": "notice", "code": "error", "message": "no"}"#,
            "pong",
            "{}",
            "not JSON",
        ] {
            handle(message, &mut asked).expect("no reply");
        }
        assert_eq!(asked.len(), 2);
        handle(r#"{"code": "success"}"#, &mut asked).expect("a reply");
        assert_eq!(asked.len(), 1);
        let refused = r#"{"code": "error", "message": "room-not-found"}"#;
        let refused = handle(refused, &mut asked)
            .expect_err("a refusal")
            .to_string();
        assert!(refused.contains(r#"{"a":1}"#), "{refused}");
    }
}
