//! Names that a configuration file has twice: both lines are reported, not the second alone.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::layers::SHORT;

/// A key that no file has.
const PROBE: &str = "__the_table_that_this_line_belongs_to__";

/// A name that was written before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    /// Its path, such as `backend.url`.
    key: String,
    /// Where it was written first, in bytes from the start of the file.
    first: usize,
    /// Whether it is a table there, and here.
    is_table: (bool, bool),
}

/// What was written where `text` has `second`, which the parser calls a duplicate key. None where
/// that cannot be found out, as in an inline table.
pub(super) fn find(text: &str, second: Range<usize>) -> Option<Duplicate> {
    let start = text[..second.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let before = &text[..start];
    let is_header = line.trim_start().starts_with('[');
    let path = if is_header {
        let (table, _) = DeTable::parse_recoverable(line);
        only_path(table.get_ref())
    } else {
        // What stands in front of a dotted key's last part belongs to the path.
        let dotted = &text[start..second.start];
        let probed = format!("{before}{dotted}{PROBE} = 0\n");
        let (table, _) = DeTable::parse_recoverable(&probed);
        let mut path = path_to_probe(table.get_ref())?;
        let name = format!("{} = 0", text.get(second)?);
        let (name, _) = DeTable::parse_recoverable(&name);
        path.extend(only_path(name.get_ref()));
        path
    };
    let (table, _) = DeTable::parse_recoverable(before);
    let (first, value) = look_up(table.get_ref(), &path)?;
    Some(Duplicate {
        key: path.join("."),
        first,
        is_table: (matches!(value, DeValue::Table(_)), is_header),
    })
}

impl Duplicate {
    /// Where it was written first, in bytes from the start of the file.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// The setting, or the section.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong and what to do, for a name that was first written in this line.
    pub(super) fn sentence(&self, first_line: usize) -> String {
        let key = &self.key;
        let short = SHORT.iter().find(|(short, _)| short == key);
        match (self.is_table, short) {
            ((true, true), _) => format!(
                "the section [{key}] begins in line {first_line} already: move its settings there"
            ),
            ((false, true), Some((_, long))) => {
                let name = long.rsplit('.').next().unwrap_or(long);
                format!(
                    "line {first_line} sets `{key}` already, which cannot stand beside the \
                     section [{key}]: write it as `{name} = …` under [{key}] instead"
                )
            }
            _ => format!("line {first_line} sets it already: keep one of the two"),
        }
    }
}

/// The path to the key that a document of one line sets.
fn only_path(table: &DeTable<'_>) -> Vec<String> {
    let mut path = Vec::new();
    let mut table = Some(table);
    while let Some((key, value)) = table.and_then(|table| table.iter().next()) {
        path.push(key.get_ref().to_string());
        table = value.get_ref().as_table();
    }
    path
}

/// The path of the table that holds [`PROBE`].
fn path_to_probe(table: &DeTable<'_>) -> Option<Vec<String>> {
    if table.contains_key(PROBE) {
        return Some(Vec::new());
    }
    table.iter().find_map(|(key, value)| {
        let mut path = path_to_probe(value.get_ref().as_table()?)?;
        path.insert(0, key.get_ref().to_string());
        Some(path)
    })
}

/// Where a path was written, and what it is.
fn look_up<'t>(table: &'t DeTable<'_>, path: &[String]) -> Option<(usize, &'t DeValue<'t>)> {
    let (name, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    match rest {
        [] => Some((Spanned::span(key).start, value.get_ref())),
        rest => look_up(value.get_ref().as_table()?, rest),
    }
}
