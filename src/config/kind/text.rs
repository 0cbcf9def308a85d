//! Texts: names, choices, paths, hook calls and passwords.

use std::path::PathBuf;

use ht_backend::config::HookCall;
use ht_node::config::Secret;
use ht_proto::note::NODE_NAME_BYTES_MAX;
use http::Method;
use serde_json::json;

use crate::config::kind::{Kind, Wrong, quoted};
use crate::config::node::{Node, Value};

/// A value with a few named choices.
pub(crate) trait Choice: Sized + Copy + PartialEq + 'static {
    /// Every choice and its name.
    const ALL: &'static [(&'static str, Self)];
}

/// One of a few names.
pub(crate) struct Choose<T>(pub(crate) std::marker::PhantomData<T>);

impl<T> Choose<T> {
    /// The kind for the choices of `T`.
    pub(crate) fn one() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Choice> Kind for Choose<T> {
    type Value = T;

    fn read(&self, node: &Node) -> Result<T, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        T::ALL
            .iter()
            .find(|(name, _)| *name == text.trim())
            .map(|(_, value)| *value)
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        let names: Vec<_> = T::ALL.iter().map(|(name, _)| quoted(name)).collect();
        format!("one of {}", names.join(", "))
    }

    fn show(&self, value: &T) -> String {
        let name = T::ALL.iter().find(|(_, choice)| choice == value);
        quoted(name.map_or("", |(name, _)| name))
    }
}

/// A short name, not empty.
pub(crate) struct Name {
    /// The longest, in bytes.
    pub(crate) bytes_max: usize,
}

impl Kind for Name {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        node.text()
            .filter(|text| !text.is_empty() && text.len() <= self.bytes_max)
            .map(str::to_owned)
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        format!("a text of 1 to {} bytes", self.bytes_max)
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The name of a queue, or nothing.
pub(crate) struct QueueName;

/// Longest name of a queue of RabbitMQ, in bytes.
const QUEUE_NAME_BYTES_MAX: usize = 255;

impl Kind for QueueName {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        node.text()
            .filter(|text| text.len() <= QUEUE_NAME_BYTES_MAX && !text.starts_with("amq."))
            .map(str::to_owned)
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        format!("a name of at most {QUEUE_NAME_BYTES_MAX} bytes that does not begin with amq.")
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The name of a node, or nothing.
pub(crate) struct NodeName;

impl Kind for NodeName {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        node.text()
            .filter(|text| text.len() <= NODE_NAME_BYTES_MAX)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(str::to_owned)
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        format!("a name of at most {NODE_NAME_BYTES_MAX} ASCII characters without spaces")
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The permission bits of a unix socket, as octal text.
pub(crate) struct Mode;

impl Kind for Mode {
    type Value = u32;

    fn read(&self, node: &Node) -> Result<u32, Wrong> {
        node.text()
            .filter(|text| text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .filter(|mode| *mode <= 0o777)
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        "octal permission bits in quotes, such as \"0660\"".into()
    }

    fn show(&self, value: &u32) -> String {
        format!("\"{value:04o}\"")
    }
}

/// A file's path; empty for none.
pub(crate) struct File;

impl Kind for File {
    type Value = Option<PathBuf>;

    fn read(&self, node: &Node) -> Result<Option<PathBuf>, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        if text.contains('\0') {
            return Err(Wrong::Kind);
        }
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn expects(&self) -> String {
        "a path, or \"\" for none".into()
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        let path = value.as_ref().map(|path| path.display().to_string());
        quoted(&path.unwrap_or_default())
    }
}

/// A path below `backend.url`.
pub(crate) struct RelativePath;

impl Kind for RelativePath {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        below_url(text).map_err(Wrong::Says)?;
        Ok(text.to_owned())
    }

