//! Ids that make sending a trigger or a command again idempotent.

/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 256;

/// An id: a string as its content, a number as its text; none for `null`. `None` where it is
/// neither, empty or too long.
pub(crate) fn id(json: &str) -> Option<Option<Box<str>>> {
    let id: Box<str> = match json.as_bytes().first()? {
        b'n' => return Some(None),
        b'"' => serde_json::from_str(json).ok()?,
        b'0'..=b'9' | b'-' => json.into(),
        _ => return None,
    };
    (1..=ID_BYTES_MAX).contains(&id.len()).then_some(Some(id))
}
