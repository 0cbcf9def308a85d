//! Notes: messages between nodes over the log. For a reader without support for them they are
//! triggers without rooms.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::cursor::Cursor;
use crate::entry::{Epoch, Position};

/// Longest note that is read, in bytes: a list of [`NODES_MAX`] nodes fits.
pub const NOTE_BYTES_MAX: usize = 64 << 10;

/// Nodes that are known at once.
pub const NODES_MAX: usize = 256;

/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Longest other text in a note, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// A note of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name of the node.
    pub node: Box<str>,
    /// The name of this run of it: unlike that of any other node and run.
    pub boot: Box<str>,
    /// What it reports.
    pub report: Report,
}

/// What a note reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The node is there.
    Beacon(Beacon),
    /// It shuts down, and has no connections any more.
    Leaving,
    /// The nodes that it knows, by the names of their runs: for a node that has just joined.
    Nodes(Vec<(Box<str>, Box<str>)>),
    /// The log has a new epoch from here on, or its first one.
    Epoch(EpochName, Follows),
    /// Publications may not have reached the log before this.
    Gap,
    /// All its threads have executed a command.
    Executed {
        /// The key of its message in the log.
        key: Box<str>,
        /// How many connections of the node it matched.
        matched: u64,
    },
}

/// The state of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    /// The name of its order.
    pub epoch: Box<str>,
    /// When that was made, where it is an epoch of the log itself; see [`EpochName`].
    pub made: Option<u64>,
    /// The last position in that.
    pub position: u64,
    /// Its open connections.
    pub connections: u64,
    /// It has only just begun to read the log, and serves no clients yet.
    pub is_joining: bool,
    /// The last entry that it has of a log that gives positions, where that is known.
    pub last: Option<LastEntry>,
}

/// The last entry of a log, as a node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEntry {
    /// The cursor of the entry.
    pub cursor: Cursor,
    /// The log has none between that and this position.
    pub read: Position,
}

/// An epoch of a log that gives positions. Of two, the greater one is in force: wherever a node
/// begins to read, it arrives at the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochName {
    /// When it was made, in milliseconds since 1970, and later than any that its maker knew.
    pub made: u64,
    /// Its name.
    pub epoch: Epoch,
}

/// What an epoch follows, as its maker knew. Two that follow the same one are two names of what followed
/// one loss, made by nodes that found it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follows {
    /// The node that made it did not say so, or it was not read.
    #[default]
    Unknown,
    /// Nothing: the log had none.
    Nothing,
    /// The epoch with this name.
    Epoch(Epoch),
}

#[derive(Deserialize)]
struct Envelope {
    note: Members,
}

#[derive(Deserialize)]
struct Members {
    node: Box<str>,
    boot: Box<str>,
    #[serde(default)]
    leaving: bool,
    /// Each with the name of its run first.
    nodes: Option<Vec<(Box<str>, Box<str>)>>,
    #[serde(default)]
    joining: bool,
    executed: Option<Box<str>>,
    #[serde(default)]
    matched: u64,
    #[serde(default)]
    begins: bool,
    #[serde(default)]
    gap: bool,
    #[serde(default)]
    epoch: Box<str>,
    made: Option<u64>,
    /// The name of the epoch before; empty if there was none.
    after: Option<Box<str>>,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    connections: u64,
    last: Option<Box<str>>,
    read: Option<u64>,
}

impl Members {
    fn follows(&self) -> Follows {
        match self.after.as_deref() {
            None => Follows::Unknown,
            Some("") => Follows::Nothing,
            Some(name) => Epoch::parse(name).map_or(Follows::Unknown, Follows::Epoch),
        }
    }

    fn last(&self) -> Option<LastEntry> {
        Some(LastEntry {
            cursor: self.last.as_ref()?.parse().ok()?,
            read: Position::new(self.read?)?,
        })
    }
}