    fn expects(&self) -> String {
        "a path to append to backend.url, such as \"bootstrap/\"".into()
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The path of the websocket.
pub(crate) struct UrlPath;

impl Kind for UrlPath {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        let says = |what: &str| Err(Wrong::Says(format!("{text:?}: {what}")));
        if text.contains("://") {
            return says("write the path alone, without the scheme and the host");
        }
        if text.contains(['?', '#']) {
            return says("leave out what begins with ? or #");
        }
        if text.contains("//") {
            return says("two slashes follow each other");
        }
        if text.trim_end_matches('/') == "/health" {
            return says("this is the path of the health check");
        }
        let is_path = text.starts_with('/') && !text.contains(char::is_whitespace);
        match text.parse::<http::Uri>() {
            Ok(uri) if is_path && uri.path() == text => Ok(text.to_owned()),
            Ok(_) | Err(_) => Err(Wrong::Kind),
        }
    }

    fn expects(&self) -> String {
        "a path that begins with a slash, such as \"/app/ws/\"".into()
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// A hook's request, `POST user/notify_online/`; empty for none.
pub(crate) struct Call;

impl Kind for Call {
    type Value = Option<HookCall>;

    fn read(&self, node: &Node) -> Result<Option<HookCall>, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (method, path) = text.split_once(' ').ok_or(Wrong::Kind)?;
        let method: Method = method.parse().map_err(|_| Wrong::Kind)?;
        let known = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        if !known.contains(&method) {
            return Err(Wrong::Kind);
        }
        let path = path.trim();
        below_url(path).map_err(Wrong::Says)?;
        Ok(Some(HookCall {
            method,
            path: path.to_owned(),
        }))
    }

    fn expects(&self) -> String {
        "a method and a path to append to backend.url, such as \"POST user/notify_online/\", \
         or \"\" for no call"
            .into()
    }

    fn show(&self, value: &Option<HookCall>) -> String {
        let text = value
            .as_ref()
            .map(|call| format!("{} {}", call.method, call.path));
        quoted(&text.unwrap_or_default())
    }
}

/// Checks a path that is appended to `backend.url`.
fn below_url(path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(format!(
            "write the path without the leading slash ({:?}): it is appended to backend.url",
            path.trim_start_matches('/')
        ));
    }
    let fits = !path.contains(['#', ' ', '\t'])
        && format!("http://localhost/{path}")
            .parse::<http::Uri>()
            .is_ok();
    if fits {
        Ok(())
    } else {
        Err(format!(
            "{path:?} is not a path of a web address: percent-encode what does not belong there"
        ))
    }
}

/// A user's name or password; empty for none. A secret: it is never shown.
pub(crate) struct Password;

impl Kind for Password {
    type Value = Option<Secret>;

    fn read(&self, node: &Node) -> Result<Option<Secret>, Wrong> {
        let text = node.text().filter(|text| !text.contains(char::is_control));
        let text = text.ok_or_else(|| Wrong::Says(format!("expected {}", self.expects())))?;
        Ok((!text.is_empty()).then(|| Secret(text.to_owned())))
    }

    fn expects(&self) -> String {
        "a text of one line, or \"\" for none beside the one in the URL".into()
    }

    fn show(&self, _value: &Option<Secret>) -> String {
        quoted("")
    }
}

/// The way to a member of a JSON object, as a list of keys.
pub(crate) struct Steps;

impl Kind for Steps {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Wrong> {
        let Value::List(items) = node.structure().value else {
            return Err(Wrong::Kind);
        };
        items
            .iter()
            .map(|item| match &item.value {
                Value::Text(text) => Ok(text.clone()),
                Value::Raw(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Flag(_)
                | Value::List(_)
                | Value::Table(_)
                | Value::Other(_) => Err(Wrong::Kind),
            })
            .collect()
    }

    fn expects(&self) -> String {
        "a list of texts, such as [\"user\", \"id\"]".into()
    }

    fn show(&self, value: &Vec<String>) -> String {
        let steps: Vec<_> = value.iter().map(|step| quoted(step)).collect();
        format!("[{}]", steps.join(", "))
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }
}
