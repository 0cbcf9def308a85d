//! Event streams and long polls: what clients ask over HTTP, and the bytes that they are sent.
//!
//! A request says all that it wants: which rooms, and from which cursor on. Nothing of it is kept
//! when its connection ends, so the next request may go to any node.

mod event;
mod message;
mod poll;
mod query;
mod request;
mod response;

pub use self::event::{
    EVENT_PUBLISH, Format, has_line_breaks, line_of, put_event, put_publish_end, put_quiet,
    put_retry, retry_ms,
};
pub use self::message::{Opened, close, ping, split_reason};
pub use self::poll::{PollAnswer, put_message};
pub use self::query::query_of;
pub use self::request::{
    BODY_BYTES_MAX, SUBSCRIPTIONS_MAX, Start, StreamRequest, StreamRequestError, TEXT_BYTES_MAX,
};
pub use self::response::{CURSOR_HEADER, Head, put_refusal, status_of};
