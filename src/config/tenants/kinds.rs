//! What the settings of a tenant can be.

use ht_node::config::{KeyHash, PublishKey, Right, TenantName};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::config::kind::{KeyList, Kind, UrlPath, Wrong, quoted, rights};
use crate::config::mistake::WrittenAt;
use crate::config::node::{Node, Value};

/// Most keys of a tenant's publishers.
const PUBLISH_KEYS_MAX: usize = 16;

/// Shortest secret key that is read from a file or a variable, in bytes.
const PUBLISH_KEY_BYTES_MIN: usize = 16;

/// Longest public key, in bytes.
const KEY_BYTES_MAX: usize = 100;

/// The name of a tenant.
pub(crate) struct Named;

impl Kind for Named {
    type Value = Option<TenantName>;

    fn read(&self, node: &Node) -> Result<Option<TenantName>, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        text.parse().map(Some).map_err(|_| Wrong::Kind)
    }

    fn expects(&self) -> String {
        "a name of 1 to 40 characters a-z, 0-9 and -".into()
    }

    fn show(&self, value: &Option<TenantName>) -> String {
        quoted(value.as_ref().map_or("", TenantName::as_str))
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[a-z0-9-]{1,40}$" })
    }
}

/// The path of a tenant's websocket; empty for none.
pub(crate) struct TenantPath;

impl Kind for TenantPath {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        match node.text() {
            Some("") => Ok(Some(String::new())),
            Some("/") => Err(Wrong::Says(
                "\"/\": a tenant's path has a name of its own".into(),
            )),
            Some(_) | None => UrlPath.read(node).map(Some),
        }
    }

    fn expects(&self) -> String {
        "a path that begins with a slash, such as \"/t/acme/ws/\", or \"\" for none".into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or("/t/<name>/ws/"))
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^(/[^?#\\s]+)?$" })
    }
}

/// A tenant's public key; empty for none.
pub(crate) struct PublicKey;

impl Kind for PublicKey {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?;
        // It is part of a subprotocol, which is a token of HTTP.
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if text.len() > KEY_BYTES_MAX || !text.bytes().all(is_known) {
            return Err(Wrong::Kind);
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn expects(&self) -> String {
        format!("a text of up to {KEY_BYTES_MAX} letters, digits and - . _, or \"\" for none")
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{0,100}$" })
    }
}

/// The keys of a tenant's publishers.
pub(crate) struct PublishKeys;

const EXPECTS: &str = "expected { hash = \"sha256:…\", may = [\"publish\"] }";

impl Kind for PublishKeys {
    type Value = Vec<PublishKey>;

    fn read(&self, node: &Node) -> Result<Vec<PublishKey>, Wrong> {
        let list = KeyList {
            setting: "publish_keys",
            max: PUBLISH_KEYS_MAX,
            expects: self.expects(),
        };
        list.read(node, publish_key, |one, other| one.hash == other.hash)
    }

    fn expects(&self) -> String {
        format!(
            "a list of up to {PUBLISH_KEYS_MAX} keys, such as [{{ hash = \"sha256:…\", may = \
             [\"publish\"] }}]"
        )
    }

    fn show(&self, _value: &Vec<PublishKey>) -> String {
        "[]".into()
    }

    fn schema(&self) -> serde_json::Value {
        let may = json!({
            "type": "array",
            "minItems": 1,
            "items": { "enum": MAY.map(Right::as_str) },
        });
        let secret = json!({ "$ref": "#/$defs/secret" });
        let hash = json!({
            "anyOf": [{ "type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$" }, secret],
        });
        json!({
            "type": "array",
            "maxItems": PUBLISH_KEYS_MAX,
            "items": {
                "type": "object",
                "properties": { "hash": hash, "key": secret, "may": may },
                "required": ["may"],
                "oneOf": [{ "required": ["hash"] }, { "required": ["key"] }],
                "additionalProperties": false,
            },
        })
    }
}

/// What a tenant's key may do: to administer is the operator's.
const MAY: [Right; 3] = [Right::Publish, Right::Command, Right::Read];

/// Reads one key. The error does not repeat it.
fn publish_key(item: &Node) -> Result<PublishKey, String> {
    let Value::Table(members) = &item.value else {
        return Err(EXPECTS.to_owned());
    };
    let (mut hash, mut may) = (None, None);
    for (member, node) in members {
        let found = match member.as_str() {
            "hash" => node
                .text()
                .and_then(|text| text.trim().parse::<KeyHash>().ok()),
            "key" => Some(digest(node)?),
            "may" => {
                may = Some(rights(node)?);
                continue;
            }
            other => return Err(format!("there is no `{other}` here; {EXPECTS}")),
        };
        let found = found.ok_or(
            "expected in `hash` the SHA-256 digest of the key, as \"sha256:\" and 64 hexadecimal \
             digits (printf %s \"$KEY\" | sha256sum)",
        )?;
        if hash.replace(found).is_some() {
            return Err("write either `hash` or `key`, not both".to_owned());
        }
    }
    match (hash, may) {
        (Some(_), Some(may)) if may.has(Right::Admin) => Err(
            "a tenant's key cannot have the right admin, which is about all tenants: put such a \
             key into internal.keys"
                .to_owned(),
        ),
        (Some(hash), Some(may)) => Ok(PublishKey { hash, may }),
        (None, _) | (_, None) => Err(EXPECTS.to_owned()),
    }
}

/// The digest of a key that a file or a variable holds.
fn digest(node: &Node) -> Result<KeyHash, String> {
    if !matches!(node.place, WrittenAt::Secret { .. }) {
        return Err(
            "a key itself is not written here, where others can read it: write its digest as \
             `hash`, or key = { file = \"…\" } or { env = \"…\" }"
                .to_owned(),
        );
    }
    let key = node.text().unwrap_or_default().as_bytes();
    if key.len() < PUBLISH_KEY_BYTES_MIN || !key.iter().all(u8::is_ascii_graphic) {
        return Err(format!(
            "expected a key of at least {PUBLISH_KEY_BYTES_MIN} visible ASCII characters without \
             blanks"
        ));
    }
    Ok(KeyHash::new(Sha256::digest(key).into()))
}
