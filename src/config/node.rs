//! Values as they were written, with their locations, before any setting parses them.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::{duplicate, unclosed};

/// A value and its location.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Its location.
    pub(crate) place: WrittenAt,
    /// Its kind.
    pub(crate) value: Value,
}

/// Kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The text of an environment variable: its setting decides what it means.
    Raw(String),
    /// A text in quotes.
    Text(String),
    /// A whole number. Wider than any setting, so that bounds and not overflow are reported.
    Integer(i128),
    /// A number with a point.
    Float(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order written.
    Table(Vec<(String, Node)>),
    /// Anything that no setting takes, described.
    Other(&'static str),
}

impl Node {
    /// The text of a quoted value or a variable.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Raw(text) | Value::Text(text) => Some(text),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => None,
        }
    }

    /// Description of this value, for a sentence that ends in "found …".
    pub(crate) fn found(&self) -> String {
        if matches!(self.place, WrittenAt::Secret { .. }) {
            return "something else, which is not shown".into();
        }
        match &self.value {
            Value::Raw(text) | Value::Text(text) if text.is_empty() => "an empty text".into(),
            Value::Raw(text) | Value::Text(text) => format!("{:?}", shorten(text)),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
            Value::Other(what) => (*what).into(),
        }
    }

    /// A list or table that may also be the text of a variable, in TOML or JSON.
    pub(crate) fn structure(&self) -> Node {
        let Value::Raw(text) = &self.value else {
            return self.clone();
        };
        if !text.trim_start().starts_with(['[', '{']) {
            return self.clone();
        }
        let value = toml_value(text, &self.place).or_else(|| json_value(text, &self.place));
        Node {
            place: self.place.clone(),
            value: value.unwrap_or_else(|| self.value.clone()),
        }
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// Reads a configuration file. Every syntax error is recorded; the rest is returned.
pub(crate) fn parse_file(text: &str, path: &Path, mistakes: &mut Mistakes) -> Vec<(String, Node)> {
    let lines = Lines::of(text);
    let place_of = |offset: usize| WrittenAt::File {
        path: path.to_owned(),
        line: lines.at(offset),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let unclosed = unclosed::list(text, &errors);
    for error in errors {
        let span = error.span().unwrap_or_default();
        if unclosed.is_some_and(|list| span.start >= list) {
            // They follow from the list that has no end.
            continue;
        }
        let place = place_of(span.start);
        let duplicate = (error.message() == DUPLICATE)
            .then(|| duplicate::find(text, span))
            .flatten();
        match duplicate {
            Some(duplicate) => {
                let first = lines.at(duplicate.first());
                mistakes.add(&place, duplicate.key(), duplicate.sentence(first));
            }
            None => {
                let what = format!("this is not valid TOML: {}", one_line(error.message()));
                mistakes.add(&place, "", what);
            }
        }
    }
    if let Some(list) = unclosed {
        let what = "this is not valid TOML: the list that begins in this line has no `]`";
        mistakes.add(&place_of(list), "", what.to_owned());
    }
    table_nodes(table.get_ref(), &place_of)
}

/// The parser's message for a duplicate name.
const DUPLICATE: &str = "duplicate key";

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate();
        let ends = ends.filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line of an offset, counted from 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

fn table_nodes(table: &DeTable<'_>, place_of: &dyn Fn(usize) -> WrittenAt) -> Vec<(String, Node)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let node = Node {
                place: place_of(key.span().start),
                value: value_of(value.get_ref(), place_of),
            };
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn value_of(value: &DeValue<'_>, place_of: &dyn Fn(usize) -> WrittenAt) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number"), Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Value::Other("a number"), Value::Float),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    place: place_of(item.span().start),
                    value: value_of(item.get_ref(), place_of),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(table_nodes(table, place_of)),
    }
}

fn toml_value(text: &str, place: &WrittenAt) -> Option<Value> {
    let value = DeValue::parse(text.trim()).ok()?;
    Some(value_of(value.get_ref(), &|_| place.clone()))
}

fn json_value(text: &str, place: &WrittenAt) -> Option<Value> {
    let value = serde_json::from_str(text).ok()?;
    Some(from_json(value, place))
}

/// A value of JSON, all of which was written at this place.
pub(crate) fn from_json(value: serde_json::Value, place: &WrittenAt) -> Value {
    use serde_json::Value as Json;
    let node = |value| Node {
        place: place.clone(),
        value: from_json(value, place),
    };
    match value {
        Json::Null => Value::Other("null"),
        Json::Bool(flag) => Value::Flag(flag),
        Json::Number(number) => number
            .as_i128()
            .map(Value::Integer)
            .or_else(|| number.as_f64().map(Value::Float))
            .unwrap_or(Value::Other("a number")),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(node).collect()),
        Json::Object(members) => {
            Value::Table(members.into_iter().map(|(k, v)| (k, node(v))).collect())
        }
    }
}
