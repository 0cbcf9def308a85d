//! Responses to triggers and commands.

use std::time::Duration;

use ht_broker::{Placed, Sequencer as _};
use ht_control::nodes::Progress;
use ht_core::select::Selection;
use ht_edge::respond::{self, Body};
use ht_proto::command::Confirm;
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::record::Record;
use http::{Response, StatusCode};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::commands;
use crate::internal::Internal;

/// Time in which every shard should execute a command. It is executed later as well.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// What the response to a record contains.
pub(super) enum Asked {
    /// Its position.
    Trigger,
    /// Its position, and how many connections it matched.
    Command,
    /// The same, once every node has executed it.
    Confirmed,
    /// How many connections match; it gets no position.
    Count(Box<Selection>),
}

impl Asked {
    /// What the responses to these contain.
    pub(super) fn all(records: &[Record]) -> Vec<Self> {
        records.iter().map(Self::of).collect()
    }

    /// Those that get a position.
    pub(super) fn ordered(records: Vec<Record>) -> Vec<Record> {
        let records = records.into_iter();
        records.filter(|record| !is_dry_run(record)).collect()
    }

    fn of(record: &Record) -> Self {
        match record {
            Record::Trigger(_) => Self::Trigger,
            Record::Command(command) if is_dry_run(record) => {
                let selection = commands::selection(command.selector.clone(), TenantId::MAIN);
                Self::Count(Box::new(selection))
            }
            Record::Command(command) => match command.confirm {
                Confirm::Here => Self::Command,
                Confirm::Everywhere => Self::Confirmed,
            },
        }
    }
}

fn is_dry_run(record: &Record) -> bool {
    matches!(record, Record::Command(command) if command.dry_run)
}

/// The response to a request whose records have these positions: 200 if this node has executed
/// every command, 202 if it has not yet.
pub(super) async fn to(
    internal: &Internal,
    asked: Vec<Asked>,
    places: &[Placed],
    is_array: bool,
) -> Response<Body> {
    let (mut answers, mut is_done) = (Vec::with_capacity(asked.len()), true);
    let (deadline, mut places) = (Instant::now() + COMMAND_TIMEOUT, places.iter());
    let confirmed_by = Instant::now() + internal.live.now().permissions.confirm_timeout;
    for asked in asked {
        let (answer, done) = match asked {
            Asked::Trigger => (places.next().map(place).unwrap_or_default(), true),
            Asked::Command => {
                let placed = places.next().copied();
                command_place(internal, placed, deadline).await
            }
            Asked::Confirmed => {
                let placed = places.next().copied();
                confirmed(internal, placed, confirmed_by).await
            }
            Asked::Count(selection) => count(internal, *selection, deadline).await,
        };
        answers.push(answer);
        is_done &= done;
    }
    let body = match answers.pop() {
        Some(answer) if !is_array => answer,
        last => {
            answers.extend(last);
            format!("[{}]", answers.join(","))
        }
    };
    let status = if is_done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    respond::with_type(status, "application/json", body)
}

/// A position as JSON text: written for every trigger, so without an intermediate tree.
fn place(placed: &Placed) -> String {
    let Placed {
        position,
        duplicate,
    } = placed;
    if *duplicate {
        format!(r#"{{"position":{position},"duplicate":true}}"#)
    } else {
        format!(r#"{{"position":{position}}}"#)
    }
}

/// The position of a command as JSON text, with how many connections it matched once that is known,
/// and whether it is.
async fn command_place(
    internal: &Internal,
    placed: Option<Placed>,
    deadline: Instant,
) -> (String, bool) {
    let epoch = internal.sequencer.epoch();
    let Some(Placed {
        position,
        duplicate,
    }) = placed
    else {
        return (String::new(), false);
    };
    if duplicate {
        let json =
            json!({ "position": position.get(), "epoch": epoch.to_string(), "duplicate": true });
        return (json.to_string(), true);
    }
    let matched = internal.sequencer.matched_at(position);
    let matched = tokio::time::timeout_at(deadline, matched).await;
    matched_json(position, epoch, matched.ok().flatten())
}

/// The position of a command as JSON text, with the nodes that have executed it, and whether all of
/// them have.
async fn confirmed(internal: &Internal, placed: Option<Placed>, by: Instant) -> (String, bool) {
    let epoch = internal.sequencer.epoch();
    let Some(Placed {
        position,
        duplicate,
    }) = placed
    else {
        return (String::new(), false);
    };
    let matched = timeout_at(by, internal.sequencer.matched_at(position)).await;
    let matched = matched.ok().flatten();
    let progress = if internal.broker.is_some() {
        internal.peers.confirmed(position, by).await
    } else {
        Some(alone(internal.peers.name(), matched))
    };
    // Forgotten, because many others were sent meanwhile: it is not known who has executed it.
    let progress = progress.unwrap_or_else(|| alone(internal.peers.name(), None));
    let is_done = progress.is_done();
    let mut json = json!({
        "position": position.get(),
        "epoch": epoch.to_string(),
        "nodes": progress.executed,
        "done": is_done,
    });
    if let Some(matched) = matched {
        json["matched"] = matched.into();
    }
    if duplicate {
        json["duplicate"] = true.into();
    }
    if !is_done {
        json["missing"] = progress.missing.into();
    }
    (json.to_string(), is_done)
}

/// The progress of a command where there is only one node.
fn alone(name: &str, matched: Option<u64>) -> Progress {
    let name = name.to_owned();
    match matched {
        Some(matched) => Progress {
            executed: [(name, matched)].into(),
            ..Progress::default()
        },
        None => Progress {
            missing: vec![name],
            ..Progress::default()
        },
    }
}

/// The connections that a command would match now, as JSON text, and whether all shards have
/// responded.
async fn count(internal: &Internal, selection: Selection, deadline: Instant) -> (String, bool) {
    let epoch = internal.sequencer.epoch();
    let counted = internal.sequencer.matched(selection);
    match tokio::time::timeout_at(deadline, counted).await {
        Ok((position, matched)) => matched_json(position, epoch, matched),
        Err(_) => matched_json(Position::START, epoch, None),
    }
}

fn matched_json(position: Position, epoch: Epoch, matched: Option<u64>) -> (String, bool) {
    let mut json = json!({ "position": position.get(), "epoch": epoch.to_string() });
    if let Some(matched) = matched {
        json["matched"] = matched.into();
    }
    (json.to_string(), matched.is_some())
}
