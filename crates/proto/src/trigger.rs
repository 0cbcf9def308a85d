//! Triggers: what the API sends.

use bytes::Bytes;

/// One trigger of the API: rooms and data.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The trigger's own JSON text, as it was sent.
    pub text: Bytes,
    /// The JSON text of `data`, as it was sent.
    pub data: Bytes,
    /// Makes repeating harmless.
    pub id: Option<Box<str>>,
}
