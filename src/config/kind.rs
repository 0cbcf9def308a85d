//! What a setting can be: how it is read, what it expects and how its default is written.

mod address;
mod form;
mod headers;
mod keys;
mod list;
mod nats;
mod number;
mod postgres;
mod redis;
mod restricted;
mod tenant_host;
mod tenants;
mod text;

pub(crate) use address::{Address, AmqpUrl, BaseUrl, ServiceUrl};
pub(crate) use headers::{HeaderChange, Headers, fixed_header, token_header};
pub(crate) use keys::{ApiKeys, first_key};
pub(crate) use list::Listed;
pub(crate) use nats::{Credentials, NatsUrl, StreamName, SubjectName};
pub(crate) use number::{Count, Flag, Memory, Period, Size, period};
pub(crate) use postgres::{PostgresUrl, SchemaName};
pub(crate) use redis::RedisUrl;
pub(crate) use restricted::{KeyList, RestrictedKeys, rights};
pub(crate) use tenant_host::TenantHost;
pub(crate) use tenants::{DefaultTenant, TenantDefault, TenantsFrom};
pub(crate) use text::{
    Call, Choice, Choose, File, Mode, Name, NodeName, Password, QueueName, RelativePath, Steps,
    UrlPath,
};

use crate::config::mistake::Mistakes;
use crate::config::node::Node;

/// A kind of value.
pub(crate) trait Kind {
    /// What the setting becomes.
    type Value;

    /// Parses what was written, or returns what is expected instead.
    fn read(&self, node: &Node) -> Result<Self::Value, Wrong>;

    /// What is expected, to follow the word "expected".
    fn expects(&self) -> String;

    /// The value as it is written in the file.
    fn show(&self, value: &Self::Value) -> String;

    /// What may be written, as a JSON schema.
    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }

    /// Reads and notes every mistake.
    fn take(&self, node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Self::Value> {
        let read = form::plain(node).and_then(|node| self.read(&node));
        let what = match read {
            Ok(value) => return Some(value),
            Err(Wrong::Kind) => {
                let (expects, found) = (self.expects(), node.found());
                format!("expected {expects}; found {found}{}", form::hint(node))
            }
            Err(Wrong::Says(what)) => what + &form::hint(node),
            Err(Wrong::Inside(inside)) => {
                mistakes.0.extend(inside.0);
                return None;
            }
        };
        mistakes.add(&node.place, key, what);
        None
    }
}

/// Why a value is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is not what is expected; it is shown.
    Kind,
    /// A sentence of its own. The value is not shown.
    Says(String),
    /// Mistakes in its parts.
    Inside(Mistakes),
}

/// A text as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
