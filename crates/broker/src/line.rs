//! Texts of others, fit for one line of a log.

use std::fmt;

/// Longest text that is repeated, in characters.
const TEXT_MAX: usize = 300;

/// One line of bounded length, without control characters: parts of it are peer input.
pub(crate) fn line(text: impl fmt::Display) -> String {
    text.to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_MAX)
        .collect()
}
