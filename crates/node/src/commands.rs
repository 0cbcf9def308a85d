//! Commands of the API on their way to the shards, and how many connections each one matched.

pub(crate) mod saved;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_core::Hasher;
use ht_core::command::{Action, Command, Ending, Permit};
use ht_core::grant::GrantSet;
use ht_core::select::Selection;
use ht_proto::command::{self, Criteria, Disconnect, Selector};
use ht_proto::entry::TenantId;
use ht_proto::server;
use tokio::sync::Notify;

use crate::counters::CommandName;
use crate::interner::Interner;

/// Number of recent commands whose counts are kept.
const KEPT: usize = 4_096;

/// Memory charged for a command beside its text, in bytes.
const COMMAND_BYTES: usize = 1_024;

/// Its parsed form takes a multiple of its text.
const PARSED: usize = 4;

/// State of the commands of a node.
#[derive(Debug)]
pub(crate) struct Commands {
    shards: usize,
    /// The position of the last command that was ordered.
    last: AtomicU64,
    counts: AtomicU64,
    tallies: Mutex<Tallies>,
}

/// A recorded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ticket {
    /// A command at a position.
    At(u64),
    /// A command that only counts.
    Count(u64),
}

impl Ticket {
    fn of(command: &Command) -> Self {
        match command.action {
            Action::Count => Self::Count(command.position),
            Action::Permit(_)
            | Action::Unsubscribe(_)
            | Action::Disconnect(_)
            | Action::Invalidate { .. } => Self::At(command.position),
        }
    }
}

#[derive(Debug, Default)]
struct Tallies {
    known: HashMap<Ticket, Tally>,
    /// Oldest first.
    order: VecDeque<Ticket>,
}

#[derive(Debug)]
struct Tally {
    /// Shards that have not executed it yet.
    left: usize,
    matched: u64,
    done: Arc<Notify>,
}

