//! What the answers to triggers and commands say.

use std::time::Duration;

use ht_broker::{Placed, Sequencer as _};
use ht_core::select::Selection;
use ht_edge::respond::{self, Body};
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::record::Record;
use http::{Response, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::commands;
use crate::internal::Internal;

/// Time in which every shard carries a command out. It is carried out later as well.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// What the answer to a record has.
pub(super) enum Asked {
    /// Its place.
    Trigger,
    /// Its place, and how many connections were meant.
    Command,
    /// How many connections are meant; it gets no place.
    Count(Box<Selection>),
}

impl Asked {
    /// What the answers to these have.
    pub(super) fn all(records: &[Record]) -> Vec<Self> {
        records.iter().map(Self::of).collect()
    }

    /// Those that get a place.
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
            Record::Command(_) => Self::Command,
        }
    }
}

fn is_dry_run(record: &Record) -> bool {
    matches!(record, Record::Command(command) if command.dry_run)
}

/// Answers a request whose records have these places: 200 where this node has carried every command
/// out, 202 where it will.
pub(super) async fn to(
    internal: &Internal,
    asked: Vec<Asked>,
    places: &[Placed],
    is_array: bool,
) -> Response<Body> {
    let (mut answers, mut is_done) = (Vec::with_capacity(asked.len()), true);
    let (deadline, mut places) = (Instant::now() + COMMAND_TIMEOUT, places.iter());
    for asked in asked {
        let (answer, done) = match asked {
            Asked::Trigger => (places.next().map(place).unwrap_or_default(), true),
            Asked::Command => {
                let placed = places.next().copied();
                command_place(internal, placed, deadline).await
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

/// A place as JSON text: written at every trigger, so without a tree in between.
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

/// The place of a command as JSON text, with how many connections it meant once that is known, and
/// whether it is.
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

/// The connections that a command would mean now, as JSON text, and whether all shards said so.
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
