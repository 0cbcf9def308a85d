//! JSON of a token, read strictly: a text that two readers could understand differently is invalid.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Whether `text` is the JSON text of an object in which no object, however deep, has two members of
/// one name (RFC 7515 section 4, RFC 7519 section 4: the stricter of the two choices there).
pub(crate) fn is_object(text: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Distinct).is_ok() && reader.end().is_ok()
}

/// Visits a whole value and refuses repeated names.
struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without repeated names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a repeated name"));
            }
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_repeated_at_any_depth() {
        for text in [
            "{}",
            r#"{"a": 1, "b": [{"a": 1}, {"a": 2}], "c": {"a": null}}"#,
            r#" {"a": "x", "A": -1.5e3, "": true} "#,
        ] {
            assert!(is_object(text), "{text}");
        }
        for text in [
            "",
            "[]",
            "null",
            "\"{}\"",
            "{} x",
            "{}{}",
            r#"{"a": 1,}"#,
            r#"{"a": 1, "a": 1}"#,
            // The same name, written otherwise.
            r#"{"a": 1, "\u0061": 1}"#,
            r#"{"b": [{"a": 1, "a": 2}]}"#,
            r#"{"c": {"d": {"a": 1, "b": 2, "a": 3}}}"#,
        ] {
            assert!(!is_object(text), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(!is_object(&deep));
    }
}
