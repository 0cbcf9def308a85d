//! Closing connections in waves, so that their clients reconnect without stampeding the API.

use std::time::Duration;

use ht_proto::close::Close;

/// Connections whose clients may reconnect within a second without noticeable load: fewer need no
/// spread over the whole period.
const RETURNS_PER_SECOND: u64 = 100;

/// The reconnect span sent to clients when many are closed at once.
const SPAN_AT_ONCE: Duration = Duration::from_secs(5);

/// Interval between two waves of closed connections.
pub const WAVE: Duration = Duration::from_millis(50);

/// The span within which the clients of one wave for a gap reconnect, where the waves spread the
/// load.
const JITTER: Duration = Duration::from_secs(1);

/// How the connections of one shard are closed for a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapWaves {
    /// Connections of the shard that are closed in each wave.
    pub count: usize,
    /// The close reason that their clients receive.
    pub close: Close,
}

impl GapWaves {
    /// For `own` of the node's `open` connections. `period` bounds the time for all.
    #[must_use]
    pub fn new(open: u64, own: u64, period: Duration) -> Self {
        let needed = time_to_return(open.max(1));
        let over = needed.min(period);
        let waves = waves(over).max(1);
        let count = own.div_ceil(waves).max(1);
        let jitter = if over.is_zero() { SPAN_AT_ONCE } else { JITTER };
        Self {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            close: Close::GAP.within(ms(needed.min(jitter))),
        }
    }
}

/// How all connections are closed before a node shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainWaves {
    /// From the first to the last.
    pub over: Duration,
    /// The reconnect span sent to clients.
    span: Duration,
}

impl DrainWaves {
    /// For `open` connections, over `period` at most and half of `timeout`: the other half is for
    /// the later steps, which are replies to close frames, hooks and the broker.
    #[must_use]
    pub fn new(open: u64, period: Duration, timeout: Duration) -> Self {
        let needed = time_to_return(open);
        let over = needed.min(period).min(timeout / 2);
        Self {
            over,
            span: needed.min(over.max(SPAN_AT_ONCE)),
        }
    }

    /// The close reason that clients receive.
    #[must_use]
    pub fn close(&self) -> Close {
        Close::RESTART.within(ms(self.span))
    }

    /// How many waves there are before the shards are drained, which is the last one.
    #[must_use]
    pub fn waves(&self) -> u64 {
        waves(self.over)
    }

    /// How many of a shard's `open` connections are closed in a wave with `left` waves after it.
    #[must_use]
    pub fn count(open: u64, left: u64) -> usize {
        usize::try_from(open / left.saturating_add(2)).unwrap_or(usize::MAX)
    }
}

fn time_to_return(connections: u64) -> Duration {
    Duration::from_millis(connections.saturating_mul(1_000 / RETURNS_PER_SECOND))
}

fn waves(over: Duration) -> u64 {
    u64::try_from(over.as_millis() / WAVE.as_millis()).unwrap_or(u64::MAX)
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(open: u64, own: u64, period_ms: u64) -> (usize, String) {
        let waves = GapWaves::new(open, own, Duration::from_millis(period_ms));
        (waves.count, waves.close.reason().into_owned())
    }

    fn drain(period: u64, timeout: u64, open: u64) -> (u128, String) {
        let [period, timeout] = [period, timeout].map(Duration::from_millis);
        let waves = DrainWaves::new(open, period, timeout);
        (waves.over.as_millis(), waves.close().reason().into_owned())
    }

    #[test]
    fn connections_are_closed_for_a_gap_as_fast_as_they_may_reconnect() {
        // Two shards with 150 connections each: 3 s, 60 waves.
        assert_eq!(gap(300, 150, 30_000), (3, "gap 1000".into()));
        // Never longer than the period.
        assert_eq!(gap(100_000, 50_000, 30_000), (84, "gap 1000".into()));
        // A few at once, with the span that they need to reconnect.
        assert_eq!(gap(3, 2, 30_000), (2, "gap 30".into()));
        assert_eq!(gap(0, 0, 30_000), (1, "gap 10".into()));
    }

    #[test]
    fn without_a_period_clients_spread_their_reconnects_after_a_gap() {
        assert_eq!(gap(100_000, 50_000, 0), (50_000, "gap 5000".into()));
        assert_eq!(gap(20, 20, 0), (20, "gap 200".into()));
    }

    #[test]
    fn few_connections_need_no_spread_in_a_drain_and_many_have_the_period() {
        assert_eq!(drain(5_000, 20_000, 0), (0, "restart".into()));
        assert_eq!(drain(5_000, 20_000, 3), (30, "restart 30".into()));
        assert_eq!(
            drain(5_000, 20_000, 100_000),
            (5_000, "restart 5000".into())
        );
        assert_eq!(
            drain(30_000, 90_000, 100_000),
            (30_000, "restart 30000".into())
        );
    }

    #[test]
    fn without_a_period_clients_spread_their_reconnects_after_a_drain() {
        assert_eq!(drain(0, 20_000, 100_000), (0, "restart 5000".into()));
        assert_eq!(drain(0, 20_000, 20), (0, "restart 200".into()));
    }

    #[test]
    fn half_of_the_timeout_of_a_drain_is_left_for_the_rest() {
        assert_eq!(drain(5_000, 1_000, 100_000), (500, "restart 5000".into()));
    }

    #[test]
    fn waves_of_a_drain_close_equal_parts_and_leave_one_for_the_end() {
        let waves = DrainWaves::new(100, Duration::from_secs(5), Duration::from_secs(20));
        assert_eq!(waves.waves(), 20);
        let mut open = 100;
        let mut closed = Vec::new();
        for left in (0..4).rev() {
            let count = DrainWaves::count(open, left);
            open -= count as u64;
            closed.push(count);
        }
        assert_eq!((closed, open), (vec![20, 20, 20, 20], 20));
    }
}
