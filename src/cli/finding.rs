//! Results of `high-templar check`.

/// One line of the output.
pub(super) enum Finding {
    /// It works; the text says what was found.
    Works(String),
    /// It works, but may not be what the operator intended; the text says why.
    Note(String),
    /// It does not work; the text says what to do.
    Fix(String),
}
