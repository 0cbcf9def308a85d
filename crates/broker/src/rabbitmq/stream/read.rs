//! Reading a part of the stream.

use std::ops::RangeInclusive;

use futures_util::StreamExt;
use ht_proto::entry::Position;
use lapin::options::BasicAckOptions;

use crate::log::{Record, TailError};
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::stream::end::{Start, consume, first_from, offset_of};
use crate::rabbitmq::stream::tail::record;
use crate::rabbitmq::stream::{RabbitMqStream, offset, position};
use crate::rabbitmq::wire::{self, Wire};

impl RabbitMqStream {
    /// The messages in this range, as many as fit into `bytes_max`, and at least one.
    pub(super) async fn read_range(
        &self,
        range: RangeInclusive<Position>,
        bytes_max: usize,
    ) -> Result<Vec<Record>, TailError> {
        let wire = Wire::connect(&self.uri, "high-templar reader").await?;
        let first = first_from(&wire, &self.name, Start::First).await?;
        if first.is_some_and(|first| position(first) > *range.start()) {
            return Err(TailError::Trimmed(*range.start()));
        }
        // Everything up to here arrives.
        let end = position(self.end(&wire).await?).min(*range.end());
        let records = self.collect(&wire, *range.start(), end, bytes_max).await?;
        wire.close(wire::STEP_TIMEOUT).await;
        Ok(records)
    }

    async fn collect(
        &self,
        wire: &Wire,
        start: Position,
        end: Position,
        bytes_max: usize,
    ) -> Result<Vec<Record>, Cause> {
        let mut records = Vec::new();
        if start > end {
            return Ok(records);
        }
        let start = Start::Offset(offset(start));
        let (_channel, mut deliveries) = consume(wire, &self.name, self.prefetch, start).await?;
        let mut bytes = 0;
        loop {
            let next = tokio::time::timeout(wire::STEP_TIMEOUT, deliveries.next()).await;
            let next = next.map_err(|_elapsed| Cause::Silent(wire::STEP_TIMEOUT))?;
            let mut delivery = next.ok_or(Cause::Cancelled)??;
            let at = position(offset_of(&delivery).ok_or(Cause::NoStream)?);
            if at > end {
                return Ok(records);
            }
            if let Some(record) = record(&mut delivery)? {
                bytes += record.message.body.len();
                if bytes > bytes_max && !records.is_empty() {
                    return Ok(records);
                }
                records.push(record);
            }
            if at == end {
                return Ok(records);
            }
            wire::step(delivery.acker.ack(BasicAckOptions::default())).await?;
        }
    }
}
