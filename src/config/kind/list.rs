//! Lists of texts that each mean something.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::json;

use crate::config::kind::{Kind, Wrong, form, quoted};
use crate::config::mistake::Mistakes;
use crate::config::node::{Node, Value};

/// A list of texts, each of which is read as `T`. As a variable also with commas between them.
pub(crate) struct Listed<T> {
    /// What such a list looks like, as it is written in the file.
    example: &'static str,
    key: &'static str,
    of: PhantomData<T>,
}

impl<T> Listed<T> {
    /// The kind of the setting `key`.
    pub(crate) fn of(key: &'static str, example: &'static str) -> Self {
        Self {
            example,
            key,
            of: PhantomData,
        }
    }
}

impl<T: FromStr<Err: fmt::Display> + fmt::Display> Kind for Listed<T> {
    type Value = Vec<T>;

    fn read(&self, node: &Node) -> Result<Vec<T>, Wrong> {
        let items = match node.structure().value {
            Value::List(items) => items,
            Value::Raw(text) => {
                let texts = text
                    .split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty());
                let item = |text: &str| Node {
                    place: node.place.clone(),
                    value: Value::Text(text.to_owned()),
                };
                texts.map(item).collect()
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::Table(_)
            | Value::Other(_) => return Err(Wrong::Kind),
        };
        let mut mistakes = Mistakes::default();
        let mut values = Vec::with_capacity(items.len());
        for item in &items {
            let Some(text) = item.text() else {
                return Err(Wrong::Kind);
            };
            match text.trim().parse() {
                Ok(value) => values.push(value),
                Err(error) => {
                    let (found, hint) = (item.found(), form::hint_of_item(text.trim()));
                    mistakes.add(&item.place, self.key, format!("{found}: {error}{hint}"));
                }
            }
        }
        if mistakes.is_empty() {
            Ok(values)
        } else {
            Err(Wrong::Inside(mistakes))
        }
    }

    fn expects(&self) -> String {
        format!("a list of texts, such as {}", self.example)
    }

    fn show(&self, value: &Vec<T>) -> String {
        let items: Vec<_> = value.iter().map(|item| quoted(&item.to_string())).collect();
        format!("[{}]", items.join(", "))
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }
}
