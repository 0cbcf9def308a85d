//! What the subcommands that send a command have in common: whom it selects, and the response.

use clap::ValueEnum;
use ht_trigger_client::{Answer, post};
use http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cli::key::KeyArgs;
use crate::cli::publish::refusal;
use crate::cli::{Done, Exit, print};

/// The options of every command.
#[derive(Debug, clap::Args)]
pub(super) struct CommandArgs {
    #[command(flatten)]
    whom: Whom,
    /// Only count the connections
    #[arg(long)]
    dry_run: bool,
    /// Wait until every node has carried it out, and fail if one does not confirm that in time
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with = "dry_run")]
    confirm: Option<Confirm>,
    /// Deduplication id: a command with an id that was carried out before does nothing
    #[arg(long)]
    id: Option<String>,
    /// URL of the gateway's internal listener, or unix: followed by the path of its socket
    #[arg(long, default_value = "http://127.0.0.1:8002")]
    url: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Where a command is carried out before the response.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Confirm {
    Everywhere,
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

/// How a command is named in what is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    /// It was carried out.
    pub(super) done: &'static str,
    /// It was a dry run.
    pub(super) would: &'static str,
}

/// Those members that have a value.
pub(super) fn members<const N: usize>(
    all: [(&'static str, Option<Value>); N],
) -> Map<String, Value> {
    let given = all.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// The JSON of a command, with members of its own.
pub(super) fn body(
    name: &'static str,
    args: &CommandArgs,
    own: Map<String, Value>,
) -> anyhow::Result<Vec<u8>> {
    let whom = &args.whom;
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let labels = (!whom.labels.is_empty()).then(|| whom.labels.clone().into());
    let mut all = members([
        ("command", Some(name.into())),
        ("user", text(&whom.user)),
        ("session", text(&whom.session)),
        ("connection", text(&whom.connection)),
        ("label", labels),
        ("everyone", whom.everyone.then_some(true.into())),
        ("dry_run", args.dry_run.then_some(true.into())),
        (
            "confirm",
            args.confirm.map(|Confirm::Everywhere| "everywhere".into()),
        ),
        ("id", text(&args.id)),
    ]);
    all.extend(own);
    let mut body = serde_json::to_string(&all)?;
    if let Some(room) = &whom.room {
        // Byte for byte as it was given: numbers too large for this program are kept.
        body.truncate(body.len() - 1);
        body = format!("{body},\"room\":{}}}", room.get());
    }
    Ok(body.into_bytes())
}

/// Sends a command, and prints what became of it.
pub(super) fn send(args: &CommandArgs, body: &[u8], verb: Verb) -> Done {
    let key = args.key.get()?;
    super::block_on(async {
        let answer = post(&args.url, key.as_deref(), body.to_vec().into()).await?;
        let (line, is_done) = outcome(&answer, key.is_some(), args.dry_run, verb)?;
        print(&line)?;
        Ok(if is_done {
            Exit::Success
        } else {
            Exit::Failure
        })
    })
}

/// The line to print, and whether every node has confirmed the command that was to; the error says
/// what to do about a refusal.
fn outcome(
    answer: &Answer,
    with_key: bool,
    dry_run: bool,
    verb: Verb,
) -> anyhow::Result<(String, bool)> {
    if !matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(refusal(answer, with_key));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(nodes) = said.get("nodes").and_then(Value::as_object) {
        return Ok(confirmed(nodes, &said, verb));
    }
    if said.get("duplicate").and_then(Value::as_bool) == Some(true) {
        let line = "known already: a command with this id was carried out before";
        return Ok((line.to_owned(), true));
    }
    let Some(matched) = said.get("matched").and_then(Value::as_u64) else {
        let line = "the gateway has the command, and is still carrying it out";
        return Ok((line.to_owned(), true));
    };
    let verb = if dry_run { verb.would } else { verb.done };
    Ok((
        format!("{verb} {} of this node", connections(matched)),
        true,
    ))
}

/// The line about a command that every node was to confirm, and whether all have.
fn confirmed(nodes: &Map<String, Value>, said: &Value, verb: Verb) -> (String, bool) {
    let count = |matched: &Value| matched.as_u64().unwrap_or(0);
    let sum = connections(nodes.values().map(count).sum());
    let each: Vec<_> = nodes
        .iter()
        .map(|(node, matched)| format!("{node} {}", count(matched)))
        .collect();
    let done = format!("{} {sum} ({})", verb.done, each.join(", "));
    if said.get("done").and_then(Value::as_bool) == Some(true) {
        return (format!("{done}: every node has confirmed it"), true);
    }
    let missing = said.get("missing").and_then(Value::as_array);
    let missing: Vec<_> = missing
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let who = if missing.is_empty() {
        "this node has just started and may not know all others yet".to_owned()
    } else {
        format!("not confirmed by {}", missing.join(", "))
    };
    let advice = "Send it again with the same --id to wait further; GET /nodes/ lists the nodes";
    (format!("{done}; {who}. {advice}"), false)
}

fn connections(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERB: Verb = Verb {
        done: "moved",
        would: "would move",
    };

    #[test]
    fn responses_are_reported() {
        for (status, body, dry_run, line, is_done) in [
            (
                200,
                r#"{"position":1,"matched":1}"#,
                false,
                "moved 1 connection of this node",
                true,
            ),
            (
                200,
                r#"{"position":1,"matched":2}"#,
                true,
                "would move 2 connections of this node",
                true,
            ),
            (
                200,
                r#"{"position":1,"duplicate":true}"#,
                false,
                "known already: a command with this id was carried out before",
                true,
            ),
            (
                202,
                r#"{"position":1}"#,
                false,
                "the gateway has the command, and is still carrying it out",
                true,
            ),
            (
                200,
                r#"{"position":1,"matched":1,"nodes":{"b":2,"a":1},"done":true}"#,
                false,
                "moved 3 connections (a 1, b 2): every node has confirmed it",
                true,
            ),
            (
                200,
                r#"{"position":1,"duplicate":true,"nodes":{"a":1},"done":true}"#,
                false,
                "moved 1 connection (a 1): every node has confirmed it",
                true,
            ),
            (
                202,
                r#"{"position":1,"matched":1,"nodes":{"a":1},"done":false,"missing":["b","c"]}"#,
                false,
                "moved 1 connection (a 1); not confirmed by b, c. Send it again with the same \
                 --id to wait further; GET /nodes/ lists the nodes",
                false,
            ),
            (
                202,
                r#"{"position":1,"nodes":{},"done":false,"missing":[]}"#,
                false,
                "moved 0 connections (); this node has just started and may not know all others \
                 yet. Send it again with the same --id to wait further; GET /nodes/ lists the nodes",
                false,
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer {
                status,
                body: body.into(),
            };
            let expected = (line.to_owned(), is_done);
            assert_eq!(outcome(&answer, false, dry_run, VERB).unwrap(), expected);
        }
    }
}
