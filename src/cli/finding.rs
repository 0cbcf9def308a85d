//! Results of `high-templar check`.

/// One line of the output.
pub(super) enum Finding {
    /// It works; the text says what was seen.
    Works(String),
    /// It does not; the text says what to do.
    Fix(String),
}
