//! Tenants as documents: tables of TOML or objects of JSON.

use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::config::layers::TENANT;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::{self, Node, Value, parse_file};

/// What is written about one tenant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// Its table.
    pub(crate) node: Node,
    /// The name of its file, where a file is one tenant.
    pub(crate) stem: Option<String>,
    /// Why its file cannot be read, where a file is one tenant: nothing else is known of it.
    pub(crate) broken: Mistakes,
}

impl Document {
    /// A table of settings.
    pub(crate) fn of(node: Node) -> Self {
        Self {
            node,
            stem: None,
            broken: Mistakes::default(),
        }
    }

    /// The file of one tenant that cannot be read.
    pub(crate) fn broken(path: &Path, broken: Mistakes) -> Self {
        let place = WrittenAt::File {
            path: path.to_owned(),
            line: 0,
        };
        Self {
            stem: stem(path),
            broken,
            ..Self::of(Node {
                place,
                value: Value::Table(Vec::new()),
            })
        }
    }

    /// The tenant's name, if one can be read; empty otherwise.
    pub(crate) fn name(&self) -> &str {
        let written = match &self.node.value {
            Value::Table(entries) => entries.iter().find(|(key, _)| key == "name"),
            Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::List(_)
            | Value::Other(_) => None,
        };
        let written = written.and_then(|(_, node)| node.text());
        written.or(self.stem.as_deref()).unwrap_or_default()
    }

    /// As JSON: what is referred to stays a reference.
    pub(crate) fn to_json(&self) -> Json {
        let mut json = to_json(&self.node);
        if let Json::Object(members) = &mut json {
            let name = || Json::from(self.name());
            members.entry("name").or_insert_with(name);
        }
        json
    }
}

/// The tenant in a file whose name is its own.
pub(crate) fn of_one(text: &str, path: &Path) -> Document {
    let mut broken = Mistakes::default();
    let entries = parsed(text, path, &mut broken);
    let is_read = broken.is_empty();
    let mut document = Document::broken(path, broken);
    if is_read {
        document.node.value = Value::Table(entries);
    }
    document
}

/// The tenants in a file of several. With a mistake in its syntax there is none.
pub(crate) fn of_several(text: &str, path: &Path, mistakes: &mut Mistakes) -> Vec<Document> {
    let before = mistakes.0.len();
    let entries = parsed(text, path, mistakes);
    if mistakes.0.len() > before {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, node) in entries {
        match node.value {
            Value::List(items) if name == TENANT => {
                found.extend(items.into_iter().map(Document::of));
            }
            Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => {
                let what = "a file of several tenants consists of tables [[tenant]]";
                mistakes.add(&node.place, &name, what);
            }
        }
    }
    found
}

fn parsed(text: &str, path: &Path, mistakes: &mut Mistakes) -> Vec<(String, Node)> {
    if path.extension().is_some_and(|ending| ending == "json") {
        json_entries(text, path, mistakes)
    } else {
        parse_file(text, path, mistakes)
    }
}

fn stem(path: &Path) -> Option<String> {
    let stem = path.file_stem()?;
    Some(stem.to_string_lossy().into_owned())
}

/// The members of the object that a file of JSON is.
fn json_entries(text: &str, path: &Path, mistakes: &mut Mistakes) -> Vec<(String, Node)> {
    let at = |line| WrittenAt::File {
        path: path.to_owned(),
        line,
    };
    match serde_json::from_str(text) {
        Ok(Json::Object(members)) => entries(members, &at(0)),
        Ok(_) => {
            mistakes.add(&at(1), "", "expected an object of JSON");
            Vec::new()
        }
        Err(error) => {
            mistakes.add(
                &at(error.line()),
                "",
                format!("this is not valid JSON: {error}"),
            );
            Vec::new()
        }
    }
}

fn entries(members: Map<String, Json>, place: &WrittenAt) -> Vec<(String, Node)> {
    let node = |value| Node {
        place: place.clone(),
        value: node::from_json(value, place),
    };
    members
        .into_iter()
        .map(|(name, value)| (name, node(value)))
        .collect()
}

/// A tenant of a registry or a request.
pub(crate) fn from_json(json: Json, place: &WrittenAt) -> Document {
    Document::of(Node {
        place: place.clone(),
        value: node::from_json(json, place),
    })
}

fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Raw(text) | Value::Text(text) => Json::from(text.as_str()),
        // Wider than any setting: what does not fit is a mistake in any case.
        Value::Integer(number) => i64::try_from(*number).map_or(Json::Null, Json::from),
        Value::Float(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
        Value::List(items) => Json::from_iter(items.iter().map(to_json)),
        Value::Table(entries) => {
            let members = entries
                .iter()
                .map(|(name, node)| (name.clone(), to_json(node)));
            Json::Object(members.collect())
        }
        Value::Other(_) => Json::Null,
    }
}
