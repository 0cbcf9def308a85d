//! Values that stand elsewhere: `{ env = "NAME" }` and `{ file = "path" }`.

use std::path::{Path, PathBuf};

use crate::config::layers::TENANT_VARIABLES;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::{Node, Value};
use crate::config::secret_file;
use crate::config::tenants::Reader;

/// Who writes a tenant, and so what it may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The operator, in files of this machine: every variable and every file.
    Operator,
    /// A registry, or whoever has a key with the right `admin`: variables that begin with
    /// `HT_TENANT_`, and files of this folder, if there is one.
    Others(Option<PathBuf>),
}

impl Trust {
    /// Whether it is the operator.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator)
    }
}

/// The settings with the values that they refer to.
pub(super) fn resolved(
    entries: &[(String, Node)],
    reader: &Reader<'_>,
    mistakes: &mut Mistakes,
) -> Vec<(String, Node)> {
    let mut path = Vec::new();
    table(entries, reader, &mut path, mistakes)
}

fn table(
    entries: &[(String, Node)],
    reader: &Reader<'_>,
    path: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Vec<(String, Node)> {
    let mut found = Vec::with_capacity(entries.len());
    for (name, node) in entries {
        path.push(name.clone());
        found.extend(one(node, reader, path, mistakes).map(|node| (name.clone(), node)));
        path.pop();
    }
    found
}

/// None if what it refers to cannot be read, or may not be written here.
fn one(
    node: &Node,
    reader: &Reader<'_>,
    path: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Option<Node> {
    let value = match &node.value {
        Value::Table(entries) => match entries.as_slice() {
            [(kind, text)] if matches!(kind.as_str(), "env" | "file") && text.text().is_some() => {
                let text = text.text().unwrap_or_default();
                return match reader.secret(kind, text, &node.place) {
                    Ok(node) => Some(node),
                    Err(what) => {
                        mistakes.add(&node.place, &path.join("."), what);
                        None
                    }
                };
            }
            entries => Value::Table(table(entries, reader, path, mistakes)),
        },
        Value::List(items) => {
            let items = items.iter();
            Value::List(
                items
                    .filter_map(|item| one(item, reader, path, mistakes))
                    .collect(),
            )
        }
        Value::Text(_) if is_secret(path) => {
            let what = "the value of this header looks like a secret, which is not written here: \
                        write fixed = { file = \"…\" } or { env = \"…\" }";
            mistakes.add(&node.place, &path.join("."), what);
            return None;
        }
        other @ (Value::Raw(_)
        | Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Flag(_)
        | Value::Other(_)) => other.clone(),
    };
    Some(Node {
        place: node.place.clone(),
        value,
    })
}

/// Whether the value at this path is a secret by its name: the value of a header that authenticates.
fn is_secret(path: &[String]) -> bool {
    let [backend, headers, name, fixed] = path else {
        return false;
    };
    if backend != "backend" || headers != "headers" || fixed != "fixed" {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let words = [
        "authorization",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
    ];
    words.iter().any(|word| name.contains(word))
}

impl Reader<'_> {
    /// The text that `{ env = … }` or `{ file = … }` refers to.
    fn secret(&self, kind: &str, text: &str, named: &WrittenAt) -> Result<Node, String> {
        let (path, secret) = if kind == "env" {
            (PathBuf::from(format!("${text}")), self.variable(text)?)
        } else {
            let path = self.path(text)?;
            let secret = secret_file::read(self.folder, &path)?;
            (path, secret)
        };
        Ok(Node {
            place: WrittenAt::Secret {
                path,
                named: Box::new(named.clone()),
            },
            value: Value::Text(secret),
        })
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        if !self.trust.is_operator() && !name.starts_with(TENANT_VARIABLES) {
            return Err(format!(
                "a tenant that is not in a file of the operator may only refer to variables that \
                 begin with {TENANT_VARIABLES}"
            ));
        }
        let found = self.environment.get(name).filter(|text| !text.is_empty());
        found.cloned().ok_or_else(|| {
            format!("the variable {name} is not set: set it, and restart the gateway")
        })
    }

    fn path(&self, text: &str) -> Result<PathBuf, String> {
        let folder = match &self.trust {
            Trust::Operator => return Ok(PathBuf::from(text)),
            Trust::Others(folder) => folder,
        };
        let is_name = Path::new(text).file_name().is_some_and(|name| name == text);
        match folder {
            Some(folder) if is_name => Ok(folder.join(text)),
            Some(_) => Err(
                "a tenant that is not in a file of the operator names a file in the folder of \
                 tenants.secrets by its name alone"
                    .to_owned(),
            ),
            None => Err(
                "a tenant that is not in a file of the operator may only refer to files in the \
                 folder of tenants.secrets, which is not set"
                    .to_owned(),
            ),
        }
    }
}
