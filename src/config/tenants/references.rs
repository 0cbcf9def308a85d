//! Values that stand elsewhere: `{ env = "NAME" }` and `{ file = "path" }`.

use std::path::{Path, PathBuf};

use ht_node::config::TenantName;
use serde_json::Value as Json;

use crate::config::layers::TENANT_VARIABLES;
use crate::config::mistake::{Mistake, Mistakes, WrittenAt};
use crate::config::node::{Node, Value};
use crate::config::secret_file;
use crate::config::tenants::{Reader, log};

/// Who writes a tenant, and so what it may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The operator, in files of this machine: every variable and every file.
    Operator,
    /// A registry, or whoever has a key with the right `admin`: the tenant's own variables,
    /// `HT_TENANT_<NAME>__…`, and files of its own folder in this one, if there is one.
    Others(Option<PathBuf>),
}

impl Trust {
    /// Whether it is the operator.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator)
    }

    /// Whether a tenant may refer to a variable.
    fn check_variable(&self, owner: Option<&TenantName>, name: &str) -> Result<(), String> {
        if self.is_operator() {
            return Ok(());
        }
        let owner = owner.ok_or(NAMELESS)?;
        let own = owner.as_str().to_ascii_uppercase().replace('-', "_");
        let own = format!("{TENANT_VARIABLES}{own}");
        // By the last `__`, a variable is of one tenant: HT_TENANT_A__B__X is of a--b and not of a.
        match name.rsplit_once("__") {
            Some((before, rest)) if before == own && !rest.is_empty() => Ok(()),
            Some(_) | None => Err(format!(
                "a tenant that is not in a file of the operator may only refer to variables that \
                 begin with {own}__, with no other `__` after it"
            )),
        }
    }

    /// The path of a file that a tenant refers to: by its name alone, or as this says itself.
    fn path(&self, owner: Option<&TenantName>, text: &str) -> Result<PathBuf, String> {
        let folder = match self {
            Self::Operator => return Ok(PathBuf::from(text)),
            Self::Others(None) => {
                return Err(
                    "a tenant that is not in a file of the operator may only refer to files in \
                     the folder of tenants.secrets, which is not set"
                        .to_owned(),
                );
            }
            Self::Others(Some(folder)) => folder.join(owner.ok_or(NAMELESS)?.as_str()),
        };
        let path = Path::new(text);
        let name = path.file_name();
        let is_own = name.is_some_and(|name| name == text) || path.parent() == Some(&*folder);
        match name {
            Some(name) if is_own => Ok(folder.join(name)),
            Some(_) | None => Err(
                "a tenant that is not in a file of the operator names a file in its own folder, \
                 <tenants.secrets>/<its name>/, by its name alone"
                    .to_owned(),
            ),
        }
    }
}

/// The JSON of a tenant with the paths of the files that it refers to, so that it can be written into
/// a file of the operator and means the same there. What may not be referred to is left as it is.
pub(crate) fn with_paths(json: Json, trust: &Trust, owner: &TenantName) -> Json {
    match json {
        Json::Object(members) => {
            let is_one = members.len() == 1;
            let members = members.into_iter().map(|(name, value)| {
                let text = value.as_str().filter(|_| is_one && name == "file");
                let path = text.and_then(|text| trust.path(Some(owner), text).ok());
                let value = match path {
                    Some(path) => Json::from(path.to_string_lossy()),
                    None => with_paths(value, trust, owner),
                };
                (name, value)
            });
            Json::Object(members.collect())
        }
        Json::Array(items) => {
            let items = items.into_iter();
            Json::from_iter(items.map(|item| with_paths(item, trust, owner)))
        }
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => other,
    }
}

const NAMELESS: &str = "a tenant that is not in a file of the operator needs a `name`, written as \
                        a text, to refer to anything";

/// A reference whose value cannot be read: a text that nothing else is stands for it, so that the
/// rest of the tenant is read all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Where the reference is written, of which setting, and what to do.
    pub(crate) mistake: Mistake,
    /// The place of the text that stands for its value.
    place: WrittenAt,
    /// It may be there for the service: this process has another environment, or is another user.
    pub(crate) is_of_process: bool,
}

impl Missing {
    /// Whether a mistake is about the text that stands for the value.
    pub(super) fn caused(&self, mistake: &Mistake) -> bool {
        mistake.place == self.place
    }
}

/// Why the value of a reference cannot be read.
struct Unread {
    what: String,
    is_of_process: bool,
}

impl From<String> for Unread {
    /// That whoever reads it would meet.
    fn from(what: String) -> Self {
        Self {
            what,
            is_of_process: false,
        }
    }
}

/// Reads the references of one tenant.
struct Resolver<'a> {
    reader: &'a Reader<'a>,
    /// The tenant, if it is told which.
    owner: Option<&'a TenantName>,
    path: Vec<String>,
    mistakes: &'a mut Mistakes,
    missing: Vec<Missing>,
}

/// The settings with the values that they refer to, and the references without one.
pub(super) fn resolved(
    entries: &[(String, Node)],
    reader: &Reader<'_>,
    owner: Option<&TenantName>,
    mistakes: &mut Mistakes,
) -> (Vec<(String, Node)>, Vec<Missing>) {
    let mut resolver = Resolver {
        reader,
        owner,
        path: Vec::new(),
        mistakes,
        missing: Vec::new(),
    };
    let entries = resolver.table(entries);
    (entries, resolver.missing)
}

