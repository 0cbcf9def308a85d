//! Publishers: each sends numbered triggers to its own node, one after the other, and sends each
//! again under the same id until it is accepted.

use std::io;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ledger::Accepted;
use crate::node::Node;
use crate::support::log::Watched;
use crate::support::stream::Address;
use crate::support::{DEADLINE, http};

/// Time between two triggers.
const PACE: Duration = Duration::from_millis(8);

/// Longest text that is sent along, in bytes.
const PADDING: usize = 6_000;

/// Record of a publisher.
#[derive(Default)]
pub(crate) struct Published {
    /// Accepted since the last account.
    pub(crate) accepted: Vec<Accepted>,
    /// Accepted in all.
    pub(crate) total: u64,
    /// Tries that were not answered 200.
    pub(crate) retries: u64,
}

/// A publisher's side of the account.
pub(crate) struct Publisher {
    pub(crate) published: Watched<Published>,
    /// Held by the publisher while a trigger is under way, by the account while it is made.
    turn: Mutex<()>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            published: Watched::default(),
            turn: Mutex::new(()),
        }
    }

    /// Waits until no trigger is in flight; none begins until the guard is dropped.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes to the node's room until the end.
    pub(crate) fn run(&self, node: &Node, over: &Arc<AtomicBool>, mut random: fastrand::Rng) {
        for number in 1.. {
            let padding = random.usize(..PADDING);
            let trigger = json!({
                "rooms": [{"room": node.name}],
                "data": {"number": number, "padding": "x".repeat(padding)},
                "id": format!("{}-{number}", node.name),
            })
            .to_string();
            let turn = self.pause();
            let begun = Instant::now();
            while !is_accepted(node, &trigger) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                self.published.change(|published| published.retries += 1);
                std::thread::sleep(PACE);
            }
            let placed = Instant::now();
            self.published.change(|published| {
                published.total += 1;
                published.accepted.push(Accepted {
                    number,
                    begun,
                    placed,
                });
            });
            drop(turn);
            if over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(PACE);
        }
    }
}

/// Whether the node answered 200.
fn is_accepted(node: &Node, trigger: &str) -> bool {
    let Some(home) = node.home() else {
        return false;
    };
    matches!(post(&home.internal, trigger), Ok(200))
}

/// Sends a trigger on a connection of its own; the answer's status.
pub(crate) fn post(to: &Address, body: &str) -> io::Result<u16> {
    let mut stream = to.connect()?;
    stream.set_timeouts(DEADLINE)?;
    let head = format!(
        "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let (answer, _) = http::read_answer(&mut stream)?;
    Ok(answer.status)
}
