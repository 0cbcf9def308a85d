//! API keys of the internal listener: one, or several during key rotation.

use ht_node::config::{API_KEYS_MAX, RESUME_SECRET_BYTES_MIN, RESUME_SECRETS_MAX, Secret};

use crate::config::kind::{Kind, Wrong, form, quoted};
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::{Node, Value};

/// One key or a list of keys; empty for none. They are secrets and never shown.
///
/// In a variable, a list is TOML or JSON; a comma alone does not separate keys, because it may be
/// part of one. A secret file has one key per line.
pub(crate) struct ApiKeys {
    /// The setting.
    pub(crate) key: &'static str,
    /// Most keys.
    pub(crate) most: usize,
    /// Shortest key, in bytes.
    pub(crate) bytes_min: usize,
}

impl ApiKeys {
    /// Keys that programs send.
    pub(crate) const fn of(key: &'static str) -> Self {
        Self {
            key,
            most: API_KEYS_MAX,
            bytes_min: 1,
        }
    }

    /// Secrets of resume tickets.
    pub(crate) const fn of_tickets(key: &'static str) -> Self {
        Self {
            key,
            most: RESUME_SECRETS_MAX,
            bytes_min: RESUME_SECRET_BYTES_MIN,
        }
    }
}

impl Kind for ApiKeys {
    type Value = Vec<Secret>;

    fn read(&self, node: &Node) -> Result<Vec<Secret>, Wrong> {
        let wrong = || Wrong::Says(format!("expected {}", self.expects()));
        let items = texts(node).ok_or_else(wrong)?;
        if items.len() > self.most {
            return Err(wrong());
        }
        let mut mistakes = Mistakes::default();
        for item in &items {
            // The key travels in a header, where blanks at its ends would be lost.
            let text = item.text().unwrap_or_default();
            if text.len() < self.bytes_min || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                let hint = form::hint(item);
                let what = format!("expected {}{hint}", self.expects());
                mistakes.add(&item.place, self.key, what);
            }
        }
        if !mistakes.is_empty() {
            return Err(Wrong::Inside(mistakes));
        }
        let keys = items.iter().filter_map(Node::text);
        Ok(keys.map(|key| Secret(key.to_owned())).collect())
    }

    fn expects(&self) -> String {
        let length = match self.bytes_min {
            0 | 1 => String::new(),
            least => format!("at least {least} "),
        };
        let most = self.most;
        format!(
            "a key of {length}visible ASCII characters without blanks, a list of up to {most} of \
             them, or \"\" for none"
        )
    }

    fn show(&self, _value: &Vec<Secret>) -> String {
        quoted("")
    }
}

/// Returns the first key in the text of a variable or secret file: the one that clients send.
pub(crate) fn first_key(text: &str, is_file: bool) -> String {
    let place = if is_file {
        WrittenAt::Secret {
            path: std::path::PathBuf::new(),
            named: Box::new(WrittenAt::Default),
        }
    } else {
        WrittenAt::Default
    };
    let node = Node {
        place,
        value: Value::Raw(text.to_owned()),
    };
    let keys = texts(&node).unwrap_or_default();
    let first = keys.first().and_then(Node::text);
    first.unwrap_or_default().to_owned()
}

/// Splits a value into its keys. Returns none if it is neither a text nor a list of texts.
fn texts(node: &Node) -> Option<Vec<Node>> {
    let is_text = |item: &Node| item.text().is_some();
    match (node.structure().value, &node.value) {
        (Value::List(items), _) if items.iter().all(is_text) => Some(items),
        // A key may begin with a bracket, and even look like a list of something else.
        (_, Value::Raw(text) | Value::Text(text)) if text.is_empty() => Some(Vec::new()),
        (_, Value::Raw(text)) if matches!(node.place, WrittenAt::Secret { .. }) => {
            let lines = text.lines().filter(|line| !line.is_empty());
            let item = |line: &str| Node {
                place: node.place.clone(),
                value: Value::Raw(line.to_owned()),
            };
            Some(lines.map(item).collect())
        }
        (_, Value::Raw(_) | Value::Text(_)) => Some(vec![node.clone()]),
        (
            _,
            Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_),
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(text: &str) -> Node {
        Node {
            place: WrittenAt::Secret {
                path: "key".into(),
                named: Box::new(WrittenAt::Variable("HT_INTERNAL__API_KEY_FILE".to_owned())),
            },
            value: Value::Raw(text.to_owned()),
        }
    }

    fn node(value: Value) -> Node {
        Node {
            place: WrittenAt::Variable("HT_INTERNAL__API_KEY".to_owned()),
            value,
        }
    }

    #[test]
    fn one_key_or_several_are_read_from_every_source() {
        let raw = |text: &str| node(Value::Raw(text.to_owned()));
        let text = |text: &str| node(Value::Text(text.to_owned()));
        let list =
            |items: &[&str]| node(Value::List(items.iter().map(|item| text(item)).collect()));
        for (node, expected) in [
            (raw(""), &[][..]),
            (raw("key"), &["key"]),
            (raw("a,b;c"), &["a,b;c"]),
            (raw("[\"new\", \"old\"]"), &["new", "old"]),
            (raw("['new','old']"), &["new", "old"]),
            (raw("[]"), &[]),
            (raw("[key]"), &["[key]"]),
            (raw("[1]"), &["[1]"]),
            (raw("{key}"), &["{key}"]),
            (text("key"), &["key"]),
            (text("[\"a\"]"), &["[\"a\"]"]),
            (text(""), &[]),
            (list(&["new", "old"]), &["new", "old"]),
            (list(&[]), &[]),
            (in_file("key"), &["key"]),
            (in_file("new\nold"), &["new", "old"]),
            (in_file("new\r\n\r\nold"), &["new", "old"]),
            (in_file("[\"new\",\n \"old\"]"), &["new", "old"]),
        ] {
            let kind = ApiKeys::of("internal.api_key");
            let keys = kind.read(&node).unwrap();
            let keys: Vec<_> = keys.iter().map(|Secret(key)| key.as_str()).collect();
            assert_eq!(keys, expected, "{node:?}");
        }
    }

    #[test]
    fn invalid_keys_are_refused_and_not_shown() {
        let texts = |items: &[&str]| {
            let item = |text: &&str| node(Value::Text((*text).to_owned()));
            node(Value::List(items.iter().map(item).collect()))
        };
        let many = ["geheim"; API_KEYS_MAX + 1];
        for node in [
            node(Value::Raw("geheim geheim".to_owned())),
            node(Value::Integer(1234)),
            node(Value::List(vec![node(Value::Integer(1234))])),
            texts(&["geheim", ""]),
            texts(&["geheim", "ge heim"]),
            texts(&many),
            in_file("geheim\nge heim"),
            in_file(&many.join("\n")),
        ] {
            let kind = ApiKeys::of("internal.api_key");
            let mut mistakes = Mistakes::default();
            assert_eq!(kind.take(&node, kind.key, &mut mistakes), None, "{node:?}");
            let text = mistakes.to_string();
            assert!(text.contains("visible ASCII"), "{text}");
            assert!(!text.contains("heim") && !text.contains("1234"), "{text}");
        }
    }

    #[test]
    fn the_first_key_is_the_one_to_send() {
        for (text, is_file, expected) in [
            ("key", false, "key"),
            ("[\"new\", \"old\"]", false, "new"),
            ("new,old", false, "new,old"),
            ("new\nold", true, "new"),
            ("", false, ""),
        ] {
            assert_eq!(first_key(text, is_file), expected, "{text}");
        }
    }
}
