//! Sends triggers on schedule, in a thread of its own.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Trigger};
use crate::message::{Content, Stamp};
use crate::workload::{Pace, Subscribers, Workload};

/// Numbers the triggers of a run and sends them to the endpoint.
pub struct Publisher {
    endpoint: Box<dyn Endpoint>,
    subscribers: Subscribers,
    data_bytes: usize,
    content: Content,
    epoch: Instant,
    sent: u64,
    // Expected deliveries.
    due: u64,
    // Triggers of each target.
    sequences: Vec<u64>,
    latest: Duration,
}

/// Shared by the clients' thread and the publisher's.
#[derive(Debug, Default)]
pub struct Progress {
    /// Triggers that all their receivers have received.
    pub completed: AtomicU64,
    /// The clients failed, so the publisher stops.
    pub cancelled: AtomicBool,
}

impl Publisher {
    /// A publisher for the run. `epoch` is the zero of its stamps.
    #[must_use]
    pub fn new(endpoint: Box<dyn Endpoint>, workload: &Workload, epoch: Instant) -> Self {
        let (rooms, connections) = (workload.rooms, workload.connections);
        Self {
            endpoint,
            subscribers: Subscribers {
                rooms,
                connections,
                listening: 0,
            },
            data_bytes: workload.data_bytes,
            content: workload.content,
            epoch,
            sent: 0,
            due: 0,
            sequences: vec![0; rooms.targets(connections)],
            latest: Duration::ZERO,
        }
    }

    /// Sends for `duration` at a pace, then waits for the server's responses.
    ///
    /// # Errors
    /// When the endpoint fails.
    pub fn run(&mut self, pace: Pace, duration: Duration, progress: &Progress) -> io::Result<()> {
        let start = Instant::now();
        match pace {
            Pace::Idle => {}
            Pace::Rate { deliveries } => self.at_rate(deliveries, start, duration, progress)?,
            Pace::FlatOut { window } => {
                while start.elapsed() < duration && !progress.cancelled.load(Ordering::Relaxed) {
                    let completed = progress.completed.load(Ordering::Acquire);
                    if self.sent.saturating_sub(completed) < window {
                        self.send_next()?;
                    } else {
                        // Woken when one is complete.
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                }
            }
        }
        self.endpoint.flush()
    }

    fn at_rate(
        &mut self,
        deliveries: f64,
        start: Instant,
        duration: Duration,
        progress: &Progress,
    ) -> io::Result<()> {
        let Subscribers {
            rooms, connections, ..
        } = self.subscribers;
        let receivers = rooms.receivers_mean(connections);
        let interval = Duration::from_secs_f64(receivers / deliveries);
        let mut due = start;
        while due < start + duration && !progress.cancelled.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < due {
                std::thread::sleep(due - now);
                continue;
            }
            self.latest = self.latest.max(now - due);
            self.send_next()?;
            due += interval;
        }
        Ok(())
    }

    /// Sends one trigger, stamped with the current time.
    ///
    /// # Errors
    /// When the endpoint fails.
    pub fn send_next(&mut self) -> io::Result<()> {
        let Subscribers {
            rooms, connections, ..
        } = self.subscribers;
        let target = rooms.target_of(self.sent, connections);
        let sequence = &mut self.sequences[target as usize];
        let stamp = Stamp {
            trigger: self.sent,
            sequence: *sequence,
            sent_ns: self.epoch.elapsed().as_nanos() as u64,
        };
        *sequence += 1;
        self.due += self.subscribers.receivers_of(self.sent) as u64;
        self.sent += 1;
        self.endpoint.send(&Trigger {
            rooms,
            target,
            stamp,
            data_bytes: self.data_bytes,
            content: self.content,
        })
    }

    /// Number of clients, if only the server knows it; see [`Endpoint::joined`].
    ///
    /// # Errors
    /// When it does not respond.
    pub fn joined(&mut self) -> io::Result<Option<usize>> {
        self.endpoint.joined()
    }

    /// Triggers sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Triggers sent so far for a target.
    #[must_use]
    pub fn sent_to(&self, target: u32) -> u64 {
        self.sequences.get(target as usize).copied().unwrap_or(0)
    }

    /// Sets the number of connections that receive triggers from now on.
    pub fn set_listening(&mut self, listening: usize) {
        self.subscribers.listening = listening;
    }

    /// Deliveries expected so far.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Returns and resets the maximum delay of a trigger against its schedule.
    pub fn take_latest(&mut self) -> Duration {
        std::mem::take(&mut self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Grants, Rooms};

    struct Kept(std::sync::mpsc::SyncSender<Trigger>);

    impl Endpoint for Kept {
        fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
            self.0.send(*trigger).map_err(io::Error::other)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn workload(rooms: Rooms, connections: usize) -> Workload {
        Workload {
            rooms,
            connections,
            pace: Pace::Idle,
            warm_up: Duration::ZERO,
            measured: Duration::ZERO,
            data_bytes: 128,
            content: Content::Filler,
            stalled: 0,
            deflate: false,
            pings: None,
            storm: None,
            spread: None,
            away: None,
            grants: Grants::Shared,
            answer_after: Duration::ZERO,
            browser: false,
            joining: 1,
            patience: Duration::from_secs(1),
            settle: Duration::ZERO,
        }
    }

    #[test]
    fn every_room_has_its_turn_and_its_own_numbers() {
        for connections in [1, 2, 7, 1000] {
            let (sender, kept) = std::sync::mpsc::sync_channel(2 * connections);
            let workload = workload(Rooms::Unicast, connections);
            let mut publisher = Publisher::new(Box::new(Kept(sender)), &workload, Instant::now());
            for round in 0..2 {
                let mut seen = vec![false; connections];
                for _ in 0..connections {
                    publisher.send_next().unwrap();
                    let trigger = kept.recv().unwrap();
                    assert!(!std::mem::replace(&mut seen[trigger.target as usize], true));
                    assert_eq!(trigger.stamp.sequence, round);
                }
            }
            assert!((0..connections).all(|c| publisher.sent_to(c as u32) == 2));
            assert_eq!(publisher.sent(), 2 * connections as u64);
        }
    }

    #[test]
    fn a_rate_is_kept() {
        let (sender, kept) = std::sync::mpsc::sync_channel(1000);
        let workload = workload(Rooms::FanOut, 10);
        let mut publisher = Publisher::new(Box::new(Kept(sender)), &workload, Instant::now());
        let pace = Pace::Rate { deliveries: 5000.0 };
        publisher
            .run(pace, Duration::from_millis(100), &Progress::default())
            .unwrap();
        let times: Vec<u64> = kept.try_iter().map(|t| t.stamp.sent_ns).collect();
        assert_eq!(times.len(), 50);
        assert!(times[49] >= 98_000_000, "{times:?}");
    }

    #[test]
    fn a_window_is_not_exceeded() {
        let (sender, kept) = std::sync::mpsc::sync_channel(1000);
        let workload = workload(Rooms::FanOut, 10);
        let mut publisher = Publisher::new(Box::new(Kept(sender)), &workload, Instant::now());
        let progress = Progress::default();
        progress.completed.store(3, Ordering::Release);
        let pace = Pace::FlatOut { window: 8 };
        publisher
            .run(pace, Duration::from_millis(20), &progress)
            .unwrap();
        assert_eq!(kept.try_iter().count(), 11);
    }
}
