//! The schema that holds the log: its SQL, and the rights that roles need.

use std::fmt::Write as _;

/// The version of the SQL below.
pub(super) const VERSION: i32 = 1;

/// Longest name of a schema, in bytes: names of channels are made of it.
const NAME_BYTES_MAX: usize = 48;

const SQL: &str = include_str!("schema.sql");

/// The name of a schema: letters, digits and underscores, so that it needs no quoting anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema(Box<str>);

/// Not the name of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of the schema must have 1 to {NAME_BYTES_MAX} small letters, digits and underscores, \
     and not begin with a digit or with pg_"
)]
pub struct SchemaError;

impl Schema {
    /// The schema with this name.
    ///
    /// # Errors
    /// When it would need quoting, is too long, or is PostgreSQL's own.
    pub fn new(name: &str) -> Result<Self, SchemaError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let fits = name.len() <= NAME_BYTES_MAX
            && name.bytes().next().is_some_and(letter)
            && name
                .bytes()
                .all(|byte| letter(byte) || byte.is_ascii_digit())
            && !name.starts_with("pg_");
        if fits {
            Ok(Self(name.into()))
        } else {
            Err(SchemaError)
        }
    }

    /// Its name, which is also that of the channel of notifications.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The channel that tells of new rows in the outbox.
    pub(super) fn outbox_channel(&self) -> String {
        format!("{}_outbox", self.0)
    }

    /// The SQL that makes log and outbox, or leaves them as they are.
    #[must_use]
    pub fn sql(&self) -> String {
        // Quoted: a name may be one of SQL's own words.
        self.fill(SQL)
    }

    /// A statement about this schema.
    pub(super) fn fill(&self, sql: &str) -> String {
        sql.replace("{schema}", &format!("\"{}\"", self.0))
            .replace("{channel}", &self.0)
    }

    /// The SQL that gives a role what a gateway needs, and nothing more.
    #[must_use]
    pub fn grant_gateway(&self, role: &str) -> String {
        self.grant(
            role,
            &[
                "USAGE ON SCHEMA {schema}",
                "SELECT ON {schema}.ht_head, {schema}.ht_log",
                "EXECUTE ON FUNCTION {schema}.ht_append, {schema}.ht_move, {schema}.ht_trim, \
                 {schema}.ht_sleep",
            ],
        )
    }

    /// The SQL that gives a role what inserting into the outbox needs, and nothing more.
    #[must_use]
    pub fn grant_publisher(&self, role: &str) -> String {
        self.grant(
            role,
            &[
                "USAGE ON SCHEMA {schema}",
                "INSERT (body) ON {schema}.ht_outbox",
            ],
        )
    }

    fn grant(&self, role: &str, rights: &[&str]) -> String {
        let role = role.replace('"', "\"\"");
        let mut sql = String::new();
        for right in rights {
            let _ = writeln!(sql, "GRANT {} TO \"{role}\";", self.fill(right));
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        for name in ["high_templar", "a", "_1", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(Schema::new(name).unwrap().name(), name);
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in [
            "", "1a", "A", "a-b", "a\"b", "a'b", "a.b", "é", "pg_log", &long,
        ] {
            assert_eq!(Schema::new(name), Err(SchemaError), "{name}");
        }
    }

    #[test]
    fn sql_names_the_schema_everywhere() {
        let sql = Schema::new("select").unwrap().sql();
        assert!(sql.contains("CREATE TABLE IF NOT EXISTS \"select\".ht_log"));
        assert!(sql.contains("pg_notify('select', '')"));
        assert!(!sql.contains('{') && !sql.contains("high_templar"));
        let version = format!("VALUES ({VERSION})");
        assert!(
            sql.contains(&version),
            "the version of the code is that of the SQL"
        );
    }

    #[test]
    fn roles_are_quoted() {
        let sql = Schema::new("log").unwrap().grant_publisher("a\"; DROP");
        assert_eq!(
            sql,
            "GRANT USAGE ON SCHEMA \"log\" TO \"a\"\"; DROP\";\n\
             GRANT INSERT (body) ON \"log\".ht_outbox TO \"a\"\"; DROP\";\n"
        );
    }
}
