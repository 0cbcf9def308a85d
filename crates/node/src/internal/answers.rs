//! Responses to triggers and commands.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::Placed;
use ht_control::nodes::Progress;
use ht_core::publication::Logged;
use ht_core::select::Selection;
use ht_core::window::View;
use ht_edge::respond::{self, Body};
use ht_proto::command::Confirm;
use ht_proto::cursor::Cursor;
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::record::Record;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::commands;
use crate::internal::access::Access;
use crate::internal::routes::{Routed, Routes};
use crate::internal::{Internal, tenant};
use crate::pipeline::Pipeline;

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
    pub(super) fn all(
        records: &[Record],
        tenants: &[TenantId],
        routes: &Routes,
    ) -> Vec<(Self, usize)> {
        let records = records.iter().zip(tenants).zip(routes.by_record());
        records
            .map(|((record, tenant), route)| (Self::of(record, *tenant), *route))
            .collect()
    }

    /// Those that get a position.
    pub(super) fn ordered(
        records: Vec<Record>,
        tenants: &[TenantId],
        routes: &Routes,
    ) -> Vec<Routed> {
        let of = tenants.iter().zip(routes.by_record());
        let records = records.into_iter().zip(of).map(|(record, of)| Routed {
            record,
            tenant: *of.0,
            route: *of.1,
        });
        records.filter(|it| !is_dry_run(&it.record)).collect()
    }

    fn of(record: &Record, tenant: TenantId) -> Self {
        match record {
            Record::Trigger(_) => Self::Trigger,
            Record::Command(command) if is_dry_run(record) => {
                let selection = commands::selection(command.selector.clone(), tenant);
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

/// The response to a request whose records have these positions, each in the order of the pipeline
/// that is beside what is asked: 200 if this node has executed every command, 202 if it has not yet.
pub(super) async fn to(
    internal: &Internal,
    pipelines: &[Arc<Pipeline>],
    asked: Vec<(Asked, usize)>,
    places: &[Placed],
    is_array: bool,
) -> Response<Body> {
    let (mut answers, mut is_done) = (Vec::with_capacity(asked.len()), true);
    let (deadline, mut places) = (Instant::now() + COMMAND_TIMEOUT, places.iter());
    let confirmed_by = Instant::now() + internal.live.now().permissions.confirm_timeout;
    let windows: Vec<_> = pipelines.iter().map(|it| it.sequencer.view()).collect();
    for (asked, route) in asked {
        let (pipeline, window) = (&*pipelines[route], &windows[route]);
        let (answer, done) = match asked {
            Asked::Trigger => {
                let placed = places.next().map(|placed| place(placed, window));
                (placed.unwrap_or_default(), true)
            }
            Asked::Command => {
                let placed = places.next().copied();
                command_place(pipeline, placed, deadline).await
            }
            Asked::Confirmed => {
                let placed = places.next().copied();
                confirmed(pipeline, placed, confirmed_by).await
            }
            Asked::Count(selection) => count(pipeline, *selection, deadline).await,
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

/// A position as JSON text, with its cursor: written for every trigger, so without an intermediate
/// tree.
fn place(placed: &Placed, window: &View<Logged>) -> String {
    let Cursors { number, cursor, .. } = Cursors::of(placed.position, window);
    if placed.duplicate {
        format!(r#"{{"position":{number},"cursor":"{cursor}","duplicate":true}}"#)
    } else {
        format!(r#"{{"position":{number},"cursor":"{cursor}"}}"#)
    }
}

/// How a position is named outside of the process.
struct Cursors {
    /// Its number in the log.
    number: u64,
    epoch: Epoch,
    /// The cursor of a client that has received everything up to there.
    cursor: Cursor,
}

impl Cursors {
    fn of(position: Position, window: &View<Logged>) -> Self {
        Self {
            number: position.get().saturating_sub(window.base()),
            epoch: window.epoch(),
            cursor: window.cursor(position.get()),
        }
    }

    fn json(&self) -> Value {
        json!({
            "position": self.number,
            "epoch": self.epoch.to_string(),
            "cursor": self.cursor.to_string(),
        })
    }
}

/// `GET /position`: the last position of the order, for a tenant with a log of its own of that one. What
/// is published from now on is after it.
pub(super) fn position(internal: &Internal, headers: &HeaderMap, access: Access) -> Response<Body> {
    let mut pipeline = Arc::clone(internal.pipelines.main());
    if internal.tenants().are_enabled() {
        match tenant::of_request(internal, headers, access) {
            Ok(None) => {}
            Ok(Some(tenant)) => pipeline = internal.pipelines.of(&tenant).unwrap_or(pipeline),
            Err(response) => return *response,
        }
    }
    let window = pipeline.sequencer.view();
    let last = Position::new(window.end()).unwrap_or(Position::MAX);
    let body = Cursors::of(last, &window).json();
    respond::json(StatusCode::OK, &body)
}

/// The position of a command as JSON text, with how many connections it matched once that is known,
/// and whether it is.
async fn command_place(
    pipeline: &Pipeline,
    placed: Option<Placed>,
    deadline: Instant,
) -> (String, bool) {
    let Some(Placed {
        position,
        duplicate,
    }) = placed
    else {
        return (String::new(), false);
    };
    let at = Cursors::of(position, &pipeline.sequencer.view());
    if duplicate {
        let mut json = at.json();
        json["duplicate"] = true.into();
        return (json.to_string(), true);
    }
    let matched = pipeline.sequencer.matched_at(position);
    let matched = tokio::time::timeout_at(deadline, matched).await;
    matched_json(&at, matched.ok().flatten())
}

/// The position of a command as JSON text, with the nodes that have executed it, and whether all of
/// them have.
async fn confirmed(pipeline: &Pipeline, placed: Option<Placed>, by: Instant) -> (String, bool) {
    let Some(Placed {
        position,
        duplicate,
    }) = placed
    else {
        return (String::new(), false);
    };
    let at = Cursors::of(position, &pipeline.sequencer.view());
    let matched = timeout_at(by, pipeline.sequencer.matched_at(position)).await;
    let matched = matched.ok().flatten();
    let peers = &pipeline.node.peers;
    let progress = if pipeline.broker.is_some() {
        peers.confirmed(position, by).await
    } else {
        Some(alone(peers.name(), matched))
    };
    // Forgotten, because many others were sent meanwhile: it is not known who has executed it.
    let progress = progress.unwrap_or_else(|| alone(peers.name(), None));
    let is_done = progress.is_done();
    let mut json = at.json();
    json["nodes"] = json!(progress.executed);
    json["done"] = is_done.into();
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
async fn count(pipeline: &Pipeline, selection: Selection, deadline: Instant) -> (String, bool) {
    let counted = pipeline.sequencer.matched(selection);
    let counted = tokio::time::timeout_at(deadline, counted).await;
    let (position, matched) = counted.unwrap_or((Position::START, None));
    let at = Cursors::of(position, &pipeline.sequencer.view());
    matched_json(&at, matched)
}

fn matched_json(at: &Cursors, matched: Option<u64>) -> (String, bool) {
    let mut json = at.json();
    if let Some(matched) = matched {
        json["matched"] = matched.into();
    }
    (json.to_string(), matched.is_some())
}
