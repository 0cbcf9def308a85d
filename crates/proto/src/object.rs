//! Reading a few members of a JSON object without touching the rest.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The kind of a JSON text.
pub enum Members<'a, const N: usize> {
    /// An object; the texts of the requested members, in the order of the names. Of several with
    /// one name the last counts.
    Object([Option<&'a str>; N]),
    /// Another JSON value.
    NotAnObject,
}

/// Reads the members `names` of the object in `text`, in one pass. Of equal names only the first
/// is given its value.
///
/// # Errors
/// When `text` is not JSON. The error's text may quote it.
pub fn members<'a, const N: usize>(
    text: &'a str,
    names: &[&str; N],
) -> Result<Members<'a, N>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_any(MembersVisitor(names))?;
    reader.end()?;
    Ok(found)
}

/// Reads every member of the object in `text`, in its order.
///
/// # Errors
/// When `text` is not the JSON text of an object. The error's text may quote it.
pub fn all_members(text: &str) -> Result<Vec<(String, &str)>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let all = reader.deserialize_map(AllVisitor)?;
    reader.end()?;
    Ok(all)
}

struct AllVisitor;

impl<'de> Visitor<'de> for AllVisitor {
    type Value = Vec<(String, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            all.push((name, value.get()));
        }
        Ok(all)
    }
}

struct MembersVisitor<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<'_, N> {
    type Value = Members<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            if let Some(index) = name {
                found[index] = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Members::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Members::NotAnObject)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Members::NotAnObject)
    }
}

/// Turns a key into its index among the names, if it is one of them.
struct Name<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Name<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Name<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<const N: usize>(text: &str, names: [&str; N]) -> Option<[Option<String>; N]> {
        match members(text, &names).unwrap() {
            Members::Object(found) => Some(found.map(|text| text.map(str::to_owned))),
            Members::NotAnObject => None,
        }
    }

    #[test]
    fn members_are_found_by_name_and_the_last_counts() {
        let text = r#" {"a": 1, "b": [1, {"a": 9}], "\u0061": 2.50, "c": null} "#;
        let some = |text: &str| Some(text.to_owned());
        let expected = [some("2.50"), some(r#"[1, {"a": 9}]"#), None];
        assert_eq!(found(text, ["a", "b", "x"]), Some(expected));
        assert_eq!(found(text, ["c", "c"]), Some([some("null"), None]));
    }

    #[test]
    fn all_members_are_returned_in_order() {
        let all = all_members(r#" {"b": [1, 2], "\u0061": null, "b": {"c": 3}} "#).unwrap();
        let expected = [("b", "[1, 2]"), ("a", "null"), ("b", r#"{"c": 3}"#)];
        assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(all_members("{}").unwrap().is_empty());
        for text in ["[]", "1", "null", "", "{", r#"{"a": 1} 2"#] {
            assert!(all_members(text).is_err(), "{text}");
        }
    }

    #[test]
    fn non_objects_are_distinguished_from_invalid_json() {
        for text in [
            "[]",
            "1",
            "-1.5e3",
            "18446744073709551616",
            "\"a\"",
            "null",
            "true",
        ] {
            assert_eq!(found(text, ["a"]), None, "{text}");
        }
        for text in ["", "{", r#"{"a": 1} 2"#, r#"{"a": NaN}"#, "{'a': 1}"] {
            assert!(members(text, &["a"]).is_err(), "{text}");
        }
    }
}
