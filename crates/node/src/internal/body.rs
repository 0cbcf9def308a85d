//! Reads the body of a request to the internal listener, within limits of time and memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::in_flight::{NoRoom, Share};

/// Timeout of a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of the next piece of it.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is longer than allowed.
    TooLong,
    /// The connection was lost, or the framing was invalid.
    Broken,
    /// Nothing arrived for [`STALL_TIMEOUT`], or not all of it within [`BODY_TIMEOUT`].
    Late,
    /// All requests together have reached their limit.
    NoRoom(NoRoom),
}

impl From<NoRoom> for Unread {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

/// Collects a body, which is counted as it arrives. A body in one piece is not copied; others are
/// put into one buffer, which is at most twice as long as they are, however small their pieces.
pub(super) async fn collect(
    body: &mut Incoming,
    share: &mut Share<'_>,
    most: usize,
    limit: u64,
) -> Result<Bytes, Unread> {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    loop {
        let by = deadline.min(Instant::now() + STALL_TIMEOUT);
        let frame = tokio::select! {
            biased;
            frame = tokio::time::timeout_at(by, body.frame()) => frame,
            () = share.evicted() => return Err(NoRoom::Evicted.into()),
        };
        let data = match frame {
            Err(_) => return Err(Unread::Late),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            // Trailers are ignored here.
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        let now = Instant::now();
        if first.len() + whole.len() + data.len() > most {
            return Err(Unread::TooLong);
        }
        share.grow(data.len() as u64, limit, now)?;
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
        if !body.is_end_stream() {
            share.wait(now);
        }
    }
    share.complete()?;
    Ok(if whole.is_empty() {
        first
    } else {
        // What is published may keep it for long: without the rest of its buffer.
        Bytes::from(Vec::from(whole).into_boxed_slice())
    })
}

/// Discards a body: a client that is disconnected while it sends may never read the response.
pub(super) async fn let_pass(mut body: Limited<Incoming>) {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let next = || deadline.min(Instant::now() + STALL_TIMEOUT);
    while let Ok(Some(Ok(_))) = tokio::time::timeout_at(next(), body.frame()).await {}
}
