//! `high-templar disconnect`: one command `disconnect` over HTTP.

use std::process::ExitCode;

use clap::ValueEnum;
use ht_trigger_client::{Answer, post};
use http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cli::key::KeyArgs;
use crate::cli::publish::refusal;
use crate::cli::{Done, print};

/// Whom to disconnect, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    whom: Whom,
    /// What clients do then: reconnect at once or later, once the user has signed in again, or never
    #[arg(long, value_enum, default_value_t = ComeBack::SignIn, value_name = "WHEN")]
    come_back: ComeBack,
    /// The reason in the close frame: a word of a to z and hyphens
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Only count the connections
    #[arg(long)]
    dry_run: bool,
    /// Deduplication id: a command with an id that was carried out before does nothing
    #[arg(long)]
    id: Option<String>,
    /// URL of the gateway's internal listener, or unix: followed by the path of its socket
    #[arg(long, default_value = "http://127.0.0.1:8002")]
    url: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// The connections for which every option that is given holds.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Whom {
    /// Connections of the user with this id
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Connections of this sign-in: session of the bootstrap response
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// The connection with this id
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Connections with this label; can be repeated, any of them is meant then
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Connections that may subscribe to this room, a JSON object that may have "*"
    #[arg(long, value_name = "JSON", value_parser = super::room)]
    room: Option<Box<RawValue>>,
    /// All connections
    #[arg(long, conflicts_with_all = ["user", "session", "connection", "labels", "room"])]
    everyone: bool,
}

/// What a client does that was disconnected.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ComeBack {
    Soon,
    Later,
    SignIn,
    Never,
}

pub(super) fn run(args: Args) -> Done {
    let body = body(&args)?;
    let key = args.key.get()?;
    super::block_on(async {
        let answer = post(&args.url, key.as_deref(), body.into()).await?;
        print(&disconnected(&answer, key.is_some(), args.dry_run)?)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The command's JSON.
fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let whom = &args.whom;
    let come_back = args.come_back.to_possible_value();
    let mut members = Map::from_iter([("command".to_owned(), Value::from("disconnect"))]);
    let texts = [
        ("user", whom.user.as_deref()),
        ("session", whom.session.as_deref()),
        ("connection", whom.connection.as_deref()),
        ("come_back", come_back.as_ref().map(|word| word.get_name())),
        ("reason", args.reason.as_deref()),
        ("id", args.id.as_deref()),
    ];
    for (name, text) in texts {
        members.extend(text.map(|text| (name.to_owned(), text.into())));
    }
    if !whom.labels.is_empty() {
        members.insert("label".to_owned(), whom.labels.clone().into());
    }
    for (name, is_given) in [("everyone", whom.everyone), ("dry_run", args.dry_run)] {
        members.extend(is_given.then(|| (name.to_owned(), true.into())));
    }
    let mut body = serde_json::to_string(&members)?;
    if let Some(room) = &whom.room {
        // Byte for byte as it was given: numbers too large for this program are kept.
        body.truncate(body.len() - 1);
        body = format!("{body},\"room\":{}}}", room.get());
    }
    Ok(body.into_bytes())
}

/// The line to print; the error says what to do about a refusal.
fn disconnected(answer: &Answer, with_key: bool, dry_run: bool) -> anyhow::Result<String> {
    if !matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(refusal(answer, with_key));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if said.get("duplicate").and_then(Value::as_bool) == Some(true) {
        return Ok("known already: a command with this id was carried out before".to_owned());
    }
    let Some(matched) = said.get("matched").and_then(Value::as_u64) else {
        return Ok("the gateway has the command, and is still carrying it out".to_owned());
    };
    let connections = match matched {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    };
    Ok(if dry_run {
        format!("would disconnect {connections} of this node")
    } else {
        format!("disconnected {connections} of this node")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        let words = ["disconnect"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn options_become_members() {
        for (line, expected) in [
            (
                "--user 7",
                r#"{"come_back":"sign-in","command":"disconnect","user":"7"}"#,
            ),
            (
                "--session s --label a --label b --come-back soon --reason moved --id x",
                r#"{"come_back":"soon","command":"disconnect","id":"x","label":["a","b"],"reason":"moved","session":"s"}"#,
            ),
            (
                r#"--connection c --room {"n":1e400} --come-back later"#,
                r#"{"come_back":"later","command":"disconnect","connection":"c","room":{"n":1e400}}"#,
            ),
            (
                "--everyone --dry-run --come-back never",
                r#"{"come_back":"never","command":"disconnect","dry_run":true,"everyone":true}"#,
            ),
        ] {
            let body = body(&parsed(line).unwrap()).unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn without_a_selector_no_client_is_selected() {
        for line in [
            "",
            "--come-back soon",
            "--everyone --user 7",
            "--everyone --label a",
            "--user 7 --come-back now",
            "--room 7",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn responses_are_reported() {
        for (status, body, dry_run, line) in [
            (
                200,
                r#"{"position":1,"matched":1}"#,
                false,
                "disconnected 1 connection of this node",
            ),
            (
                200,
                r#"{"position":1,"matched":2}"#,
                true,
                "would disconnect 2 connections of this node",
            ),
            (
                200,
                r#"{"position":1,"duplicate":true}"#,
                false,
                "known already: a command with this id was carried out before",
            ),
            (
                202,
                r#"{"position":1}"#,
                false,
                "the gateway has the command, and is still carrying it out",
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer {
                status,
                body: body.into(),
            };
            assert_eq!(disconnected(&answer, false, dry_run).unwrap(), line);
        }
    }
}
