//! A log that retains its records: what was in it before this node read it, and its epochs.

use ht_core::window::Beginning;
use ht_proto::cursor::Check;
use ht_proto::entry::{Entry, Epoch, Position};
use uuid::Uuid;

use super::NodeSequencer;
use super::placing::{Group, What};
use crate::inbox::Batch;

impl NodeSequencer {
    /// What is read back begins after this number of the log.
    pub(super) async fn begin_after(&self, before: Position, check: Option<Check>) {
        let mut order = self.order.lock().await;
        if order.last() != order.base() || before == Position::START {
            return;
        }
        order.begin_after(before);
        let start = order.last().get();
        self.window.begin(Beginning {
            epoch: order.epoch(),
            base: order.base().get(),
            start,
            check,
        });
        self.interest.advance(start);
        self.interest.sent(start);
    }

    /// Puts entries into the window that were in the log before. Their ids are known from then on;
    /// no shard gets them.
    pub(super) async fn take_back(&self, batch: Vec<Entry>) {
        let placing = |entry| self.placing(entry);
        let batch: Vec<_> = batch.into_iter().map(placing).collect();
        let mut order = self.order.lock().await;
        let Some(first) = batch.first() else {
            return;
        };
        self.window.settle(&mut order, first.given);
        let mut group = Group::default();
        for mut entry in batch {
            let placed = order.place(entry.given, entry.id.take());
            if placed.duplicate {
                continue;
            }
            match entry.what {
                What::Publication(publication, keys) => {
                    let cursor = order.cursor(placed.position, entry.check);
                    group.add(publication.at(placed.position.get(), cursor), keys);
                }
                What::Command(command) => {
                    self.keep(std::mem::take(&mut group));
                    let command = command.read_back(placed.position.get());
                    self.window.append_command(&command, entry.check);
                }
                What::Nothing => {}
            }
        }
        self.keep(group);
        // First: no cursor of after it, since clients are not sent it.
        self.gaps.begin();
        self.interest.advance(order.last().get());
        self.interest.sent(order.last().get());
    }

    fn keep(&self, group: Group) {
        if !group.publications.is_empty() {
            let batch = Batch::new(group.publications);
            self.window.append(&batch, &group.keys);
        }
    }

    /// Entries are missing before the next one; `anew`: that one is of another log.
    pub(super) async fn interrupt(&self, anew: bool) {
        let mut order = self.order.lock().await;
        if !anew {
            self.window.missed();
            return;
        }
        // Its name is not known yet, and no cursor of the former log is good for it.
        let unknown = Epoch::from_random(Uuid::new_v4().as_fields().0);
        let base = order.restart(unknown).get();
        self.window.begin(Beginning::of(unknown).based(base));
        self.gaps.begin();
        self.interest.advance(base);
        self.interest.sent(base);
    }

    /// The log has this epoch: from here on, or since it began.
    pub(super) async fn take_epoch(&self, epoch: Epoch, ends_another: bool) {
        let mut order = self.order.lock().await;
        order.rename(epoch);
        if ends_another {
            self.window.begin(Beginning {
                epoch,
                base: order.base().get(),
                start: order.last().get(),
                check: None,
            });
        } else {
            self.window.rename(epoch);
        }
    }
}
