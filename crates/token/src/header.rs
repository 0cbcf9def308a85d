//! The header of a token (RFC 7515 section 4).

use ht_proto::object::{Members, members};

use crate::reason::Reason;

/// Longest `kid`, in bytes.
const KEY_ID_BYTES_MAX: usize = 256;

/// The parameters that are read. Those that name or contain a key (`jku`, `jwk`, `x5u`, `x5c`) are
/// not among them: a key never comes from the token that it is to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// As it stands there, whether or not it is the name of an algorithm.
    pub(crate) algorithm: Box<str>,
    pub(crate) key_id: Option<Box<str>>,
    pub(crate) kind: Option<Box<str>>,
    /// Whether it has `crit`, whatever that names.
    pub(crate) is_critical: bool,
}

impl Header {
    /// Reads the JSON text of an object.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        let names = ["alg", "kid", "typ", "crit", "b64"];
        let Ok(Members::Object([algorithm, key_id, kind, critical, b64])) = members(text, &names)
        else {
            return Err(Reason::Malformed);
        };
        let key_id = optional(key_id)?;
        if key_id
            .as_ref()
            .is_some_and(|id| id.len() > KEY_ID_BYTES_MAX)
        {
            return Err(Reason::Malformed);
        }
        Ok(Self {
            algorithm: optional(algorithm)?.ok_or(Reason::Malformed)?,
            key_id,
            kind: optional(kind)?,
            // An unencoded payload (RFC 7797) is announced by `crit`; without that it is an attack.
            is_critical: critical.is_some() || b64.is_some(),
        })
    }
}

/// A member that is a string, if it is there.
fn optional(json: Option<&str>) -> Result<Option<Box<str>>, Reason> {
    json.map(serde_json::from_str)
        .transpose()
        .map_err(|_| Reason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_read_have_types() {
        let header = Header::parse(r#"{"alg":"ES256","kid":"a","typ":"JWT","jku":"https://x/"}"#);
        assert_eq!(
            header,
            Ok(Header {
                algorithm: "ES256".into(),
                key_id: Some("a".into()),
                kind: Some("JWT".into()),
                is_critical: false,
            })
        );
        for text in [
            "{}",
            r#"{"alg": null}"#,
            r#"{"alg": ["HS256"]}"#,
            r#"{"alg": "HS256", "kid": 7}"#,
            r#"{"alg": "HS256", "kid": null}"#,
            r#"{"alg": "HS256", "typ": {}}"#,
        ] {
            assert_eq!(Header::parse(text), Err(Reason::Malformed), "{text}");
        }
        let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
        assert_eq!(Header::parse(&long), Err(Reason::Malformed));
    }

    #[test]
    fn any_crit_is_critical() {
        for text in [
            r#"{"alg": "HS256", "crit": ["exp"]}"#,
            r#"{"alg": "HS256", "crit": []}"#,
            r#"{"alg": "HS256", "crit": null}"#,
            r#"{"alg": "HS256", "b64": false}"#,
        ] {
            assert!(Header::parse(text).unwrap().is_critical, "{text}");
        }
    }
}
