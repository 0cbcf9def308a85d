//! Results of the delivery probes of a node: whether triggers reach the shards.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the histogram of lags, in seconds.
const LAGS: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Results of the probes.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Why the last probe failed.
    trouble: Mutex<Option<String>>,
    /// The probe in progress has been ordered by the sequencer.
    arrived: AtomicBool,
    /// By shard: whether it has taken a probe since the last one was started.
    taken: Vec<AtomicBool>,
    /// Which shards did not take the last probe while others did, as a sentence.
    lagging: Mutex<Option<String>>,
    /// By shard: number of consecutive probes that it did not take.
    failed: Vec<AtomicU32>,
    /// Nanoseconds that the last successful probe took.
    lag: AtomicU64,
    lags: Histogram,
}

impl Delivery {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            trouble: Mutex::default(),
            arrived: AtomicBool::new(false),
            taken: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            lagging: Mutex::default(),
            failed: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            lag: AtomicU64::new(0),
            lags: Histogram::new(LAGS),
        }
    }

    /// A probe is started.
    pub(crate) fn begin(&self) {
        self.arrived.store(false, Ordering::Relaxed);
        for taken in &self.taken {
            taken.store(false, Ordering::Relaxed);
        }
    }

    /// A shard took a probe.
    pub(crate) fn taken(&self, shard: usize) {
        if let Some(taken) = self.taken.get(shard) {
            taken.store(true, Ordering::Relaxed);
        }
    }

    /// The shards that did not take the probe that was started last.
    pub(crate) fn late(&self) -> Vec<usize> {
        let shards = self.taken.iter().enumerate();
        let late = shards.filter(|(_, taken)| !taken.load(Ordering::Relaxed));
        late.map(|(index, _)| index).collect()
    }

    /// Records which shards did not take a probe; returns the highest number of consecutive probes
    /// that any of them did not take.
    pub(crate) fn count_late(&self, late: &[usize]) -> u32 {
        let mut worst = 0;
        for (index, failed) in self.failed.iter().enumerate() {
            let count = if late.contains(&index) {
                failed.load(Ordering::Relaxed).saturating_add(1)
            } else {
                0
            };
            failed.store(count, Ordering::Relaxed);
            worst = worst.max(count);
        }
        worst
    }

    pub(crate) fn lagging(&self) -> Option<String> {
        let lagging = self.lagging.lock();
        lagging.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records which shards lag behind now; returns the previous value.
    pub(crate) fn set_lagging(&self, now: Option<String>) -> Option<String> {
        let mut known = self.lagging.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, now)
    }

    /// A probe has been ordered.
    pub(crate) fn arrived(&self) {
        self.arrived.store(true, Ordering::Relaxed);
    }

    /// Whether the probe in progress has been ordered.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Number of shards that must take a probe.
    pub(crate) fn shards(&self) -> usize {
        self.taken.len()
    }

    /// Seconds that the last successful probe took.
    pub(crate) fn lag(&self) -> f64 {
        Duration::from_nanos(self.lag.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// The same for all probes.
    pub(crate) fn lags(&self) -> &Histogram {
        &self.lags
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the current failure; returns the previous one.
    pub(crate) fn note(&self, trouble: Option<String>) -> Option<String> {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, trouble)
    }

    pub(crate) fn took(&self, lag: Duration) {
        let nanos = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
        self.lag.store(nanos, Ordering::Relaxed);
        self.lags.observe(lag.as_secs_f64());
    }
}
