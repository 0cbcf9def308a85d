//! The members of messages that let a client in again.

/// What lets a client in again when it reconnects, see [`crate::ticket`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumption {
    /// A new ticket.
    pub ticket: Option<String>,
    /// A proof for the ticket that the client has then.
    pub proof: Option<String>,
}

impl Resumption {
    /// Appends it, as members of an object.
    pub(crate) fn put(&self, text: &mut Vec<u8>) {
        for (name, value) in [("ticket", &self.ticket), ("proof", &self.proof)] {
            if let Some(value) = value {
                text.extend_from_slice(format!(r#", "{name}": "{value}""#).as_bytes());
            }
        }
    }
}
