//! Clients of our subprotocol: what they keep, and what they are owed when they come back.

use std::rc::Rc;

use ht_proto::cursor::Cursor;
use serde_json::Value;

use super::known::{Heard, Subscription, What};
use super::ledger::{Again, Ledger};
use super::operations::{NAMES, TENANTS};

/// What a client keeps of its connection.
#[derive(Debug)]
pub(super) struct Page {
    /// The index of the client.
    pub(super) place: usize,
    /// The last cursor that it saw.
    pub(super) cursor: Option<String>,
    /// What it brought.
    pub(super) left: Option<Left>,
    has_answer: bool,
}

/// What a client keeps that is not connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    pub(super) cursor: String,
    /// Its subscriptions, each with the position after which it hears everything.
    pub(super) subscriptions: Vec<(Subscription, u64)>,
    /// What it heard.
    heard: Heard,
}

/// A line without what differs from run to run, and without explanations.
pub(super) fn plain(line: &str) -> String {
    let Ok(Value::Object(mut message)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    for member in ["cursor", "features", "ticket", "proof"] {
        message.remove(member);
    }
    if message.get("code").is_some_and(|code| code == "error") {
        message.remove("reason");
    }
    Value::Object(message).to_string()
}

impl Page {
    pub(super) fn new(place: usize, left: Option<Left>) -> Self {
        Self {
            place,
            cursor: None,
            has_answer: false,
            left,
        }
    }

    /// Takes a line. Returns what is compared of it.
    pub(super) fn hears(&mut self, line: &str) -> String {
        if let Ok(message) = serde_json::from_str::<Value>(line) {
            self.has_answer |= message["requestId"] == "r";
            let cursor = message["cursor"].as_str();
            if let Some(cursor) = cursor.filter(|_| !self.awaits_answer()) {
                self.cursor = Some(cursor.to_owned());
            }
        }
        plain(line)
    }

    /// It has asked for what it missed, and was not answered.
    pub(super) fn awaits_answer(&self) -> bool {
        self.left.is_some() && !self.has_answer
    }

    /// It was answered.
    pub(super) fn has_resumed(&self) -> bool {
        self.left.is_some() && self.has_answer
    }
}

impl Left {
    /// The position of its cursor.
    pub(super) fn position(&self) -> u64 {
        let cursor: Cursor = self.cursor.parse().expect("a cursor");
        cursor.position.get()
    }

    /// It heard these lines of a group.
    pub(super) fn hears(&mut self, what: &What, lines: &[&String]) {
        match what {
            What::Publication(position) => {
                for line in lines {
                    *self.heard.entry((*position, name_of(line))).or_default() += 1;
                }
            }
            What::Subscribed(subscription, since) => {
                self.subscriptions.retain(|(own, _)| own != subscription);
                self.subscriptions.push((*subscription, *since));
            }
            What::Unsubscribed(name) => self.subscriptions.retain(|((_, own), _)| own != name),
            What::Resumed(there) => self.subscriptions.clone_from(there),
            What::Other => {}
        }
    }

    /// What subscriptions are owed: all that was published since, but for what it heard.
    pub(super) fn owed(
        &self,
        there: &[(Subscription, u64)],
        place: usize,
        ledger: &Ledger,
    ) -> Vec<Again> {
        let mut owed = Vec::new();
        let published = ledger.published.iter();
        for published in published.filter(|it| it.tenant == place % TENANTS) {
            let meant = there.iter().filter(|(subscription, since)| {
                published.position > *since && ledger.meets(*subscription, published)
            });
            let mut heard = self.heard.clone();
            let names = meant.filter_map(|((room, name), _)| {
                match heard.get_mut(&(published.position, *name)) {
                    Some(count) if *count > 0 => {
                        *count -= 1;
                        None
                    }
                    _ => Some((*name, (*room, *name))),
                }
            });
            let names: Vec<_> = names.collect();
            if !names.is_empty() {
                owed.push(Again {
                    published: Rc::clone(published),
                    names,
                });
            }
        }
        owed
    }
}

/// The name that a publication is for.
fn name_of(line: &str) -> usize {
    let message: Value = serde_json::from_str(line).expect("a message");
    let names = NAMES.iter().map(|name| serde_json::from_str::<Value>(name));
    let mut names = names.map(|name| name.expect("a name"));
    let at = names.position(|name| name == message["requestId"]);
    at.expect("a name of ours")
}
