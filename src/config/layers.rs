//! Values of each setting by source: the environment, then the file, then variables of the Python
//! version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::guess;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::names::{SHORT, section_of, variable_of};
use crate::config::node::{Node, Value, parse_file};
use crate::config::secret_file::{self, file_of, secret_of, secret_of_variable};
use crate::config::service_links::is_service_link;
use crate::config::settings::KEYS;
use crate::config::table::Lookup;

/// The name of the tables of tenants.
pub(crate) const TENANT: &str = "tenant";

/// Beginning of the variables that tenants may refer to, whoever wrote them.
pub(crate) const TENANT_VARIABLES: &str = "HT_TENANT_";

/// The variable that names the configuration file; it is no setting.
pub(crate) const FILE_VARIABLE: &str = "HT_CONFIG";

/// Everything that was written, the strongest first.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The settings that there are.
    keys: &'static [&'static str],
    written: BTreeMap<&'static str, Vec<Node>>,
    /// The tables `[[tenant]]` of the file.
    pub(crate) tenants: Vec<Node>,
    /// Base folder of the paths of secrets.
    folder: PathBuf,
}

/// A variable's text and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its text.
    pub(crate) text: String,
    /// The process's environment, or a line of an `.env` file.
    pub(crate) place: WrittenAt,
}

impl Default for Layers {
    fn default() -> Self {
        Self::of_process_in(Path::new(""))
    }
}

impl Lookup for Layers {
    fn of(&self, key: &str) -> impl Iterator<Item = &Node> {
        self.written.get(key).into_iter().flatten()
    }
}

impl Layers {
    /// Nothing yet, for a process in this folder.
    pub(crate) fn of_process_in(folder: &Path) -> Self {
        Self::of_settings(KEYS, folder)
    }

