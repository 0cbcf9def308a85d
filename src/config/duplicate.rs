//! Duplicate keys in a configuration file, reported with both lines.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::names::SHORT;

/// A key that no file contains.
const PROBE: &str = "__the_table_that_this_line_belongs_to__";

/// A key or section that is defined twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    /// Its path, such as `backend.url`.
    key: String,
    /// Offset of the first definition, in bytes.
    first: usize,
    /// Whether the first and the second definition are tables.
    is_table: (bool, bool),
}

/// Finds the first definition of the key at `second`, which the parser reports as a duplicate.
/// Returns none if it cannot be determined, as in an inline table.
pub(super) fn find(text: &str, second: Range<usize>) -> Option<Duplicate> {
    let start = text[..second.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let before = &text[..start];
    let is_header = line.trim_start().starts_with('[');
    let path = if is_header {
        let (table, _) = DeTable::parse_recoverable(line);
        only_path(table.get_ref())
    } else {
        // The parts of a dotted key before its last one belong to the path.
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
    /// Offset of the first definition, in bytes.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// The setting, or the section.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The message: what is wrong and what to do. `first_line` is the line of the first definition.
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

/// Returns the path of the only key in a document of one line.
fn only_path(table: &DeTable<'_>) -> Vec<String> {
    let mut path = Vec::new();
    let mut table = Some(table);
    while let Some((key, value)) = table.and_then(|table| table.iter().next()) {
        path.push(key.get_ref().to_string());
        table = value.get_ref().as_table();
    }
    path
}

/// Returns the path of the table that contains [`PROBE`].
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

/// Returns the offset and the value at a path.
fn look_up<'t>(table: &'t DeTable<'_>, path: &[String]) -> Option<(usize, &'t DeValue<'t>)> {
    let (name, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    match rest {
        [] => Some((Spanned::span(key).start, value.get_ref())),
        rest => look_up(value.get_ref().as_table()?, rest),
    }
}