impl Commands {
    /// For a node with this number of shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards,
            last: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            tallies: Mutex::default(),
        }
    }

    /// The position of the last ordered command; zero if there was none. A response of the API to a
    /// call that is sent after this was read reflects all commands up to that position.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    /// A command has its position and is about to be handed to the shards.
    pub(crate) fn placed(&self, position: u64) {
        self.last.store(position, Ordering::SeqCst);
        self.expect(Ticket::At(position));
    }

    /// Something was lost up to this position that may have been a command: an answer to a call that
    /// was sent before may lack its effect.
    pub(crate) fn advance(&self, position: u64) {
        self.last.fetch_max(position, Ordering::SeqCst);
    }

    /// Another command that only counts.
    pub(crate) fn count(&self, selection: Selection) -> Command {
        let number = self.counts.fetch_add(1, Ordering::Relaxed);
        self.expect(Ticket::Count(number));
        Command {
            position: number,
            selection,
            action: Action::Count,
            bytes: COMMAND_BYTES,
        }
    }

    fn expect(&self, ticket: Ticket) {
        let mut tallies = self.lock();
        let Tallies { known, order } = &mut *tallies;
        if order.len() >= KEPT
            && let Some(oldest) = order.pop_front()
            && let Some(tally) = known.remove(&oldest)
        {
            tally.done.notify_waiters();
        }
        order.push_back(ticket);
        let tally = Tally {
            left: self.shards,
            matched: 0,
            done: Arc::default(),
        };
        known.insert(ticket, tally);
    }

    /// A shard executed a command, which matched this many connections there.
    pub(crate) fn carried_out(&self, command: &Command, matched: usize) {
        let mut tallies = self.lock();
        let Some(tally) = tallies.known.get_mut(&Ticket::of(command)) else {
            return;
        };
        tally.left = tally.left.saturating_sub(1);
        tally.matched += matched as u64;
        if tally.left == 0 {
            tally.done.notify_waiters();
        }
    }

    /// How many connections a command matched, once every shard has executed it; `None` if that is
    /// no longer known.
    pub(crate) async fn matched(&self, ticket: Ticket) -> Option<u64> {
        loop {
            let done = {
                let tallies = self.lock();
                let tally = tallies.known.get(&ticket)?;
                if tally.left == 0 {
                    return Some(tally.matched);
                }
                // Registered under the lock: no notification is missed.
                let mut done = Box::pin(Arc::clone(&tally.done).notified_owned());
                done.as_mut().enable();
                done
            };
            done.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that waits to be ordered.
pub(crate) struct Prepared {
    pub(crate) name: CommandName,
    /// What it selects, for the log.
    selectors: String,
    command: Command,
}

impl Prepared {
    /// Parses the action. `None` if there is none: the command only counts, which the node that
    /// received it does.
    pub(crate) fn new(
        command: command::Command,
        tenant: TenantId,
        interner: &Interner,
    ) -> Option<Self> {
        if command.dry_run {
            return None;
        }
        let (name, action) = match command.action {
            command::Action::Invalidate { within_ms } => {
                let within = within_ms;
                (CommandName::Invalidate, Action::Invalidate { within })
            }
            command::Action::Permit(permit) => {
                let command::Permit {
                    allowed_rooms,
                    labels,
                    view,
                    expires_in,
                } = *permit;
                let action = Action::Permit(Permit {
                    welcome: server::authorized(&allowed_rooms.text).into(),
                    event: server::permissions(&allowed_rooms.text).into(),
                    grants: interner.grants(tenant, allowed_rooms.rooms),
                    labels: labels.iter().map(|label| Arc::from(&**label)).collect(),
                    view: view.map(Arc::from),
                    expires_in: expires_in.map(milliseconds),
                });
                (CommandName::Permit, action)
            }
            command::Action::Unsubscribe { from } => {
                let from = GrantSet::new(tenant, from, Hasher::default());
                (CommandName::Unsubscribe, Action::Unsubscribe(from))
            }
            command::Action::Disconnect(Disconnect {
                come_back, reason, ..
            }) => {
                let ending = Ending {
                    code: come_back.code(),
                    reason: reason.into(),
                };
                (CommandName::Disconnect, Action::Disconnect(ending))
            }
        };
        Some(Self {
            name,
            selectors: selectors(&command.selector),
            command: Command {
                position: 0,
                selection: selection(command.selector, tenant),
                action,
                bytes: COMMAND_BYTES + PARSED * command.text.len(),
            },
        })
    }

    /// Gives it its position in the order.
    pub(crate) fn at(self, position: u64) -> Arc<Command> {
        tracing::info!(
            command = self.name.as_str(),
            position,
            selectors = self.selectors,
            "carrying out a command of the API"
        );
        self.read_back(position)
    }

    /// Gives it the position that it had before this node read the log: nobody carries it out here.
    pub(crate) fn read_back(self, position: u64) -> Arc<Command> {
        Arc::new(Command {
            position,
            ..self.command
        })
    }
}

/// A term as shards count it.
fn milliseconds(term: Duration) -> u64 {
    u64::try_from(term.as_millis()).unwrap_or(u64::MAX)
}

/// The connections that a command matches.
pub(crate) fn selection(selector: Selector, tenant: TenantId) -> Selection {
    let everyone = Selection {
        tenant,
        ..Selection::default()
    };
    match selector {
        Selector::Everyone => Selection {
            everyone: true,
            ..everyone
        },
        Selector::Those(criteria) => {
            let Criteria {
                user,
                session,
                connection,
                labels,
                room,
            } = *criteria;
            Selection {
                users: user.into_iter().collect(),
                sessions: session.into_iter().collect(),
                connections: connection.into_iter().collect(),
                labels: labels.into(),
                rooms: room.into_iter().collect(),
                ..everyone
            }
        }
    }
}

/// What a command selects: users and connections are named as in other log lines.
fn selectors(selector: &Selector) -> String {
    let criteria = match selector {
        Selector::Everyone => return "everyone".to_owned(),
        Selector::Those(criteria) => criteria,
    };
    let mut all = Vec::new();
    if let Some(user) = &criteria.user {
        all.push(format!("user {user:?}"));
    }
    if let Some(connection) = criteria.connection {
        all.push(format!("connection {connection}"));
    }
    let others = [
        ("session", criteria.session.is_some()),
        ("label", !criteria.labels.is_empty()),
        ("room", criteria.room.is_some()),
    ];
    let others = others.into_iter().filter(|(_, given)| *given);
    all.extend(others.map(|(name, _)| name.to_owned()));
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_match_count_is_known_when_every_shard_has_executed_the_command() {
        let commands = Commands::new(2);
        let count = commands.count(Selection::default());
        let ticket = Ticket::of(&count);
        let mut matched = Box::pin(commands.matched(ticket));
        assert_eq!(matched.as_mut().now_or_never(), None);
        commands.carried_out(&count, 3);
        assert_eq!(matched.as_mut().now_or_never(), None);
        commands.carried_out(&count, 4);
        assert_eq!(matched.await, Some(7));
        assert_eq!(commands.matched(ticket).await, Some(7), "again");
        assert_eq!(commands.matched(Ticket::At(9)).await, None);
        assert_eq!(commands.last(), 0);
        commands.placed(9);
        assert_eq!(commands.last(), 9);
        assert!(commands.matched(Ticket::At(9)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn only_the_last_ones_are_kept() {
        let commands = Commands::new(1);
        commands.placed(1);
        let mut first = Box::pin(commands.matched(Ticket::At(1)));
        assert_eq!(first.as_mut().now_or_never(), None);
        for position in 2..2 + KEPT as u64 {
            commands.placed(position);
        }
        assert_eq!(first.await, None);
        assert_eq!(commands.lock().known.len(), KEPT);
    }
}
