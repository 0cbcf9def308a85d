//! The table of forwarded headers.

use ht_backend::config::{HeaderRule, HeaderSource};
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use serde_json::json;

use crate::config::kind::{Kind, Wrong};
use crate::config::mistake::Mistakes;
use crate::config::node::{Node, Value};

/// One entry of the table: a header is added, changed or switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderChange {
    /// Forward it this way, replacing any header forwarded under this name.
    Set(HeaderRule),
    /// Do not forward it.
    Off(HeaderName),
}

/// Headers that belong to the connection or to the request itself.
const OURS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The table of forwarded headers.
pub(crate) struct Headers;

impl Kind for Headers {
    type Value = Vec<HeaderChange>;

    fn read(&self, node: &Node) -> Result<Vec<HeaderChange>, Wrong> {
        let Value::Table(entries) = node.structure().value else {
            return Err(Wrong::Kind);
        };
        let mut mistakes = Mistakes::default();
        let mut changes: Vec<HeaderChange> = Vec::new();
        for (name, entry) in &entries {
            match change(name, entry) {
                Ok(change) if changes.iter().any(|other| other.name() == change.name()) => {
                    let what = format!("the header {name} is written twice, in other letters");
                    mistakes.add(&entry.place, &format!("backend.headers.{name}"), what);
                }
                Ok(change) => changes.push(change),
                Err(what) => mistakes.add(&entry.place, &format!("backend.headers.{name}"), what),
            }
        }
        if mistakes.is_empty() {
            Ok(changes)
        } else {
            Err(Wrong::Inside(mistakes))
        }
    }

    fn expects(&self) -> String {
        "a table of headers, such as { X-Session-Token = { param = \"session_token\" } }".into()
    }

    fn show(&self, _value: &Vec<HeaderChange>) -> String {
        "{}".into()
    }

    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string" });
        let fixed = json!({ "anyOf": [text, { "$ref": "#/$defs/secret" }] });
        let rule = json!({
            "type": "object",
            "properties": {
                "header": text, "param": text, "cookie": text, "fixed": fixed, "format": text,
            },
            "additionalProperties": false,
        });
        json!({ "type": "object", "additionalProperties": { "anyOf": [rule, { "const": false }] } })
    }
}

impl HeaderChange {
    /// The header's name.
    pub(crate) fn name(&self) -> &HeaderName {
        match self {
            Self::Set(rule) => &rule.name,
            Self::Off(name) => name,
        }
    }
}

/// A header that always has the same value, if the value can be sent at all.
pub(crate) fn fixed_header(name: &'static str, value: &str) -> Option<HeaderChange> {
    HeaderValue::from_str(value).ok()?;
    Some(HeaderChange::Set(HeaderRule {
        name: HeaderName::from_static(name),
        source: HeaderSource::Fixed(value.to_owned()),
        format: None,
    }))
}

/// A header whose value is a parameter of the query string.
pub(crate) fn token_header(name: &'static str, param: &str) -> HeaderChange {
    HeaderChange::Set(HeaderRule {
        name: HeaderName::from_static(name),
        source: HeaderSource::Param(param.to_owned()),
        format: None,
    })
}

const EXPECTS: &str = "expected where the value comes from: { header = \"…\" }, { param = \"…\" }, \
     { cookie = \"…\" } or { fixed = \"…\" }, with format = \"Token {}\" if you like, or false to \
     forward nothing";

fn change(name: &str, entry: &Node) -> Result<HeaderChange, String> {
    let header = header_name(name)?;
    let change = match &entry.value {
        Value::Flag(false) => Ok(HeaderChange::Off(header)),
        Value::Table(members) => rule(header, members).map(HeaderChange::Set),
        Value::Raw(_)
        | Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Flag(true)
        | Value::List(_)
        | Value::Other(_) => Err(EXPECTS.to_owned()),
    }?;
    if is_host_of_the_visitors(&change) {
        return Err("clients must not choose it: expected { fixed = \"…\" }".to_owned());
    }
    Ok(change)
}

/// An API that serves several names would be another one for each client.
fn is_host_of_the_visitors(change: &HeaderChange) -> bool {
    match change {
        HeaderChange::Set(rule) => {
            rule.name == HOST && !matches!(rule.source, HeaderSource::Fixed(_))
        }
        HeaderChange::Off(name) => name == HOST,
    }
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name
        .parse()
        .map_err(|_| "this is not a header's name".to_owned())?;
    if OURS.contains(&header.as_str()) {
        return Err("the gateway sets this header itself; it cannot be forwarded".to_owned());
    }
    Ok(header)
}

fn rule(name: HeaderName, members: &[(String, Node)]) -> Result<HeaderRule, String> {
    let mut source = None;
    let mut format = None;
    for (member, node) in members {
        let Value::Text(text) = &node.value else {
            return Err(format!("{member}: expected a text in quotes"));
        };
        let found = match member.as_str() {
            "header" => HeaderSource::Header(header_source(text)?),
            "param" if !text.is_empty() => HeaderSource::Param(text.clone()),
            "cookie" if !text.is_empty() => HeaderSource::Cookie(text.clone()),
            "fixed" => HeaderSource::Fixed(sendable(text)?),
            "format" => {
                format = Some(template(text)?);
                continue;
            }
            "param" | "cookie" => return Err(format!("{member}: expected a name")),
            other => return Err(format!("there is no `{other}` here; {EXPECTS}")),
        };
        if source.replace(found).is_some() {
            return Err(
                "the value can come from one place only: header, param, cookie or fixed".to_owned(),
            );
        }
    }
    Ok(HeaderRule {
        name,
        source: source.ok_or_else(|| EXPECTS.to_owned())?,
        format,
    })
}

fn header_source(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| "header: this is not a header's name".to_owned())
}

// The value may be a secret, so it is not repeated in the message.
fn sendable(text: &str) -> Result<String, String> {
    match HeaderValue::from_str(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        Ok(_) => Err("fixed: expected a value; to forward nothing write false".to_owned()),
        Err(_) => Err("fixed: this value holds characters that no header can".to_owned()),
    }
}

fn template(text: &str) -> Result<String, String> {
    if text.matches("{}").count() != 1 || HeaderValue::from_str(text).is_err() {
        return Err("format: expected a text with one {} where the value goes".to_owned());
    }
    Ok(text.to_owned())
}
