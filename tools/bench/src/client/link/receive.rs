//! Messages of a client that has joined.

use super::dialect::nats::Line;
use super::dialect::{Dialect, nats};
use super::frame::Frame;
use super::{Link, LinkError, Shared, dialect, frame};
use crate::message;
use crate::message::Stamp;
use crate::workload::Subscribers;

impl Link {
    /// Handles every message in a frame that is part of a stream, and keeps the beginning of an
    /// incomplete one.
    pub(super) fn receive_stream(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        let joined;
        let mut rest = frame.payload;
        if !self.unfinished.is_empty() {
            joined = [&std::mem::take(&mut self.unfinished), rest].concat();
            rest = &joined;
        }
        while let Some((line, length)) = nats::next(rest)
            .map_err(|_| LinkError::Ended(format!("received {}", dialect::beginning(rest))))?
        {
            rest = &rest[length..];
            match line {
                Line::Message(payload) => {
                    let message = Frame {
                        payload,
                        length,
                        ..*frame
                    };
                    self.count(&message, now_ns, all);
                }
                Line::Ping => self.send_text("PONG\r\n", all)?,
                Line::Pong | Line::Info => {}
                Line::Error(line) => {
                    return Err(LinkError::Ended(dialect::beginning(line)));
                }
            }
        }
        self.unfinished = rest.to_vec();
        Ok(())
    }

    /// Handles a message of a client that has joined.
    pub(super) fn receive(&mut self, frame: &Frame<'_>, now_ns: u64, all: &mut Shared<'_>) {
        if all.dialect.is_pong(frame.payload) {
            all.tally.pongs += 1;
        } else if self.awaited > 0 && dialect::is_success(frame.payload) {
            self.awaited -= 1;
            all.tally.answers += 1;
        } else {
            self.count(frame, now_ns, all);
        }
    }

    fn count(&mut self, frame: &Frame<'_>, now_ns: u64, all: &mut Shared<'_>) {
        let tally = &mut *all.tally;
        let Subscribers {
            rooms, connections, ..
        } = all.subscribers;
        let stamp = Stamp::find(frame.payload, &mut self.hints.0);
        let subscription = self.subscription(frame, all.dialect);
        let expected = stamp.zip(subscription).filter(|(stamp, subscription)| {
            rooms.target(self.identity.number, *subscription)
                == rooms.target_of(stamp.trigger, connections)
        });
        let Some((stamp, subscription)) = expected else {
            tally.faults.stray += 1;
            let fault = || {
                let message = dialect::beginning(frame.payload);
                format!("not for client {}: {message}", self.identity.number)
            };
            tally.first_fault.get_or_insert_with(fault);
            return;
        };
        let before = tally.faults;
        let check = &mut self.checks[subscription as usize];
        if check.receive(stamp.sequence, &mut tally.faults) {
            tally.count(stamp.trigger, &all.subscribers);
        }
        if tally.faults != before {
            let fault = || {
                format!(
                    "client {}: out of sequence: {stamp:?}",
                    self.identity.number
                )
            };
            tally.first_fault.get_or_insert_with(fault);
        }
        tally.latency.add(now_ns.saturating_sub(stamp.sent_ns));
        tally.frame_bytes = frame.length;
    }

    /// The subscription that a message is for, by its `requestId` if the protocol has it.
    fn subscription(&mut self, frame: &Frame<'_>, dialect: Dialect) -> Option<u32> {
        if ![frame::TEXT, frame::BINARY].contains(&frame.opcode) {
            return None;
        }
        if !dialect.has_request_ids() {
            return Some(0);
        }
        let id = message::uuid_text(self.identity.request_id);
        // All subscriptions share this prefix; their number follows.
        let (common, _) = id.split_at(id.len() - 4);
        let place = self.hints.1;
        let found = frame
            .payload
            .get(place..)
            .is_some_and(|p| p.starts_with(common));
        if !found {
            let mut windows = frame.payload.windows(common.len());
            self.hints.1 = windows.position(|w| w == common)?;
        }
        let at = self.hints.1 + common.len();
        let digits = std::str::from_utf8(frame.payload.get(at..at + 4)?).ok()?;
        let subscription = u32::from_str_radix(digits, 16).ok()?;
        ((subscription as usize) < self.checks.len()).then_some(subscription)
    }
}
