//! `.env` files, read as python-dotenv reads them: comments, `export`, quotes and `${NAME}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One variable of an `.env` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The variable's name.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The line where it begins, counted from 1.
    pub(crate) line: usize,
}

/// The nearest `.env` in this folder or above.
pub(crate) fn find(folder: &Path) -> Option<PathBuf> {
    folder
        .ancestors()
        .map(|folder| folder.join(".env"))
        .find(|path| path.is_file())
}

/// Reads the file's text. A line that is no assignment is passed over, as Python does: such
/// files often hold lines for other programs.
pub(crate) fn parse(text: &str, environment: &BTreeMap<String, String>) -> Vec<Entry> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let (assignment, after) = assignment(rest);
        rest = after;
        let Some((name, raw, literal)) = assignment else {
            continue;
        };
        let text = if literal {
            raw
        } else {
            expand(&raw, |name| {
                let earlier = entries.iter().rev().find(|entry| entry.name == name);
                environment
                    .get(name)
                    .or(earlier.map(|entry| &entry.text))
                    .cloned()
            })
        };
        entries.push(Entry { name, text, line });
    }
    entries
}

/// A name, its text and whether it is taken literally.
type Assignment = Option<(String, String, bool)>;

/// Takes one line, or more where a quoted text spans them.
fn assignment(rest: &str) -> (Assignment, &str) {
    let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
    let (line, after) = rest.split_at(end);
    let Some((name, _)) = line.split_once('=') else {
        return (None, after);
    };
    let value = rest[name.len() + 1..].trim_start_matches([' ', '\t']);
    let name = name.trim();
    let name = name.strip_prefix("export ").map_or(name, str::trim_start);
    let name = name.trim_matches('\'');
    if name.is_empty() || name.starts_with('#') || name.contains(char::is_whitespace) {
        return (None, after);
    }
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        return match quoted(&value[1..], quote) {
            Some((text, after)) => (Some((name.to_owned(), text, quote == '\'')), after),
            None => (None, after),
        };
    }
    let value = value.split('\n').next().unwrap_or_default();
    let value = value.split_once(" #").map_or(value, |(value, _)| value);
    let value = if value.starts_with('#') { "" } else { value };
    (
        Some((name.to_owned(), value.trim().to_owned(), false)),
        after,
    )
}

/// The text up to the closing quote, and what follows its line.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let after = &text[at + 1..];
            let end = after.find('\n').map_or(after.len(), |at| at + 1);
            return Some((out, &after[end..]));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        match escaped {
            '\\' | '\'' => out.push(escaped),
            c if c == quote => out.push(c),
            'n' if quote == '"' => out.push('\n'),
            'r' if quote == '"' => out.push('\r'),
            't' if quote == '"' => out.push('\t'),
            c => out.extend(['\\', c]),
        }
    }
    None
}

/// Replaces `${NAME}` and `${NAME:-instead}`; other dollars stay.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        let (name, instead) = inside.split_once(":-").unwrap_or((inside, ""));
        out.push_str(&lookup(name).unwrap_or_else(|| instead.to_owned()));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let environment = BTreeMap::from([("HOST".to_owned(), "real".to_owned())]);
        parse(text, &environment)
            .into_iter()
            .map(|entry| (entry.name, entry.text, entry.line))
            .collect()
    }

    #[test]
    fn lines_are_read_as_python_dotenv_reads_them() {
        for (text, expected) in [
            ("A=b", Some("b")),
            ("export A=b", Some("b")),
            ("A = b ", Some("b")),
            ("A=b c # note", Some("b c")),
            ("A=b#c", Some("b#c")),
            ("A=", Some("")),
            ("A=#note", Some("")),
            ("A='b # c'", Some("b # c")),
            ("A='${HOST}'", Some("${HOST}")),
            (r#"A="b\n\"c\"""#, Some("b\n\"c\"")),
            (r"A='b\n'", Some(r"b\n")),
            ("A=\"b\nc\"", Some("b\nc")),
            ("A=${HOST}:1", Some("real:1")),
            ("A=${NONE:-d}", Some("d")),
            ("A=${NONE}", Some("")),
            ("A=${open", Some("${open")),
            ("A=$HOST", Some("$HOST")),
            ("A=b\r", Some("b")),
            ("# A=b", None),
            ("A", None),
            ("=b", None),
            ("A='open", None),
        ] {
            let found = read(text);
            let found = found.first().map(|(_, text, _)| text.as_str());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_and_names_seen_earlier_are_expanded() {
        let found = read("# top\nA=1\n\nB='x\ny'\nC=${A}2\n");
        let expected = [("A", "1", 2), ("B", "x\ny", 4), ("C", "12", 6)];
        assert_eq!(
            found,
            expected.map(|(name, text, line)| (name.to_owned(), text.to_owned(), line))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[A-C=\"'\\\\${}: \n#é]{0,40}") {
            let _ = read(&text);
        }
    }
}
