//! Sets of keys: what is used, skipped and refused.

use super::*;

/// The members of a P-256 key (RFC 7515 appendix A.3).
const P256: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

/// Why the only key of a set is skipped.
fn skipped(members: &str) -> Option<String> {
    let set = format!(r#"{{"keys": [{{{members}}}]}}"#);
    let (keys, mut skipped) = KeySet::parse(set.as_bytes()).unwrap();
    assert_eq!(keys.len() + skipped.len(), 1);
    skipped.pop().map(|skipped| skipped.why)
}

#[test]
fn keys_of_signatures_are_used() {
    for members in [
        P256.to_owned(),
        format!(r#"{P256}, "use": "sig", "alg": "ES256", "kid": "a""#),
        format!(r#"{P256}, "key_ops": ["sign", "verify"], "x5c": ["unread"]"#),
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#
            .to_owned(),
    ] {
        assert_eq!(skipped(&members), None, "{members}");
    }
}

#[test]
fn others_are_skipped_with_a_reason() {
    for (members, why) in [
        (format!(r#"{P256}, "use": "enc""#), "`use`"),
        (format!(r#"{P256}, "key_ops": ["encrypt"]"#), "`key_ops`"),
        (format!(r#"{P256}, "alg": "RS256""#), "`alg`"),
        (format!(r#"{P256}, "alg": "none""#), "`alg`"),
        (format!(r#"{P256}, "kid": 7"#), "wrong types"),
        (r#""kty":"oct","k":"AAAA""#.into(), "no business"),
        (
            r#""kty":"EC","crv":"secp256k1","x":"AA","y":"AA""#.into(),
            "curve",
        ),
        (
            r#""kty":"EC","crv":"P-256","x":"AA","y":"AA""#.into(),
            "coordinate",
        ),
        (r#""kty":"EC","crv":"P-256","x":"AA""#.into(), "no `y`"),
        (
            r#""kty":"EC","crv":"P-256","x":"AA==","y":"AA""#.into(),
            "base64url",
        ),
        (r#""kty":"RSA","n":"AQAB","e":"AQAB""#.into(), "bits"),
        (r#""kty":"unheard""#.into(), "type is not supported"),
        (String::new(), "wrong types"),
    ] {
        let found = skipped(&members).unwrap_or_else(|| panic!("not skipped: {members}"));
        assert!(found.contains(why), "{members}: {found}");
    }
}

#[test]
fn sets_are_bounded_and_typed() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": 1}"#,
        "<html>",
    ] {
        let found = KeySet::parse(text.as_bytes());
        assert!(matches!(found, Err(KeySetError::NotASet)), "{text}");
    }
    let many = |count: usize| format!(r#"{{"keys": [{}]}}"#, vec!["{}"; count].join(","));
    assert!(KeySet::parse(many(KEYS_MAX).as_bytes()).is_ok());
    let found = KeySet::parse(many(KEYS_MAX + 1).as_bytes());
    assert!(matches!(found, Err(KeySetError::TooMany(65))));
}
