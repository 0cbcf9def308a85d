//! Reading the stream over one connection, for as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_proto::entry::Position;
use tokio::time::timeout;

use crate::encoding::Message;
use crate::log::{Batch, From, Record, Tail, TailError};
use crate::nats::Server;
use crate::nats::cause::Cause;
use crate::nats::consumer::{Consumer, Delivery, Start};
use crate::nats::link::{KEY, Link};
use crate::nats::stream::{Stream, position};

/// Records that are read together at most.
const BATCH_MAX: usize = 1_000;

/// Their bytes together, unless a single one has more.
const BATCH_BYTES: usize = 4 << 20;

/// A connection that reads the stream.
pub(super) struct Reader {
    server: Arc<Server>,
    link: Link,
    consumer: Consumer,
    /// The sequence number of the message before the next one.
    last: u64,
    /// Where it begins, until the first record was read.
    begins: Option<From>,
    /// Records that were read without the consumer, before its first one.
    fetched: Vec<Record>,
    /// A message that was delivered and is not read yet.
    ahead: Option<Delivery>,
    /// Why there will be no more.
    end: Option<Cause>,
}

impl Reader {
    /// Connects, makes the stream if it does not exist, and begins there.
    pub(super) async fn open(server: Arc<Server>, from: From) -> Result<Self, TailError> {
        let link = Link::open(&server, "high-templar reader").await?;
        let stream = server.stream_or_new(&link).await?;
        server.recognise(&stream, from)?;
        let next = server.start(&link, &stream, from).await?;
        let fetched = server.fetch_stumbling_block(&link, next, from).await?;
        let next = next + fetched.len() as u64;
        let consumer = Consumer::open(&link, &server, Start::At(next)).await?;
        Ok(Self {
            server,
            link,
            consumer,
            last: next - 1,
            begins: Some(from).filter(|_| fetched.is_empty()),
            fetched,
            ahead: None,
            end: None,
        })
    }

    async fn batch(&mut self) -> Result<Batch, TailError> {
        if !self.fetched.is_empty() {
            let records = std::mem::take(&mut self.fetched);
            return Ok(Batch {
                missed: Vec::new(),
                records,
            });
        }
        if self.ahead.is_none() {
            let next = match self.end.take() {
                Some(end) => Err(end),
                None => self.consumer.next(&self.link).await,
            };
            if let Err(Cause::Lost(_)) = next {
                self.server.stumbles().lost_after(self.last);
            }
            self.ahead = Some(next?);
        }
        if let Some(ahead) = &self.ahead
            && ahead.sequence != self.last + 1
        {
            let sequence = ahead.sequence;
            self.pass_over(sequence).await?;
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(delivery) = self.ahead.take_if(|ahead| ahead.sequence == self.last + 1) {
            self.last = delivery.sequence;
            bytes += delivery.message.payload.len();
            records.push(self.server.record(delivery));
            if records.len() == BATCH_MAX || bytes >= BATCH_BYTES {
                break;
            }
            match self.consumer.ready() {
                Ok(next) => self.ahead = next,
                Err(cause) => self.end = Some(cause),
            }
        }
        self.begins = None;
        Ok(Batch {
            missed: Vec::new(),
            records,
        })
    }

    /// The stream has no message between the last one and this one.
    async fn pass_over(&mut self, sequence: u64) -> Result<(), TailError> {
        let next = self.last + 1;
        let is_dropped = match self.begins {
            Some(From::At(_)) => true,
            // It was there a moment ago, and is not missed: nothing was read before it.
            Some(From::Back { .. }) => false,
            Some(From::Head) | None => {
                // Or somebody has deleted it.
                self.server.stream(&self.link).await?.state.first_seq > next
            }
        };
        if is_dropped {
            return Err(TailError::Trimmed(position(next)));
        }
        self.last = sequence - 1;
        Ok(())
    }
}

impl Tail for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        Box::pin(self.batch())
    }

    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A server that is gone has forgotten it.
            let _ = timeout(limit, self.consumer.delete(&self.link)).await;
        })
    }
}

impl Server {
    /// Makes sure that the stream is the one that was read, and has the record that is resumed at.
    fn recognise(&self, stream: &Stream, from: From) -> Result<(), TailError> {
        let mut created = self.created();
        if let From::At(at) = from {
            let is_another = created
                .as_ref()
                .is_some_and(|known| *known != stream.created);
            if is_another || at.get() > stream.state.last_seq {
                return Err(TailError::Rewound(at));
            }
            if stream.first().is_none_or(|first| first > at) {
                return Err(TailError::Trimmed(at));
            }
        }
        *created = Some(stream.created.clone());
        Ok(())
    }

    /// The sequence number of the first message of a reader that begins there.
    async fn start(&self, link: &Link, stream: &Stream, from: From) -> Result<u64, Cause> {
        let next = stream.state.last_seq + 1;
        match from {
            From::Head => Ok(next),
            From::At(at) => Ok(at.get()),
            From::Back { age, positions } => {
                let consumer = Consumer::open(link, self, Start::Age(age)).await?;
                let young = consumer.before + 1;
                consumer.delete(link).await?;
                let back = young.min(next.saturating_sub(positions));
                Ok(back.max(stream.state.first_seq).clamp(1, next))
            }
        }
    }

    /// The record of a message.
    fn record(&self, delivery: Delivery) -> Record {
        let Delivery {
            sequence,
            time,
            message,
        } = delivery;
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get(name).map(async_nats::HeaderValue::as_str)
        };
        Record {
            position: Some(position(sequence)),
            kind: self.names.kind_of(&message.subject),
            key: header(KEY).map(Into::into),
            stamp: time,
            message: Message {
                content_encoding: header("Content-Encoding").map(Into::into),
                body: message.payload.clone(),
            },
        }
    }

    /// The records from one position to another, as many as fit into `bytes_max`, and at least one.
    pub(super) async fn read(
        &self,
        link: &Link,
        (start, end): (Position, Position),
        bytes_max: usize,
    ) -> Result<Vec<Record>, TailError> {
        let stream = self.stream(link).await?;
        if stream.state.first_seq > start.get() {
            return Err(TailError::Trimmed(start));
        }
        let end = end.get().min(stream.state.last_seq);
        let mut records = Vec::new();
        if start.get() > end {
            return Ok(records);
        }
        let mut consumer = Consumer::open(link, self, Start::At(start.get().max(1))).await?;
        let mut bytes = 0;
        loop {
            let delivery = consumer.next(link).await?;
            let sequence = delivery.sequence;
            bytes += delivery.message.payload.len();
            if sequence > end || (bytes > bytes_max && !records.is_empty()) {
                break;
            }
            records.push(self.record(delivery));
            if sequence == end {
                break;
            }
        }
        consumer.delete(link).await?;
        Ok(records)
    }
}
