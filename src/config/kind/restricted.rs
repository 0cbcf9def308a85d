//! API keys that are restricted to some endpoints of the internal listener.

use ht_node::config::{RESTRICTED_KEYS_MAX, RestrictedKey, Right, Rights, Secret};

use crate::config::kind::{Kind, Wrong};
use crate::config::mistake::Mistakes;
use crate::config::node::{Node, Value};

/// A list of keys with their rights. The keys are secrets and never shown.
pub(crate) struct RestrictedKeys {
    /// The setting.
    pub(crate) key: &'static str,
}

impl Kind for RestrictedKeys {
    type Value = Vec<RestrictedKey>;

    fn read(&self, node: &Node) -> Result<Vec<RestrictedKey>, Wrong> {
        let list = KeyList {
            setting: self.key,
            max: RESTRICTED_KEYS_MAX,
            expects: self.expects(),
        };
        list.read(node, restricted, |one, other| one.key == other.key)
    }

    fn expects(&self) -> String {
        format!(
            "a list of up to {RESTRICTED_KEYS_MAX} keys, such as [{{ key = \"…\", may = \
             [\"publish\"] }}]"
        )
    }

    fn show(&self, _value: &Vec<RestrictedKey>) -> String {
        "[]".into()
    }
}

/// A list of keys, each of which occurs once.
pub(crate) struct KeyList {
    /// The setting.
    pub(crate) setting: &'static str,
    /// The most keys of it.
    pub(crate) max: usize,
    /// What is expected, to follow the word "expected".
    pub(crate) expects: String,
}

impl KeyList {
    /// Reads each by `one`, whose error does not repeat the key.
    pub(crate) fn read<T>(
        &self,
        node: &Node,
        one: impl Fn(&Node) -> Result<T, String>,
        is_same: impl Fn(&T, &T) -> bool,
    ) -> Result<Vec<T>, Wrong> {
        let items = match node.structure().value {
            Value::List(items) if items.len() <= self.max => items,
            Value::Raw(text) if text.is_empty() => Vec::new(),
            Value::Raw(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Flag(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => return Err(Wrong::Says(format!("expected {}", self.expects))),
        };
        let mut mistakes = Mistakes::default();
        let mut keys: Vec<T> = Vec::new();
        for (number, item) in (1..).zip(&items) {
            let what = match one(item) {
                Ok(new) if keys.iter().any(|other| is_same(&new, other)) => {
                    format!("key {number} is written twice: join what it may do")
                }
                Ok(new) => {
                    keys.push(new);
                    continue;
                }
                Err(what) => format!("key {number}: {what}"),
            };
            mistakes.add(&item.place, self.setting, what);
        }
        if mistakes.is_empty() {
            Ok(keys)
        } else {
            Err(Wrong::Inside(mistakes))
        }
    }
}

/// Reads one key. The error does not repeat it.
fn restricted(item: &Node) -> Result<RestrictedKey, String> {
    const EXPECTS: &str = "expected { key = \"…\", may = [\"publish\"] }";
    let Value::Table(members) = &item.value else {
        return Err(EXPECTS.to_owned());
    };
    let (mut key, mut may) = (None, None);
    for (member, node) in members {
        match member.as_str() {
            "key" => key = Some(key_of(node)?),
            "may" => may = Some(rights(node)?),
            other => return Err(format!("there is no `{other}` here; {EXPECTS}")),
        }
    }
    match (key, may) {
        (Some(key), Some(may)) => Ok(RestrictedKey { key, may }),
        (None, _) | (_, None) => Err(EXPECTS.to_owned()),
    }
}

/// A key: it travels in a header, where blanks at its ends would be lost.
fn key_of(node: &Node) -> Result<Secret, String> {
    match node.text() {
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Secret(text.to_owned()))
        }
        _ => Err("expected a `key` of visible ASCII characters without blanks".to_owned()),
    }
}

