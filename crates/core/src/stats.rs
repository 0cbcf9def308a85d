//! What a shard counts.

use ht_proto::code::ErrorCode;

use crate::peer::Eviction;

/// A shard's totals. Gauges say what is now, the others what was since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Gauge: admitted connections.
    pub connections: u64,
    /// Gauge: rooms with a subscriber.
    pub rooms: u64,
    /// Gauge: subscriptions.
    pub subscriptions: u64,
    /// Gauge: publish frames that wait for a slow client.
    pub queued: u64,
    /// Connections that were admitted.
    pub admitted: u64,
    /// Visitors that were refused or failed.
    pub refused: u64,
    /// Clients' messages, valid or not.
    pub messages: u64,
    /// Publish frames handed to the system.
    pub deliveries: u64,
    /// Publish frames that were lost with their connection.
    pub undelivered: u64,
    /// Publications that were matched.
    pub publications: u64,
    /// Publications that were compressed: each by one shard, whoever hears it.
    pub deflated: u64,
    /// Bytes of their heads before.
    pub deflate_bytes_in: u64,
    /// Bytes of their heads after; those that did not become smaller count as they are.
    pub deflate_bytes_out: u64,
    /// Connections that broke the protocol.
    pub violations: u64,
    /// Connections that were idle for too long.
    pub idle_timeouts: u64,
    /// Connections that did not answer a control ping.
    pub no_pongs: u64,
    /// Error replies, by [`ErrorCode`].
    pub errors: [u64; ErrorCode::ALL.len()],
    /// Evicted connections, by [`Eviction`].
    pub evictions: [u64; Eviction::ALL.len()],
}

/// How many fields are plain numbers.
const PLAIN: usize = 16;

impl Stats {
    /// How many numbers there are in all.
    pub const LEN: usize = PLAIN + ErrorCode::ALL.len() + Eviction::ALL.len();

    /// All numbers in a fixed order, so that they can be shared and summed.
    #[must_use]
    pub fn to_array(&self) -> [u64; Self::LEN] {
        let plain: [u64; PLAIN] = [
            self.connections,
            self.rooms,
            self.subscriptions,
            self.queued,
            self.admitted,
            self.refused,
            self.messages,
            self.deliveries,
            self.undelivered,
            self.publications,
            self.deflated,
            self.deflate_bytes_in,
            self.deflate_bytes_out,
            self.violations,
            self.idle_timeouts,
            self.no_pongs,
        ];
        let mut all = plain
            .iter()
            .chain(&self.errors)
            .chain(&self.evictions)
            .copied();
        std::array::from_fn(|_| all.next().unwrap_or_default())
    }

    /// The numbers that [`Self::to_array`] gave, or sums of such.
    #[must_use]
    pub fn from_array(all: [u64; Self::LEN]) -> Self {
        let mut all = all.into_iter();
        let mut next = || all.next().unwrap_or_default();
        Self {
            connections: next(),
            rooms: next(),
            subscriptions: next(),
            queued: next(),
            admitted: next(),
            refused: next(),
            messages: next(),
            deliveries: next(),
            undelivered: next(),
            publications: next(),
            deflated: next(),
            deflate_bytes_in: next(),
            deflate_bytes_out: next(),
            violations: next(),
            idle_timeouts: next(),
            no_pongs: next(),
            errors: std::array::from_fn(|_| next()),
            evictions: std::array::from_fn(|_| next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_holds_every_number_once() {
        let numbers: [u64; Stats::LEN] = std::array::from_fn(|index| index as u64 + 1);
        assert_eq!(Stats::from_array(numbers).to_array(), numbers);
    }
}
