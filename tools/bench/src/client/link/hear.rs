//! What a client that has joined makes of a message.

use super::dialect::nats::Said;
use super::dialect::{Dialect, nats};
use super::frame::Frame;
use super::{Link, LinkError, Shared, dialect, frame};
use crate::message;
use crate::message::Stamp;
use crate::workload::Audience;

impl Link {
    /// Takes every message out of a frame that is a piece of a stream, and keeps the beginning
    /// of one whose end has not come.
    pub(super) fn hear_stream(
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
        while let Some((said, length)) = nats::next(rest)
            .map_err(|_| LinkError::Ended(format!("said {}", dialect::beginning(rest))))?
        {
            rest = &rest[length..];
            match said {
                Said::Message(payload) => {
                    let message = Frame {
                        payload,
                        length,
                        ..*frame
                    };
                    self.count(&message, now_ns, all);
                }
                Said::Ping => self.say_text("PONG\r\n", all)?,
                Said::Pong | Said::Info => {}
                Said::Error(line) => {
                    return Err(LinkError::Ended(dialect::beginning(line)));
                }
            }
        }
        self.unfinished = rest.to_vec();
        Ok(())
    }

    /// Takes a message of a client that has joined.
    pub(super) fn hear(&mut self, frame: &Frame<'_>, now_ns: u64, all: &mut Shared<'_>) {
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
        let Audience {
            rooms, connections, ..
        } = all.audience;
        let stamp = Stamp::find(frame.payload, &mut self.hints.0);
        let subscription = self.subscription(frame, all.dialect);
        let meant = stamp.zip(subscription).filter(|(stamp, subscription)| {
            rooms.target(self.who.number, *subscription)
                == rooms.target_of(stamp.trigger, connections)
        });
        let Some((stamp, subscription)) = meant else {
            tally.faults.stray += 1;
            let said = || {
                let said = dialect::beginning(frame.payload);
                format!("not for client {}: {said}", self.who.number)
            };
            tally.first_fault.get_or_insert_with(said);
            return;
        };
        let before = tally.faults;
        let check = &mut self.checks[subscription as usize];
        if check.hear(stamp.sequence, &mut tally.faults) {
            tally.count(stamp.trigger, &all.audience);
        }
        if tally.faults != before {
            let said = || format!("client {}: not its turn: {stamp:?}", self.who.number);
            tally.first_fault.get_or_insert_with(said);
        }
        tally.latency.add(now_ns.saturating_sub(stamp.sent_ns));
        tally.frame_bytes = frame.length;
    }

    /// Which of this client's subscriptions a message is for, by its `requestId`, where messages
    /// carry one.
    fn subscription(&mut self, frame: &Frame<'_>, dialect: Dialect) -> Option<u32> {
        if ![frame::TEXT, frame::BINARY].contains(&frame.opcode) {
            return None;
        }
        if !dialect.has_request_ids() {
            return Some(0);
        }
        let id = message::uuid_text(self.who.request_id);
        // All subscriptions have this in common; the number is behind it.
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