/// Reads what a key may do.
pub(crate) fn rights(node: &Node) -> Result<Rights, String> {
    let words = Right::ALL.map(Right::as_str).join(", ");
    let expects = || format!("expected in `may` a list of at least one of: {words}");
    let Value::List(items) = &node.value else {
        return Err(expects());
    };
    let right = |item: &Node| {
        let word = item.text()?;
        Right::ALL.into_iter().find(|right| right.as_str() == word)
    };
    let rights: Option<Vec<_>> = items.iter().map(right).collect();
    let rights = rights.filter(|rights| !rights.is_empty());
    Ok(rights.ok_or_else(expects)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::WrittenAt;

    const KIND: RestrictedKeys = RestrictedKeys {
        key: "internal.keys",
    };

    /// From a variable, in TOML or JSON.
    fn written(text: &str) -> Node {
        Node {
            place: WrittenAt::Variable("HT_INTERNAL__KEYS".to_owned()),
            value: Value::Raw(text.to_owned()),
        }
    }

    #[test]
    fn keys_have_their_rights() {
        for (text, expected) in [
            ("", &[][..]),
            ("[]", &[]),
            (
                r#"[{ key = "a", may = ["publish"] }, { may = ["read", "command"], key = "b,c" }]"#,
                &[
                    ("a", &[Right::Publish][..]),
                    ("b,c", &[Right::Command, Right::Read]),
                ],
            ),
            (
                r#"[{"key": "a", "may": ["publish", "publish", "command", "read", "admin"]}]"#,
                &[("a", &Right::ALL)],
            ),
        ] {
            let expected = expected.iter().map(|(key, may)| RestrictedKey {
                key: Secret((*key).to_owned()),
                may: may.iter().copied().collect(),
            });
            let found = KIND.read(&written(text)).unwrap();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn mistakes_do_not_show_the_key() {
        let many = (0..17).map(|n| format!(r#"{{"key": "geheim{n}", "may": ["read"]}}"#));
        let many = format!("[{}]", many.collect::<Vec<_>>().join(", "));
        for (text, part) in [
            ("geheim", "expected a list of up to 16 keys"),
            (&*many, "expected a list of up to 16 keys"),
            (r#"{"key": "geheim"}"#, "expected a list of up to 16 keys"),
            (r#"["geheim"]"#, "key 1: expected { key = "),
            (r#"[{"key": "geheim"}]"#, "key 1: expected { key = "),
            (r#"[{"may": ["read"]}]"#, "key 1: expected { key = "),
            (
                r#"[{"key": "geheim", "may": ["read"], "tenant": "a"}]"#,
                "key 1: there is no `tenant` here",
            ),
            (
                r#"[{"key": "ge heim", "may": ["read"]}]"#,
                "key 1: expected a `key` of visible",
            ),
            (
                r#"[{"key": "", "may": ["read"]}]"#,
                "key 1: expected a `key` of visible",
            ),
            (
                r#"[{"key": 7, "may": ["read"]}]"#,
                "key 1: expected a `key` of visible",
            ),
            (
                r#"[{"key": "geheim", "may": []}]"#,
                "one of: publish, command, read, admin",
            ),
            (
                r#"[{"key": "geheim", "may": "read"}]"#,
                "one of: publish, command, read, admin",
            ),
            (
                r#"[{"key": "geheim", "may": ["write"]}]"#,
                "one of: publish, command, read, admin",
            ),
            (
                r#"[{"key": "geheim", "may": ["read"]}, {"key": "geheim", "may": ["publish"]}]"#,
                "key 2 is written twice",
            ),
        ] {
            let mut mistakes = Mistakes::default();
            assert_eq!(
                KIND.take(&written(text), KIND.key, &mut mistakes),
                None,
                "{text}"
            );
            let found = mistakes.to_string();
            assert!(found.contains(part), "{text}: {found}");
            assert!(!found.contains("heim"), "{found}");
        }
    }
}