impl Note {
    /// Reads a message of the log that is marked as a note; none if it is not one that this version
    /// understands.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > NOTE_BYTES_MAX {
            return None;
        }
        let Envelope { note } = serde_json::from_slice(body).ok()?;
        let key_len = note.executed.as_ref().map_or(1, |key| key.len());
        let texts = [note.boot.len(), key_len];
        let listed = note.nodes.as_deref().unwrap_or_default();
        let is_valid = (1..=NODE_NAME_BYTES_MAX).contains(&note.node.len())
            && listed.len() <= NODES_MAX
            && listed.iter().all(|(boot, name)| {
                (1..=TEXT_BYTES_MAX).contains(&boot.len())
                    && (1..=NODE_NAME_BYTES_MAX).contains(&name.len())
            })
            && texts.iter().all(|len| (1..=TEXT_BYTES_MAX).contains(len))
            && note.epoch.len() <= TEXT_BYTES_MAX;
        let (last, follows) = (note.last(), note.follows());
        let report = match (note.executed, note.nodes) {
            _ if note.leaving => Report::Leaving,
            _ if note.gap => Report::Gap,
            _ if note.begins => {
                let name = EpochName {
                    made: note.made?,
                    epoch: Epoch::parse(&note.epoch)?,
                };
                Report::Epoch(name, follows)
            }
            (Some(key), _) => Report::Executed {
                key,
                matched: note.matched,
            },
            (None, Some(nodes)) => Report::Nodes(nodes),
            (None, None) => Report::Beacon(Beacon {
                epoch: note.epoch,
                made: note.made,
                position: note.at,
                connections: note.connections,
                is_joining: note.joining,
                last,
            }),
        };
        is_valid.then_some(Self {
            node: note.node,
            boot: note.boot,
            report,
        })
    }

    /// The epoch of the log that it states.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochName> {
        match &self.report {
            Report::Epoch(name, _) => Some(*name),
            Report::Beacon(beacon) => Some(EpochName {
                made: beacon.made?,
                epoch: Epoch::parse(&beacon.epoch)?,
            }),
            Report::Leaving | Report::Gap | Report::Nodes(_) | Report::Executed { .. } => None,
        }
    }

    /// What that follows.
    #[must_use]
    pub fn follows(&self) -> Follows {
        if let Report::Epoch(_, follows) = &self.report {
            *follows
        } else {
            Follows::Unknown
        }
    }

    /// Its message.
    #[must_use]
    pub fn message(&self) -> Bytes {
        let mut note = json!({ "node": self.node, "boot": self.boot });
        match &self.report {
            Report::Beacon(beacon) => {
                note["epoch"] = (*beacon.epoch).into();
                if let Some(made) = beacon.made {
                    note["made"] = made.into();
                }
                note["at"] = beacon.position.into();
                note["connections"] = beacon.connections.into();
                if beacon.is_joining {
                    note["joining"] = true.into();
                }
                if let Some(LastEntry { cursor, read }) = beacon.last {
                    note["last"] = cursor.to_string().into();
                    note["read"] = read.get().into();
                }
            }
            Report::Nodes(nodes) => note["nodes"] = json!(nodes),
            Report::Leaving => note["leaving"] = true.into(),
            Report::Gap => note["gap"] = true.into(),
            Report::Epoch(name, follows) => {
                match follows {
                    Follows::Unknown => {}
                    Follows::Nothing => note["after"] = "".into(),
                    Follows::Epoch(epoch) => note["after"] = epoch.to_string().into(),
                }
                note["begins"] = true.into();
                note["epoch"] = name.epoch.to_string().into();
                note["made"] = name.made.into();
            }
            Report::Executed { key, matched } => {
                note["executed"] = (**key).into();
                note["matched"] = (*matched).into();
            }
        }
        let message = json!({ "rooms": [], "data": null, "note": note });
        message.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::{Trigger, TriggerLimits};

    fn note(report: Report) -> Note {
        Note {
            node: "a.example \"1\"".into(),
            boot: "x81".into(),
            report,
        }
    }

    #[test]
    fn every_note_is_read_as_it_was_written_and_is_a_trigger_for_nobody() {
        let beacon = Beacon {
            epoch: "k3f9aa".into(),
            made: None,
            position: 1_801,
            connections: 812,
            is_joining: false,
            last: None,
        };
        let joining = Beacon {
            is_joining: true,
            ..beacon.clone()
        };
        let most = (0..NODES_MAX).map(|n| (n.to_string().into(), "\"".repeat(64).into()));
        let of_the_log = Beacon {
            made: Some(1_790_000_000_000),
            last: Some(LastEntry {
                cursor: "k3f9aa-1801-aB3x".parse().unwrap(),
                read: Position::new(1_804).unwrap(),
            }),
            ..beacon.clone()
        };
        let epoch = EpochName {
            made: 7,
            epoch: Epoch::from_random(9),
        };
        let executed = Report::Executed {
            key: "0a1b.7".into(),
            matched: 3,
        };
        for (report, epoch) in [
            (Report::Beacon(beacon), None),
            (Report::Beacon(joining), None),
            (Report::Nodes(vec![]), None),
            (Report::Nodes(most.collect()), None),
            (Report::Beacon(of_the_log), Some(1_790_000_000_000)),
            (Report::Leaving, None),
            (Report::Gap, None),
            (Report::Epoch(epoch, Follows::Unknown), Some(7)),
            (Report::Epoch(epoch, Follows::Nothing), Some(7)),
            (
                Report::Epoch(epoch, Follows::Epoch(Epoch::from_random(8))),
                Some(7),
            ),
            (executed, None),
        ] {
            let note = note(report);
            assert_eq!(note.epoch().map(|name| name.made), epoch);
            let message = note.message();
            assert_eq!(Note::parse(&message), Some(note));
            let limits = TriggerLimits {
                bytes: NOTE_BYTES_MAX,
                triggers: 1,
                rooms: 1,
            };
            let trigger = Trigger::parse(&message, &limits).unwrap();
            assert_eq!((trigger.rooms.len(), &*trigger.data), (0, &b"null"[..]));
        }
    }

    #[test]
    fn what_is_no_note_is_ignored() {
        let long = "x".repeat(NODE_NAME_BYTES_MAX + 1);
        for text in [
            "",
            "null",
            r#"{"rooms":[],"data":null}"#,
            r#"{"note":1}"#,
            r#"{"note":{"node":"a"}}"#,
            r#"{"note":{"node":"","boot":"x"}}"#,
            r#"{"note":{"node":"a","boot":""}}"#,
            r#"{"note":{"node":"a","boot":"x","executed":""}}"#,
            r#"{"note":{"node":"a","boot":"x","at":-1}}"#,
            r#"{"note":{"node":"a","boot":"x","nodes":[["b"]]}}"#,
            r#"{"note":{"node":"a","boot":"x","nodes":[["","b"]]}}"#,
            r#"{"note":{"node":"a","boot":"x","nodes":[["b",""]]}}"#,
            &format!(
                r#"{{"note":{{"node":"a","boot":"x","nodes":[{}["b","b"]]}}}}"#,
                r#"["b","b"],"#.repeat(NODES_MAX)
            ),
            r#"{"note":{"node":"a","boot":"x","begins":true,"epoch":"k3f9aa"}}"#,
            r#"{"note":{"node":"a","boot":"x","begins":true,"epoch":"K","made":1}}"#,
            &format!(r#"{{"note":{{"node":"{long}","boot":"x"}}}}"#),
            &format!(
                r#"{{"note":{{"node":"a","boot":"x"}}}}{}"#,
                " ".repeat(NOTE_BYTES_MAX)
            ),
        ] {
            assert_eq!(Note::parse(text.as_bytes()), None, "{text}");
        }
        // Members of later versions.
        let later = br#"{"note":{"node":"a","boot":"x","seq":9,"came":["7"]},"rooms":[]}"#;
        assert!(Note::parse(later).is_some());
    }
}
