//! `high-templar publish`: one trigger over HTTP.

use std::io::Read as _;

use anyhow::{Context as _, anyhow};
use ht_trigger_client::{Answer, post};
use http::StatusCode;
use serde_json::value::RawValue;

use crate::cli::key::KeyArgs;
use crate::cli::{Done, Exit, print};

/// What to publish, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A room as a JSON object, such as '{"target":"order","customer":"7"}'; can be repeated
    #[arg(long = "room", value_name = "JSON", required = true, value_parser = super::room)]
    rooms: Vec<Box<RawValue>>,
    /// The data as JSON; - reads it from stdin
    #[arg(long, value_name = "JSON")]
    data: String,
    /// Deduplication id: a trigger with an id that was published before is not delivered again
    #[arg(long)]
    id: Option<String>,
    /// URL of the gateway's internal listener, or unix: followed by the path of its socket
    #[arg(long, default_value = "http://127.0.0.1:8002")]
    url: String,
    #[command(flatten)]
    key: KeyArgs,
}

pub(super) fn run(args: Args) -> Done {
    let body = body(&args)?;
    let key = args.key.get()?;
    super::block_on(async {
        let answer = post(&args.url, key.as_deref(), body.into()).await?;
        print(&published(&answer, key.is_some())?)?;
        Ok(Exit::Success)
    })
}

/// The trigger's JSON: rooms and data byte for byte as they were given.
fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let stdin;
    let data = if args.data == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the data from stdin")?;
        stdin = text;
        stdin.as_str()
    } else {
        args.data.as_str()
    };
    let data = super::json(data)
        .map_err(anyhow::Error::msg)
        .context("--data")?;
    let rooms: Vec<_> = args.rooms.iter().map(|room| room.get()).collect();
    let id = match &args.id {
        Some(id) => format!(",\"id\":{}", serde_json::to_string(id)?),
        None => String::new(),
    };
    let body = format!(
        "{{\"rooms\":[{}],\"data\":{}{id}}}",
        rooms.join(","),
        data.get()
    );
    Ok(body.into_bytes())
}

/// The line to print; the error says what to do about a refusal.
pub(super) fn published(answer: &Answer, with_key: bool) -> anyhow::Result<String> {
    match answer.status {
        StatusCode::OK => {
            let text = String::from_utf8_lossy(&answer.body);
            Ok(position(&text).unwrap_or_else(|| "published".to_owned()))
        }
        _ => Err(refusal(answer, with_key)),
    }
}

/// Why the gateway refused, and what to do about it.
pub(super) fn refusal(answer: &Answer, with_key: bool) -> anyhow::Error {
    let error = sentence(String::from_utf8_lossy(&answer.body).trim());
    match answer.status {
        StatusCode::UNAUTHORIZED if with_key => {
            anyhow!("the gateway does not accept this key: give the one of its internal.api_key")
        }
        StatusCode::UNAUTHORIZED => {
            anyhow!("the gateway requires a key: give --api-key, or set HT_INTERNAL__API_KEY")
        }
        StatusCode::NOT_FOUND => anyhow!(
            "there is no /trigger/ ({error}): use the address of internal.listen, without a path, \
             and not that of listen"
        ),
        status => anyhow!("the gateway refused: {error} (status {})", status.as_u16()),
    }
}

/// The sentence in an error of the gateway, or the whole body of another server.
fn sentence(answer: &str) -> String {
    let error: Option<String> = serde_json::from_str(answer)
        .ok()
        .and_then(|answer: serde_json::Value| Some(answer.get("error")?.as_str()?.to_owned()));
    error.unwrap_or_else(|| answer.to_owned())
}

fn position(answer: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    let position = answer.get("position")?.as_u64()?;
    let again = answer.get("duplicate").and_then(serde_json::Value::as_bool) == Some(true);
    Some(if again {
        format!("position {position}, known already: this id was published before")
    } else {
        format!("position {position}")
    })
}
