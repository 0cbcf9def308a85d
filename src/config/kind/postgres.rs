//! PostgreSQL: its address, and the name of the schema of the log.

use ht_broker::postgres::{Schema, describe};

use crate::config::kind::{Kind, Wrong, quoted};
use crate::config::node::Node;

/// The database's address; empty for none. A secret: it is never shown.
pub(crate) struct PostgresUrl;

impl Kind for PostgresUrl {
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
        "an address such as \"postgresql://user:password@host:5432/database?sslmode=verify-full\" \
         (special characters percent-encoded), or \"\" for none"
            .into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

/// The name of a schema.
pub(crate) struct SchemaName;

impl Kind for SchemaName {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Wrong> {
        let name = node.text().ok_or(Wrong::Kind)?;
        Schema::new(name).map_err(|error| Wrong::Says(error.to_string()))?;
        Ok(name.to_owned())
    }

    fn expects(&self) -> String {
        "the name of a schema, of small letters, digits and underscores".into()
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}
