//! Redis: its address.

use ht_broker::redis::describe;

use crate::config::kind::{Kind, Wrong, quoted};
use crate::config::node::Node;

/// The server's address; empty for none. A secret: it is never shown.
pub(crate) struct RedisUrl;

impl Kind for RedisUrl {
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
        "an address such as \"redis://user:password@host:6379/0\" (special characters \
         percent-encoded), or \"\" for none"
            .into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}
