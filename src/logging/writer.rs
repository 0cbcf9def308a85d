//! The log's writer: a thread of its own, the only one that may wait for the log's reader.
//!
//! A pipe without a reader or a disk that is full blocks no other thread. Lines that do not fit
//! into the queue, or cannot be written, are counted; once lines can be written again, one reports
//! how many were lost.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Queued lines.
const LINES: usize = 1_024;

/// Queued bytes, in all.
const BYTES: usize = 4 << 20;

/// How long the process waits at its end until the queued lines are written.
const FLUSH: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// Answer when all before is written.
    Flush(SyncSender<()>),
}

/// The queue to the thread.
#[derive(Clone)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
    dropped: &'static AtomicU64,
}

impl Queue {
    /// Starts the thread. Lines that are lost count in `dropped`.
    pub(super) fn to(
        out: impl Write + Send + 'static,
        dropped: &'static AtomicU64,
    ) -> io::Result<Self> {
        let (messages, next) = mpsc::sync_channel(LINES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&bytes);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &next, &waiting, dropped))?;
        Ok(Self {
            messages,
            bytes,
            dropped,
        })
    }

    /// Waits until the lines queued so far are written, but not for long.
    pub(super) fn flush(&self) {
        let (written, done) = mpsc::sync_channel(1);
        if self.messages.try_send(Message::Flush(written)).is_ok() {
            // Timeout, or the thread has ended: then there is no reader.
            let _ = done.recv_timeout(FLUSH);
        }
    }

    fn send(&self, line: &[u8]) {
        let len = line.len();
        let waiting = self.bytes.fetch_add(len, Ordering::Relaxed);
        let fits = waiting + len <= BYTES;
        if !(fits && self.messages.try_send(Message::Line(line.into())).is_ok()) {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One line for the queue.
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    /// The subscriber writes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

fn write(
    mut out: impl Write,
    next: &Receiver<Message>,
    waiting: &AtomicUsize,
    dropped: &AtomicU64,
) {
    let mut told = 0;
    while let Ok(message) = next.recv() {
        match message {
            Message::Line(line) => {
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
                if out.write_all(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let lost = dropped.load(Ordering::Relaxed);
                if lost > told {
                    let lines = lost - told;
                    told = lost;
                    // It is queued behind the others, or is one of the lost lines.
                    tracing::warn!(
                        lines,
                        "log lines were dropped: stderr could not be written to, or not as fast as \
                         needed. Make room where the log is stored, or lower log.level"
                    );
                }
            }
            // The waiter is gone if it timed out.
            Message::Flush(written) => drop(written.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts as much as configured.
    struct Reader(Receiver<io::Result<()>>, SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().expect("a permission")?;
            self.1.send(line.to_vec()).expect("a test");
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_blocks_no_thread_and_lost_lines_are_counted() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (permit, permits) = mpsc::sync_channel(2 * LINES);
        let (written, lines) = mpsc::sync_channel(2 * LINES);
        let queue = Queue::to(Reader(permits, written), &DROPPED).unwrap();
        // One is with the reader, the queue is full, and some are too many.
        for number in 0..LINES + 11 {
            queue.send(number.to_string().as_bytes());
        }
        let lost = DROPPED.load(Ordering::Relaxed);
        assert!((10..=11).contains(&lost), "{lost}");
        for number in 0..LINES {
            permit.send(Ok(())).unwrap();
            assert_eq!(lines.recv().unwrap(), number.to_string().as_bytes());
        }
        // Too many bytes are too many as well.
        queue.send(&vec![b'x'; BYTES + 1]);
        let now = DROPPED.load(Ordering::Relaxed);
        assert_eq!(now, lost + 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_is_tried() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (permit, permits) = mpsc::sync_channel(2 * LINES);
        let (written, lines) = mpsc::sync_channel(2 * LINES);
        let queue = Queue::to(Reader(permits, written), &DROPPED).unwrap();
        queue.send(b"lost");
        queue.send(b"kept");
        permit.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        permit.send(Ok(())).unwrap();
        assert_eq!(lines.recv().unwrap(), b"kept");
        assert!(DROPPED.load(Ordering::Relaxed) > 0);
        queue.flush();
    }
}
