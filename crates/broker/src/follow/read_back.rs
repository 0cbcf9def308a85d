//! Reading back: before a node follows a log that retains its records, it reads what it needs of
//! those that are there, and finds out the log's epoch.
//!
//! It appends a mark and reads up to it: whatever was appended before has been read then, without a
//! need to know where the log ends. If no note named an epoch on the way, it appends one, and reads
//! up to that: another node may have been faster.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ht_proto::entry::Entry;
use ht_proto::note::{Note, Report};
use uuid::Uuid;

use super::{End, Follower};
use crate::broker::{PROBE, Parsing};
use crate::log::{AppendError, Batch, Kind, NewEntry, Record, Tail, TailError, Trouble};
use crate::missed::{Missed, MissedReason};
use crate::progress::Break;

/// Longest wait for the next records of those that are retained.
const READ_WITHIN: Duration = Duration::from_secs(10);

impl Follower<'_> {
    /// Reads back what a tail begins with. Returns what follows.
    pub(super) async fn read_back(&mut self, tail: &mut dyn Tail) -> Result<Batch, End> {
        if let Some(broken) = self.progress.take_break() {
            let anew = broken == Break::Rewound;
            if anew {
                self.epochs.rewound();
                self.broker.set_epoch(None);
                self.broker.set_read(None);
            }
            self.sequencer.interrupted(anew).await;
        }
        let mark = self.entry(Kind::Probe, |_| Bytes::from_static(PROBE));
        let mut rest = self.read_up_to(mark, tail, Vec::new()).await?;
        while self.epochs.current().is_none() {
            let name = self.epochs.propose(now(), Uuid::new_v4().as_fields().0);
            let follows = self.epochs.follows();
            let note = |key: &str| Note {
                node: self.broker.name().into(),
                boot: key.into(),
                report: Report::Epoch(name, follows),
            };
            let entry = self.entry(Kind::Note, |key| note(key).message());
            rest = self.read_up_to(entry, tail, rest).await?;
        }
        self.tell_before().await;
        self.broker.set_read(self.progress.last());
        Ok(Batch {
            missed: Vec::new(),
            records: rest,
        })
    }

    fn entry(&self, kind: Kind, body: impl FnOnce(&str) -> Bytes) -> NewEntry {
        let key: Box<str> = Uuid::new_v4().simple().to_string().into();
        NewEntry {
            tenant: None,
            kind,
            body: body(&key),
            key,
        }
    }

    /// Appends an entry and reads `records` and what follows up to it. Returns the rest.
    async fn read_up_to(
        &mut self,
        entry: NewEntry,
        tail: &mut dyn Tail,
        mut records: Vec<Record>,
    ) -> Result<Vec<Record>, End> {
        let within = self.broker.publish_timeout;
        let key = entry.key.clone();
        let mut appending = Some(self.broker.log.append(vec![entry], within));
        loop {
            if let Some(at) = records.iter().position(|it| it.key.as_ref() == Some(&key)) {
                let rest = records.split_off(at + 1);
                self.take_back(records).await.map_err(End::Lost)?;
                if let Some(appending) = appending {
                    // It is in the log, whatever the confirm says.
                    let _ = appending.await;
                }
                return Ok(rest);
            }
            self.take_back(records).await.map_err(End::Lost)?;
            let read = self.next(tail, Some(READ_WITHIN.max(within)));
            let batch = match &mut appending {
                Some(append) => tokio::select! {
                    appended = append => {
                        appended.map_err(|error| End::Lost(unable(&error)))?;
                        appending = None;
                        Batch::default()
                    }
                    batch = read => batch?,
                },
                None => read.await?,
            };
            self.missed(batch.missed).await;
            records = batch.records;
        }
    }

    /// Takes records that were retained.
    async fn take_back(&mut self, records: Vec<Record>) -> Result<(), TailError> {
        self.check(&records)?;
        self.before.read(records.first().and_then(|it| it.position));
        let mut entries = Vec::new();
        for record in records {
            if !self.progress.is_new(record.position) {
                continue;
            }
            match record.kind {
                Kind::Trigger => entries.extend(self.parse(record).await),
                Kind::Note => {
                    let Some(note) = Note::parse(&record.message.body) else {
                        continue;
                    };
                    let (begins, is_gap) = (self.begins_epoch(&note), note.report == Report::Gap);
                    if begins || is_gap {
                        self.bring_back(std::mem::take(&mut entries)).await;
                    }
                    if is_gap {
                        self.tell_before().await;
                        self.sequencer.interrupted(false).await;
                    }
                    if begins {
                        self.begin_epoch(&note).await;
                    }
                    let epoch = self.epochs.current().map(|name| name.epoch);
                    self.before.noted(&note, epoch);
                }
                Kind::Probe => {}
            }
        }
        self.bring_back(entries).await;
        Ok(())
    }

    async fn bring_back(&mut self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.tell_before().await;
            self.sequencer.read_back(entries).await;
        }
    }

    /// Has the sequencer know what was before, once.
    async fn tell_before(&mut self) {
        if let Some((before, check)) = self.before.take() {
            self.sequencer.begins_after(before, check).await;
        }
    }

    /// One that is wrong was reported by the nodes that were there.
    async fn parse(&self, record: Record) -> Option<Entry> {
        let parsed = match (self.broker.parse)(record.message) {
            Parsing::Done(parsed) => parsed,
            Parsing::Offloaded(parsing) => parsing.await,
        };
        let entry = self.read_entry(record.position, parsed).ok()?;
        Some(entry.1)
    }

    /// The log retains its records.
    pub(super) fn retains(&self) -> bool {
        self.broker.log.caps().retains
    }

    /// The engine reports gaps. What did not reach a log that all nodes read reached none of them:
    /// a note tells all, at the same place.
    pub(super) async fn missed(&self, all: Vec<Missed>) {
        for missed in all {
            let is_noted = self.retains() && self.note_gap().await;
            if !is_noted {
                self.sequencer.missed(missed);
            }
        }
    }

    async fn note_gap(&self) -> bool {
        let note = |key: &str| Note {
            node: self.broker.name().into(),
            boot: key.into(),
            report: Report::Gap,
        };
        let entry = self.entry(Kind::Note, |key| note(key).message());
        let within = self.broker.publish_timeout;
        self.broker.log.append(vec![entry], within).await.is_ok()
    }

    /// Whether a note brings an epoch into force.
    pub(super) fn begins_epoch(&self, note: &Note) -> bool {
        let name = note.epoch().filter(|_| self.retains());
        name.is_some_and(|name| self.epochs.is_later(name))
    }

    /// The epoch that the note states comes into force. Returns whether the log has lost its end since
    /// the last one.
    pub(super) async fn begin_epoch(&mut self, note: &Note) -> bool {
        let name = note.epoch();
        let Some(begun) = name.and_then(|name| self.epochs.stated(name, note.follows())) else {
            return false;
        };
        self.broker.set_epoch(self.epochs.current());
        self.sequencer
            .begin_epoch(begun.epoch, begun.ends_another)
            .await;
        tracing::info!(broker = self.broker.name(), epoch = %begun.epoch, "the log has this epoch");
        begun.ends_another && !begun.is_second_name
    }
}

/// Publications may not have reached the log.
pub(super) fn unbound() -> Missed {
    Missed {
        reason: MissedReason::BindingLost,
        cause: "a node found that the log was not bound to the exchange".into(),
    }
}

/// The log lost its end, of which this node had read nothing: others had.
pub(super) fn rewound() -> Missed {
    Missed {
        reason: MissedReason::Rewound,
        cause: "another node found that the log had lost its end, or was made anew".into(),
    }
}

fn unable(error: &AppendError) -> TailError {
    TailError::Lost(Trouble {
        cause: format!("this node cannot append to the log: {error}"),
        advice: "see whether its user may publish",
        reason: MissedReason::Reconnect,
    })
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
