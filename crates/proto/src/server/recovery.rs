//! Answers to clients that were away: whether they are sent what they missed.

use crate::client::RequestId;
use crate::code::ErrorCode;
use crate::cursor::Cursor;

crate::labels! {
    /// Why a client is not sent what it missed: it has to fetch.
    pub enum NotRecovered {
        /// The cursor is of another epoch of the log.
        Epoch = "epoch",
        /// Some of it is no longer known.
        Age = "age",
        /// The same: its tenant has more in the window than it may.
        Trimmed = "trimmed",
        /// The cursor is of an entry that does not exist.
        Ahead = "ahead",
        /// It is so much that fetching is cheaper.
        TooMuch = "too-much",
        /// The client's permissions may have changed meanwhile.
        Permissions = "permissions",
        /// The gateway does not offer it.
        Off = "off",
    }
}

/// A subscription that was refused: its name, if that is valid, and why.
pub type Refused = (Option<RequestId>, ErrorCode);

/// The answer to a request that was to recover publications.
#[derive(Clone, Debug)]
pub struct Recovery<'a> {
    /// The name of the request.
    pub request_id: &'a RequestId,
    /// How many publications follow, before all others.
    pub replayed: Result<usize, NotRecovered>,
    /// How far the client has been sent everything, if it may keep that.
    pub cursor: Option<Cursor>,
    /// The subscriptions of a `resume` that were refused.
    pub refused: &'a [Refused],
}

impl Recovery<'_> {
    /// Its text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = br#"{"code": "success", "requestId": "#.to_vec();
        text.extend_from_slice(self.request_id.as_json().as_bytes());
        put_recovered(&mut text, self.replayed);
        if let Some(cursor) = self.cursor {
            text.extend_from_slice(br#", "cursor": ""#);
            cursor.write(&mut text);
            text.push(b'"');
        }
        if !self.refused.is_empty() {
            put_refused(&mut text, self.refused);
        }
        text.push(b'}');
        text
    }
}

/// Appends whether a client is sent what it missed, as members of an object.
pub fn put_recovered(text: &mut Vec<u8>, replayed: Result<usize, NotRecovered>) {
    match replayed {
        Ok(replayed) => {
            text.extend_from_slice(br#", "recovered": true, "replayed": "#);
            text.extend_from_slice(itoa::Buffer::new().format(replayed).as_bytes());
        }
        Err(reason) => {
            text.extend_from_slice(br#", "recovered": false, "reason": ""#);
            text.extend_from_slice(reason.as_str().as_bytes());
            text.push(b'"');
        }
    }
}

/// Appends the subscriptions that were refused, as a member of an object.
pub fn put_refused(text: &mut Vec<u8>, refused: &[Refused]) {
    text.extend_from_slice(br#", "refused": ["#);
    for (index, (name, code)) in refused.iter().enumerate() {
        text.extend_from_slice(if index == 0 { b"{" } else { b", {" });
        if let Some(name) = name {
            text.extend_from_slice(br#""requestId": "#);
            text.extend_from_slice(name.as_json().as_bytes());
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(br#""message": ""#);
        text.extend_from_slice(code.as_str().as_bytes());
        text.extend_from_slice(br#""}"#);
    }
    text.push(b']');
}