impl Resolver<'_> {
    fn table(&mut self, entries: &[(String, Node)]) -> Vec<(String, Node)> {
        let mut found = Vec::with_capacity(entries.len());
        for (name, node) in entries {
            self.path.push(name.clone());
            found.push((name.clone(), self.one(node)));
            self.path.pop();
        }
        found
    }

    fn one(&mut self, node: &Node) -> Node {
        let value = match &node.value {
            Value::Table(entries) => match entries.as_slice() {
                [(kind, text)]
                    if matches!(kind.as_str(), "env" | "file") && text.text().is_some() =>
                {
                    return self.reference(kind, text.text().unwrap_or_default(), &node.place);
                }
                entries => Value::Table(self.table(entries)),
            },
            Value::List(items) => Value::List(items.iter().map(|item| self.one(item)).collect()),
            Value::Text(_) if is_secret(&self.path) => {
                let what = "the value of this header looks like a secret, which is not written \
                            here: write fixed = { file = \"…\" } or { env = \"…\" }";
                self.mistakes.add(&node.place, &self.path.join("."), what);
                Value::Text(stand_in("literal"))
            }
            Value::Text(text) if is_secret_of_log(&self.path, text) => {
                let what = "a secret is not written here: write { file = \"…\" } or { env = \"…\" } \
                            instead, or the address without the password and that beside it";
                self.mistakes.add(&node.place, &self.path.join("."), what);
                Value::Text(text.clone())
            }
            Value::Text(format) if is_secret_format(&self.path, format) => {
                let what = "the format of this header has more in it than the name of a scheme, such \
                            as \"Token {}\": a secret is not written here. Write \
                            fixed = { file = \"…\" } or { env = \"…\" } with the whole value";
                self.mistakes.add(&node.place, &self.path.join("."), what);
                Value::Text("{}".to_owned())
            }
            other @ (Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::Other(_)) => other.clone(),
        };
        Node {
            place: node.place.clone(),
            value,
        }
    }

    /// The text that `{ env = … }` or `{ file = … }` refers to.
    fn reference(&mut self, kind: &str, text: &str, named: &WrittenAt) -> Node {
        let (path, read) = if kind == "env" {
            (PathBuf::from(format!("${text}")), self.variable(text))
        } else {
            let path = self.reader.trust.path(self.owner, text);
            (path.unwrap_or_else(|_| text.into()), self.file(text))
        };
        let place = WrittenAt::Secret {
            path,
            named: Box::new(named.clone()),
        };
        let value = read.unwrap_or_else(
            |Unread {
                 what,
                 is_of_process,
             }| {
                let mistake = Mistake {
                    place: named.clone(),
                    key: self.path.join("."),
                    what,
                };
                self.missing.push(Missing {
                    mistake,
                    place: place.clone(),
                    is_of_process,
                });
                stand_in(&format!("{kind}:{text}"))
            },
        );
        Node {
            place,
            value: Value::Text(value),
        }
    }

    fn file(&self, text: &str) -> Result<String, Unread> {
        let path = self.reader.trust.path(self.owner, text)?;
        secret_file::read(self.reader.folder, &path).map_err(|what| Unread {
            what,
            is_of_process: secret_file::is_denied(self.reader.folder, &path),
        })
    }

    fn variable(&self, name: &str) -> Result<String, Unread> {
        let Reader {
            trust, environment, ..
        } = self.reader;
        trust.check_variable(self.owner, name)?;
        let found = environment.get(name).filter(|text| !text.is_empty());
        found.cloned().ok_or_else(|| Unread {
            what: format!("the variable {name} is not set: set it, and restart the gateway"),
            is_of_process: true,
        })
    }
}

/// What stands for a value that cannot be read: long enough for a key, and as no other.
fn stand_in(what: &str) -> String {
    let what = what
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' });
    format!("not-readable-here:{}", what.collect::<String>())
}

/// Whether the value at this path is a secret by its name: the value of a header that authenticates.
fn is_secret(path: &[String]) -> bool {
    is_of_secret(path, "fixed")
}

/// Longest text of a format beside the value, in bytes.
const SCHEME_BYTES_MAX: usize = 32;

/// Whether this format of a header that authenticates has more in it than the name of a scheme.
fn is_secret_format(path: &[String], format: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphabetic() || " =:\"'-_,;".contains(letter);
    let beside = format.replacen("{}", "", 1);
    let is_scheme = beside.len() <= SCHEME_BYTES_MAX && beside.chars().all(is_plain);
    is_of_secret(path, "format") && !is_scheme
}

/// Whether this is the path of a member of a header that authenticates.
fn is_of_secret(path: &[String], member: &str) -> bool {
    let [backend, headers, name, last] = path else {
        return false;
    };
    if backend != "backend" || headers != "headers" || last != member {
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

/// Whether this text at this path is a secret of a log: a password, or an address with one in it.
fn is_secret_of_log(path: &[String], text: &str) -> bool {
    let [section, key] = path else {
        return false;
    };
    if !log::is_of_log(section) {
        return false;
    }
    let has_password = || {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        // Of several servers each may have one.
        rest.split(',').any(|server| {
            let login = server.rsplit_once('@').map(|(login, _)| login);
            login.is_some_and(|login| login.contains(':'))
        }) || rest.to_ascii_lowercase().contains("password=")
    };
    match key.as_str() {
        "password" | "token" | "nkey" | "credentials" => true,
        "url" => has_password(),
        _ => false,
    }
}
