//! The gap detector where the publisher and the consumer share it, and the header that numbers
//! travel in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::watch;
use uuid::Uuid;

use crate::gap_detector::GapDetector;
use crate::missed::Missed;
use crate::numbers::{Line, Sequence, Serial};

/// The header's name. Other gateways and publishers pass over it.
const HEADER: &str = "high-templar-sequence";

/// Numbers this node's messages, and detects missing ones.
#[derive(Debug)]
pub(super) struct Numbering {
    detector: Mutex<GapDetector>,
    /// The clock of the detector begins here.
    since: Instant,
    /// The last own message that was read back.
    back: watch::Sender<Serial>,
}

impl Default for Numbering {
    fn default() -> Self {
        Self {
            detector: Mutex::new(GapDetector::new(Uuid::new_v4())),
            since: Instant::now(),
            back: watch::Sender::default(),
        }
    }
}

impl Numbering {
    /// A new queue is bound.
    pub(super) fn queue_bound(&self) {
        self.lock().queue_bound(self.since.elapsed());
    }

    /// The queue is bound again, and a gap is reported.
    pub(super) fn reported(&self) {
        self.lock().reported();
    }

    /// A message arrived. Returns the gap where numbered messages before it are missing.
    pub(super) fn arrived(&self, delivery: &Delivery) -> Option<Missed> {
        let sequence = read(delivery)?;
        let mut detector = self.lock();
        let missed = detector.arrived(&sequence, self.since.elapsed());
        let back = detector.last_back();
        drop(detector);
        self.back.send_if_modified(|last| {
            let newer = back > *last;
            *last = back.max(*last);
            newer
        });
        missed
    }

    /// A new publishing connection.
    pub(super) fn open_line(&self) -> Line {
        self.lock().open_line()
    }

    /// The sequence to state in the next message of a line.
    pub(super) fn next(&self, line: &Mutex<Line>) -> Sequence {
        let line = line.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().next(&line)
    }

    /// The message that states this, the next one of its line, is on its way.
    pub(super) fn used(&self, line: &Mutex<Line>, sequence: &Sequence) {
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().used(&mut line, sequence);
    }

    /// The broker has confirmed this message, and returned none before it.
    pub(super) fn confirmed(&self, serial: Serial) {
        self.lock().confirmed(serial);
    }

    /// Waits until this message or a later one is read back. Returns false if not within `limit`.
    pub(super) async fn is_back(&self, serial: Serial, limit: Duration) -> bool {
        let mut back = self.back.subscribe();
        let came = back.wait_for(|back| *back >= serial);
        matches!(tokio::time::timeout(limit, came).await, Ok(Ok(_)))
    }

    fn lock(&self) -> MutexGuard<'_, GapDetector> {
        self.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sequence stated in a message; `None` if it is absent or malformed.
fn read(delivery: &Delivery) -> Option<Sequence> {
    let headers = delivery.properties.headers().as_ref()?;
    let AMQPValue::LongString(value) = headers.inner().get(HEADER)? else {
        return None;
    };
    std::str::from_utf8(value.as_bytes())
        .ok()
        .and_then(Sequence::parse)
}

/// The headers to publish with.
pub(super) fn headers(sequence: &Sequence) -> FieldTable {
    let mut headers = FieldTable::default();
    let value = AMQPValue::LongString(sequence.to_string().into());
    headers.insert(HEADER.into(), value);
    headers
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;

    use super::*;

    fn delivery(value: AMQPValue) -> Delivery {
        let mut table = FieldTable::default();
        table.insert(HEADER.into(), value);
        let mut delivery = Delivery::mock(1, "x".into(), "*".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_headers(table);
        delivery
    }

    fn sequence(numbering: &Numbering, line: &Mutex<Line>) -> Delivery {
        let sequence = numbering.next(line);
        numbering.used(line, &sequence);
        let headers = headers(&sequence);
        delivery(headers.inner().get(HEADER).unwrap().clone())
    }

    #[tokio::test]
    async fn a_published_message_is_read_back() {
        let numbering = Numbering::default();
        let line = Mutex::new(numbering.open_line());
        let deliveries: Vec<_> = (0..3).map(|_| sequence(&numbering, &line)).collect();
        let at = |number| Serial { line: 1, number };
        for delivery in &deliveries[..2] {
            assert!(numbering.arrived(delivery).is_none());
        }
        assert!(numbering.is_back(at(2), Duration::ZERO).await);
        assert!(!numbering.is_back(at(3), Duration::ZERO).await);
    }

    #[test]
    fn headers_of_others_are_ignored() {
        for value in [
            AMQPValue::LongString("nonsense".into()),
            AMQPValue::LongString(vec![0xff].into()),
            AMQPValue::LongLongInt(7),
        ] {
            assert_eq!(read(&delivery(value)), None);
        }
    }
}