    /// The same for these settings.
    pub(crate) fn of_settings(keys: &'static [&'static str], folder: &Path) -> Self {
        Self {
            keys,
            written: BTreeMap::new(),
            tenants: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    /// Whether anything was written for a setting.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// Puts a weaker layer under the existing ones.
    pub(crate) fn put(&mut self, key: &'static str, node: Node) {
        self.written.entry(key).or_default().push(node);
    }

    /// Adds the variables `HT_SECTION__KEY`. Returns the names of those that are not settings but
    /// service links, which Kubernetes set.
    pub(crate) fn environment<'a>(
        &mut self,
        variables: &'a BTreeMap<String, Variable>,
        mistakes: &mut Mistakes,
    ) -> Vec<&'a str> {
        let mut links = Vec::new();
        for (name, variable) in variables {
            if !name.starts_with("HT_") || name == FILE_VARIABLE || is_of_a_tenant(name) {
                continue;
            }
            let short = SHORT.iter().find(|(short, _)| variable_of(short) == *name);
            let known = KEYS.iter().find(|key| variable_of(key) == *name);
            if let Some(key) = short.map(|(_, key)| key).or(known) {
                let node = Node {
                    place: variable.place.clone(),
                    value: Value::Raw(variable.text.clone()),
                };
                self.put(key, node);
            } else if let Some(key) = secret_of_variable(name) {
                let plain = variables.get(&variable_of(key));
                let is_twice = plain.is_some_and(|plain| !plain.text.trim().is_empty());
                let place = &variable.place;
                if let Some(node) = self.secret(key, place, &variable.text, is_twice, mistakes) {
                    // Above an empty variable, which sets nothing beside a file.
                    self.written.entry(key).or_default().insert(0, node);
                }
            } else if is_service_link(name, &variable.text) {
                links.push(name.as_str());
            } else {
                let what = format!("there is no such variable{}", guess::variable(name));
                mistakes.add(&variable.place, "", what);
            }
        }
        links
    }

    /// The secret in the file that `text` names, if it names one. A plain value beside it is a
    /// mistake: it would be ambiguous which of the two is in force.
    fn secret(
        &self,
        key: &str,
        named: &WrittenAt,
        text: &str,
        is_twice: bool,
        mistakes: &mut Mistakes,
    ) -> Option<Node> {
        let path = secret_file::path(text)?;
        if is_twice {
            let what = format!("{key} itself is set as well: keep one of the two");
            mistakes.add(named, key, what);
            return None;
        }
        match secret_file::read(&self.folder, &path) {
            Ok(text) => Some(Node {
                place: WrittenAt::Secret {
                    path,
                    named: Box::new(named.clone()),
                },
                value: Value::Raw(text),
            }),
            Err(what) => {
                mistakes.add(named, key, what);
                None
            }
        }
    }

    /// Adds a configuration file. False if it is no valid TOML: its lines are named, and what
    /// could be guessed of its settings is left out.
    pub(crate) fn file(&mut self, text: &str, path: &Path, mistakes: &mut Mistakes) -> bool {
        let before = mistakes.0.len();
        let entries = parse_file(text, path, mistakes);
        let valid = mistakes.0.len() == before;
        if valid {
            let (tenants, settings) = entries.into_iter().partition(is_tenants);
            self.put_tenants(tenants);
            self.table("", settings, mistakes);
        }
        valid
    }

    fn put_tenants(&mut self, tables: Vec<(String, Node)>) {
        for (_, node) in tables {
            if let Value::List(items) = node.value {
                self.tenants.extend(items);
            }
        }
    }

    /// Adds a table, whose settings begin with `above`.
    pub(crate) fn table(
        &mut self,
        above: &str,
        entries: Vec<(String, Node)>,
        mistakes: &mut Mistakes,
    ) {
        let is_set = |(name, node): &(String, Node)| {
            let is_empty = node.text().is_some_and(str::is_empty);
            (!is_empty).then(|| file_of(name))
        };
        let twice: Vec<_> = entries.iter().filter_map(is_set).collect();
        for (name, node) in entries {
            let is_twice = twice.contains(&name);
            let key = if above.is_empty() {
                name
            } else {
                format!("{above}.{name}")
            };
            if let Some(known) = self.keys.iter().find(|known| **known == key) {
                self.put(known, node);
                continue;
            }
            let secret = secret_of(&key).filter(|secret| self.keys.contains(secret));
            if let (Some(secret), Value::Text(text)) = (secret, &node.value) {
                if let Some(node) = self.secret(secret, &node.place, text, is_twice, mistakes) {
                    self.put(secret, node);
                }
                continue;
            }
            let short = SHORT.iter().find(|(short, _)| *short == key);
            if let Some((_, short)) = short.filter(|(_, key)| self.keys.contains(key))
                && matches!(node.value, Value::List(_))
            {
                self.put(short, node);
                continue;
            }
            let is_section = self.keys.iter().any(|known| section_of(known) == key);
            match node.value {
                Value::Table(inner) if is_section => self.table(&key, inner, mistakes),
                Value::Raw(_)
                | Value::Text(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Flag(_)
                | Value::List(_)
                | Value::Other(_)
                    if is_section =>
                {
                    let what = format!("this is a section: write its settings under [{key}]");
                    mistakes.add(&node.place, &key, what);
                }
                Value::Table(_) => {
                    let what = format!(
                        "there is no such section{}",
                        guess::section(&key, self.keys)
                    );
                    mistakes.add(&node.place, &key, what);
                }
                Value::Raw(_)
                | Value::Text(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Flag(_)
                | Value::List(_)
                | Value::Other(_) => {
                    let what = format!(
                        "there is no such setting{}",
                        guess::setting(&key, self.keys)
                    );
                    mistakes.add(&node.place, &key, what);
                }
            }
        }
    }
}

/// Whether a tenant may refer to a variable by this name: it is no setting.
fn is_of_a_tenant(name: &str) -> bool {
    let name = name.strip_prefix(TENANT_VARIABLES);
    name.is_some_and(|name| !name.starts_with('_'))
}

/// Whether these are the tables `[[tenant]]`.
fn is_tenants((name, node): &(String, Node)) -> bool {
    let is_table = |item: &Node| matches!(item.value, Value::Table(_));
    name == TENANT && matches!(&node.value, Value::List(items) if items.iter().all(is_table))
}
