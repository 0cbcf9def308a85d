//! Units and bounds, as short as the table of settings needs them.

use std::time::Duration;

use crate::config::kind::{Count, Period, Size};

/// So many seconds.
pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A time between these.
pub(super) const fn period(min: Duration, max: Duration) -> Period {
    Period { min, max }
}

/// A number between these.
pub(super) const fn count(min: usize, max: usize) -> Count {
    Count { min, max }
}

/// A size between these.
pub(super) const fn size(min: usize, max: usize) -> Size {
    Size { min, max }
}

/// A millisecond.
pub(super) const MS: Duration = Duration::from_millis(1);
/// An hour.
pub(super) const HOUR: Duration = secs(3_600);
/// A day.
pub(super) const DAY: Duration = secs(86_400);
/// A month.
pub(super) const MONTH: Duration = secs(30 * 86_400);
/// 1,024 bytes.
pub(super) const KIB: usize = 1 << 10;
/// 1,024 KiB.
pub(super) const MIB: usize = 1 << 20;
/// 1,024 MiB.
pub(super) const GIB: usize = 1 << 30;
