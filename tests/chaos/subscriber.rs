//! Healthy subscribers: they stay connected, answer pings, reconnect when their node is back, and
//! record what they receive.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ledger::{Accepted, End, Heard};
use crate::link::{Event, Link, PATIENCE};
use crate::node::{Home, Node};
use crate::support::log::Watched;

/// Longer than a run takes: nothing is owed yet.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Delay before a subscriber tries to reconnect.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Messages that a subscriber received, by publisher: one entry for each connection since the last
/// account.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) heard: BTreeMap<&'static str, Vec<Heard>>,
    /// Whether it receives now.
    pub(crate) online: bool,
    /// Errors that no healthy subscriber should ever see.
    pub(crate) complaints: Vec<String>,
}

/// A healthy subscriber of one node.
pub(crate) struct Subscriber {
    pub(crate) node: Arc<Node>,
    pub(crate) notes: Watched<Notes>,
    /// The names of all publishers.
    pub(crate) publishers: Vec<&'static str>,
    pub(crate) deflate: bool,
}

impl Subscriber {
    /// Listens until the end.
    pub(crate) fn run(&self, over: &Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let Some(home) = self.node.home() else {
                std::thread::sleep(BACK_OFF);
                continue;
            };
            match self.enter(&home) {
                Ok(mut link) => self.listen(&mut link, &home, over),
                // The node may be down again, or the backend failing.
                Err(_) => std::thread::sleep(BACK_OFF),
            }
        }
    }

    /// Waits until it has received what it is owed of a publisher, and takes what each of its
    /// connections received; and whether it was all. Without patience it is not waited for.
    pub(crate) fn take(
        &self,
        publisher: &'static str,
        last: Option<Accepted>,
        patient: bool,
    ) -> (Vec<Heard>, bool) {
        let is_done = |notes: &Notes| is_done(notes, publisher, last);
        let all = if patient {
            let done = self.notes.wait(|notes| is_done(notes).then_some(()));
            done.is_some()
        } else {
            self.notes.look(is_done)
        };
        let taken = self.notes.change(|notes| {
            let heard = notes.heard.entry(publisher).or_default();
            let taken = heard.clone();
            // The open connections begin a new page, with the last line of the old one: earlier
            // messages must not arrive again.
            heard.retain(|heard| matches!(heard.end, End::Alive));
            for Heard { numbers, .. } in heard {
                numbers.drain(..numbers.len().saturating_sub(1));
            }
            taken
        });
        (taken, all)
    }

    fn enter(&self, home: &Home) -> io::Result<Link> {
        let mut link = Link::open(&home.public, "healthy", self.deflate)?;
        link.stream.set_timeouts(PATIENCE)?;
        link.subscribe(&json!({"room": self.node.name}), self.node.name)?;
        let since = Instant::now();
        self.notes.change(|notes| {
            for &name in &self.publishers {
                let own = name == self.node.name;
                notes.heard.entry(name).or_default().push(Heard {
                    since: if own { since } else { since + NEVER },
                    numbers: Vec::new(),
                    end: End::Alive,
                });
            }
            notes.online = true;
        });
        let others = self.publishers.iter();
        for name in others.filter(|&&name| name != self.node.name) {
            let message = json!({"type": "subscribe", "room": {"room": name}, "requestId": name});
            link.send(&message.to_string())?;
        }
        Ok(link)
    }

    fn listen(&self, link: &mut Link, home: &Home, over: &Arc<AtomicBool>) {
        // Their subscriptions are answered in this order; from its answer on each of them counts.
        let others = self.publishers.iter().copied();
        let mut others = others.filter(|&name| name != self.node.name);
        let mut gap = None;
        let ended = loop {
            if over.load(Ordering::Relaxed) {
                return;
            }
            match link.next() {
                Ok(Event::Json(message)) if message["type"] == "publish" => {
                    self.note(&message);
                }
                Ok(Event::Json(answer)) if answer["code"] == "success" => match others.next() {
                    Some(name) => self.begin(name),
                    None => self.complain(format!("unexpected: {answer}")),
                },
                Ok(Event::Json(answer)) => self.complain(format!("unexpected: {answer}")),
                Ok(Event::Other) => {}
                Ok(Event::Silence) => {
                    if let Err(error) = link.send("ping") {
                        break error.to_string();
                    }
                }
                Ok(Event::Close(code, reason)) => {
                    if code == 1012 && reason.starts_with("gap ") {
                        gap = Some(End::Gap(Instant::now()));
                    }
                    break format!("closed with {code} {reason}");
                }
                Err(error) => break error.to_string(),
            }
        };
        let end = gap.or_else(|| self.node.ended(home.incarnation));
        if end.is_none() {
            self.complain(format!("ended although its node did not: {ended}"));
        }
        self.notes.change(|notes| {
            notes.online = false;
            for heard in notes
                .heard
                .values_mut()
                .filter_map(|heard| heard.last_mut())
            {
                heard.end = end.unwrap_or_else(|| End::Killed(Instant::now()));
            }
        });
    }

    /// From now on it is owed what this publisher's node accepts.
    fn begin(&self, name: &'static str) {
        self.notes.change(|notes| {
            let heard = notes.heard.get_mut(name).and_then(|heard| heard.last_mut());
            heard.expect("an entry for each connection").since = Instant::now();
        });
    }

    fn note(&self, message: &serde_json::Value) {
        let number = message["data"]["number"].as_u64();
        let name = message["requestId"].as_str().unwrap_or_default();
        self.notes.change(|notes| {
            let heard = notes.heard.get_mut(name).and_then(|heard| heard.last_mut());
            match (heard, number) {
                (Some(heard), Some(number)) => heard.numbers.push(number),
                _ => notes.complaints.push(format!("unexpected: {message}")),
            }
        });
    }

    fn complain(&self, complaint: String) {
        let complaint = format!("a subscriber of {}: {complaint}", self.node.name);
        self.notes.change(|notes| notes.complaints.push(complaint));
    }
}

/// Whether a subscriber is online and has received what it is owed: everything, or it subscribed
/// again after the last accepted publication.
fn is_done(notes: &Notes, name: &str, last: Option<Accepted>) -> bool {
    let heard = notes.heard.get(name).and_then(|heard| heard.last());
    let Some(heard) = heard.filter(|_| notes.online) else {
        return false;
    };
    last.is_none_or(|last| {
        let number = heard.numbers.last().copied().unwrap_or(0);
        number >= last.number || heard.since > last.begun
    })
}
