//! The form in which values reach the process: quotes, blanks and invisible characters that were
//! not meant as part of a value.
//!
//! A shell removes quotes; `docker run --env-file`, `EnvironmentFile=` of some supervisors and most
//! consoles do not, and a blank at the end of a line is invisible.

use std::borrow::Cow;

use crate::config::kind::Wrong;
use crate::config::mistake::WrittenAt;
use crate::config::node::{Node, Value};

/// Pairs of quotes, typographic ones as text processors make them.
const QUOTES: [(char, char); 5] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('\u{201c}', '\u{201d}'),
    ('\u{2018}', '\u{2019}'),
];

/// A variable's value without the blanks at its ends.
///
/// # Errors
/// When the whole value of a variable is in quotes.
pub(super) fn plain(node: &Node) -> Result<Cow<'_, Node>, Wrong> {
    let (Value::Raw(text), WrittenAt::Variable(_) | WrittenAt::Dotenv { .. }) =
        (&node.value, &node.place)
    else {
        return Ok(Cow::Borrowed(node));
    };
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if is_quoted(trimmed) {
        return Err(Wrong::Says(
            "the value is in quotes, which are part of it here: write it without them (docker's \
             --env-file, unlike a shell, does not remove quotes)"
                .to_owned(),
        ));
    }
    if trimmed.len() == text.len() {
        return Ok(Cow::Borrowed(node));
    }
    Ok(Cow::Owned(Node {
        place: node.place.clone(),
        value: Value::Raw(trimmed.to_owned()),
    }))
}

fn is_quoted(text: &str) -> bool {
    let inside = |(open, close)| {
        let rest = text.strip_prefix(open);
        rest.is_some_and(|rest| rest.ends_with(close))
    };
    QUOTES.into_iter().any(inside)
}

/// Likely cause in an invalid value, to append to a sentence. Empty if there is none. Shows nothing
/// of the value.
pub(super) fn hint(node: &Node) -> String {
    let Some(text) = node.text() else {
        return String::new();
    };
    // TOML or JSON, where quotes and blanks belong.
    if text.trim_start().starts_with(['[', '{']) {
        return String::new();
    }
    let oddity = oddity(text);
    oddity.map(|what| format!("; {what}")).unwrap_or_default()
}

/// The same for an item of a list.
pub(super) fn hint_of_item(text: &str) -> String {
    let oddity = match oddity(text) {
        None if text.contains([';', '|']) => Some("put commas between several".to_owned()),
        Some(what) if what == BLANK => Some(format!("{BLANK}: put commas between several")),
        other => other,
    };
    oddity.map(|what| format!("; {what}")).unwrap_or_default()
}

const BLANK: &str = "there is a blank in it";

fn oddity(text: &str) -> Option<String> {
    let is_quote = |c: char| QUOTES.iter().any(|&(open, close)| c == open || c == close);
    let is_invisible = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{ad}'
            )
    };
    if text.contains(is_quote) {
        return Some("there are quotes in it: leave them out".to_owned());
    }
    if text.contains(['\r', '\n']) {
        return Some("there is a line break in it".to_owned());
    }
    if let Some(c) = text.chars().find(|c| is_invisible(*c)) {
        return Some(format!(
            "there is an invisible character in it (U+{:04X})",
            u32::from(c)
        ));
    }
    text.contains(char::is_whitespace).then(|| BLANK.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unintended_characters_are_named() {
        for (text, whole, item) in [
            ("https://a.example", "", ""),
            (
                "https://a.example https://b.example",
                "a blank",
                "put commas",
            ),
            ("https://a.example;https://b.example", "", "put commas"),
            ("\"https://a.example", "quotes", "quotes"),
            ("https://a.example'", "quotes", "quotes"),
            ("\u{201c}https://a.example", "quotes", "quotes"),
            ("https://a.example\u{200b}", "U+200B", "U+200B"),
            ("a\tb", "U+0009", "U+0009"),
            ("a\r\nb", "a line break", "a line break"),
            ("a\u{a0}b", "a blank", "put commas"),
            ("{ a = \"b\" }", "", "quotes"),
        ] {
            let node = Node {
                place: WrittenAt::Default,
                value: Value::Raw(text.to_owned()),
            };
            for (found, expected) in [(hint(&node), whole), (hint_of_item(text), item)] {
                assert!(found.contains(expected), "{text:?}: {found}");
                assert_eq!(found.is_empty(), expected.is_empty(), "{text:?}: {found}");
            }
        }
    }
}
