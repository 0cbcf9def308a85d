//! Messages that end the connection of whoever they are delivered to.
//!
//! The library closes a connection over which it receives headers that it cannot read, such as ones in
//! Latin-1. The server stores them all the same, so a node that only connected anew would stay there
//! until the message is dropped. One over which a tail was lost twice is asked for by its number
//! instead: JetStream answers with JSON, in which headers are encoded. So are those that follow, because
//! whoever sends one such message sends others.

use std::time::Duration;

use async_nats::Subject;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::encoding::Message;
use crate::log::{From, Record};
use crate::nats::Server;
use crate::nats::cause::Cause;
use crate::nats::link::{KEY, Link};
use crate::nats::stream::position;

/// A connection that is lost so often at the same message is lost because of it; once there was such a
/// message, one loss suffices.
const TIMES: u32 = 2;

/// Messages that are asked for by their number at once.
const FETCHED_MAX: u64 = 256;

/// Time for that.
const FETCH: Duration = Duration::from_secs(1);

/// Where tails were lost.
#[derive(Debug, Default)]
pub(super) struct Stumbles {
    /// The sequence number of the last message that was read before.
    last: u64,
    /// How often in a row.
    times: u32,
    /// There was a block before.
    is_wary: bool,
}

impl Stumbles {
    /// A tail was lost after it had read this message.
    pub(super) const fn lost_after(&mut self, last: u64) {
        if self.last == last {
            self.times += 1;
        } else {
            (self.last, self.times) = (last, if self.is_wary { TIMES } else { 1 });
        }
    }

    /// Whether the message after this one is to be read another way. Then it is tried again.
    const fn take(&mut self, last: u64) -> bool {
        let is_block = self.last == last && self.times >= TIMES;
        if is_block {
            (self.times, self.is_wary) = (0, true);
        }
        is_block
    }
}

#[derive(Deserialize)]
struct Answer {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    /// When it was stored.
    #[serde(default)]
    time: String,
}

impl Server {
    /// The record that tails stumble over, if one that begins with `next` would, and those after it:
    /// with the one before, where that is resumed at.
    pub(super) async fn fetch_stumbling_block(
        &self,
        link: &Link,
        next: u64,
        from: From,
    ) -> Result<Vec<Record>, Cause> {
        let resumes = matches!(from, From::At(_));
        let block = if resumes { next + 1 } else { next };
        let mut records = Vec::new();
        if !self.stumbles().take(block - 1) {
            return Ok(records);
        }
        let begun = Instant::now();
        for sequence in next..block.saturating_add(FETCHED_MAX) {
            if sequence > block && begun.elapsed() > FETCH {
                break;
            }
            let Some(record) = self.fetch(link, sequence).await? else {
                break;
            };
            records.push(record);
        }
        let stream = self.names.stream();
        tracing::warn!(
            stream,
            sequence = block,
            "the connection was lost at this message, perhaps because of its headers: read it another way"
        );
        Ok(records)
    }

    /// The record with this number, if there is one.
    async fn fetch(&self, link: &Link, sequence: u64) -> Result<Option<Record>, Cause> {
        let verb = format!("STREAM.MSG.GET.{}", self.names.stream());
        let stored = match link.request(&verb, &json!({ "seq": sequence })).await {
            Ok(Answer { message }) => message,
            // There is none, or not any more.
            Err(Cause::Refused(_)) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let decoded = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let headers = decoded(&stored.hdrs);
        Ok(Some(Record {
            position: Some(position(sequence)),
            kind: self.names.kind_of(&Subject::from(stored.subject)),
            key: header(&headers, KEY).map(Into::into),
            stamp: nanoseconds(&stored.time),
            message: Message {
                content_encoding: header(&headers, "Content-Encoding").map(Into::into),
                body: decoded(&stored.data).into(),
            },
        }))
    }
}

/// Nanoseconds since 1970.
fn nanoseconds(time: &str) -> u64 {
    let time = time.parse::<Timestamp>().ok();
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok())
        .unwrap_or(0)
}

/// The first value of a header, whatever the others are.
fn header<'a>(headers: &'a [u8], name: &str) -> Option<&'a str> {
    headers.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        std::str::from_utf8(value).ok().map(str::trim)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_block_when_two_tails_were_lost_at_it() {
        let mut stumbles = Stumbles::default();
        assert!(!stumbles.take(0));
        stumbles.lost_after(7);
        assert!(!stumbles.take(7));
        stumbles.lost_after(9);
        stumbles.lost_after(7);
        assert!(!stumbles.take(7), "not in a row");
        stumbles.lost_after(7);
        assert!(!stumbles.take(8));
        assert!(stumbles.take(7));
        assert!(!stumbles.take(7), "it was read");
        stumbles.lost_after(12);
        assert!(stumbles.take(12), "now one loss suffices");
    }

    #[test]
    fn a_header_is_found_beside_unreadable_ones() {
        let headers = b"NATS/1.0\r\nBad \xff\r\nHigh-Templar-Key: a:b \r\nOther: x\r\n\r\n";
        assert_eq!(header(headers, KEY), Some("a:b"));
        assert_eq!(header(headers, "Bad"), None);
        assert_eq!(header(b"", KEY), None);
    }
}
