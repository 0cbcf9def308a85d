//! NATS: the address of its servers, the login, and the names of the log.

use ht_broker::nats::{Names, describe};
use ht_node::config::Secret;

use crate::config::kind::{Kind, Wrong, quoted};
use crate::config::node::Node;

/// The servers' address; empty for none. A secret: it is never shown.
pub(crate) struct NatsUrl;

impl Kind for NatsUrl {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        let says = |what: String| Wrong::Says(what);
        let text = node.text().map(str::trim);
        let text = text.ok_or_else(|| says(format!("expected {}", self.expects())))?;
        if text.is_empty() {
            return Ok(None);
        }
        // The sentence never repeats the address.
        describe(text).map_err(|error| says(error.to_string()))?;
        Ok(Some(text.to_owned()))
    }

    fn expects(&self) -> String {
        "an address such as \"nats://user:password@host:4222\" (tls:// for TLS, several servers \
         separated by commas, special characters percent-encoded), or \"\" for none"
            .into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

/// The content of a credentials file.
pub(crate) struct Credentials;

impl Kind for Credentials {
    type Value = Option<Secret>;

    fn read(&self, node: &Node) -> Result<Option<Secret>, Wrong> {
        let says = || Wrong::Says(format!("expected {}", self.expects()));
        let text = node.text().ok_or_else(says)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_whole = ["BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"]
            .iter()
            .all(|line| text.contains(line));
        is_whole
            .then(|| Some(Secret(text.to_owned())))
            .ok_or_else(says)
    }

    fn expects(&self) -> String {
        "the content of a credentials file, with a JWT and the seed of an NKey, or \"\" for none"
            .into()
    }

    fn show(&self, _value: &Option<Secret>) -> String {
        quoted("")
    }
}

/// The subject of triggers.
pub(crate) struct SubjectName;

impl Kind for SubjectName {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        let name = node.text().ok_or(Wrong::Kind)?;
        // Whatever the stream is called.
        Names::new(name, "log").map_err(|error| Wrong::Says(error.to_string()))?;
        Ok(name.to_owned())
    }

    fn expects(&self) -> String {
        "a subject without wildcards, such as \"hightemplar.triggers\"".into()
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The name of the stream; empty for the one of the subject.
pub(crate) struct StreamName;

impl Kind for StreamName {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        let name = node.text().ok_or(Wrong::Kind)?;
        // Whatever the subject is.
        Names::new("triggers", name).map_err(|error| Wrong::Says(error.to_string()))?;
        Ok(name.to_owned())
    }

    fn expects(&self) -> String {
        "the name of a stream, of letters, digits, - and _, or \"\" for one after the subject"
            .into()
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}
