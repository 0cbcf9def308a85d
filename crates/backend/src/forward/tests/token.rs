//! Tokens that are not in the query string: the same headers, and nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_proto::token::Token;
use http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::{headers, rule};
use crate::config::{BackendConfig, HeaderRule, HeaderSource};
use crate::credentials::Credentials;
use crate::forward::{ForwardError, ForwardRules};

fn token(text: &str) -> Token {
    Token::new(text).unwrap().unwrap()
}

fn rules(more: Vec<HeaderRule>) -> ForwardRules {
    let mut rules = BackendConfig::default_headers();
    rules.extend(more);
    ForwardRules::new(rules)
}

fn param(header: &'static str, name: &str) -> HeaderRule {
    rule(header, HeaderSource::Param(name.into()), None)
}

fn apply(rules: &ForwardRules, request: &[(&'static str, &[u8])], query: &str) -> Credentials {
    rules.apply(&headers(request), Some(query)).unwrap()
}

#[test]
fn a_token_adds_the_headers_of_the_parameter() {
    let rules = rules(vec![param("x-token", "token"), param("x-other", "other")]);
    for text in ["abc", "a b&c=d", "caf\u{e9}", "a%0d%0ab", "a=b=="] {
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC);
        let by_query = apply(&rules, &[], &format!("other=1&token={encoded}"));
        let mut added = apply(&rules, &[], "other=1");
        rules.add_token(&mut added, &token(text)).unwrap();
        assert_eq!(added.headers(), by_query.headers(), "{text}");
        let authorization = added.headers()["authorization"].as_bytes();
        assert_eq!(authorization, format!("Token {text}").as_bytes());
        assert!(added.headers()["authorization"].is_sensitive());
    }
}

#[test]
fn without_a_rule_a_token_adds_nothing() {
    let rules = rules(vec![param("authorization", "jwt")]);
    let mut credentials = apply(&rules, &[], "jwt=j&token=t");
    rules.add_token(&mut credentials, &token("u")).unwrap();
    assert_eq!(credentials.headers().len(), 1);
    assert_eq!(credentials.headers()["authorization"], "j");
}

#[test]
fn two_tokens_must_be_equal() {
    let rules = rules(Vec::new());
    for (query, expected) in [
        ("token=t", Ok(())),
        ("token=", Ok(())),
        ("", Ok(())),
        ("token=%74", Ok(())),
        ("token=T", Err(ForwardError::TwoTokens)),
        ("token=other&token=t", Err(ForwardError::TwoTokens)),
    ] {
        let mut credentials = apply(&rules, &[], query);
        let added = rules.add_token(&mut credentials, &token("t"));
        assert_eq!(added, expected, "{query}");
    }
}

#[test]
fn what_identifies_a_client() {
    let fixed = rule("referer", HeaderSource::Fixed("x".into()), None);
    let own = rule(
        "x-key",
        HeaderSource::Header(http::HeaderName::from_static("x-key")),
        None,
    );
    let rules = rules(vec![fixed, own, param("x-session-token", "session_token")]);
    let agent: (&'static str, &[u8]) = ("user-agent", b"Browser");
    let address: (&'static str, &[u8]) = ("x-real-ip", b"192.0.2.1");
    for (request, query, expected) in [
        (&[][..], "", false),
        (&[agent, address], "", false),
        (&[agent], "other=1&token=", false),
        (&[agent, ("cookie", b"theme=dark")], "", true),
        (&[agent], "token=t", true),
        (&[], "session_token=t", true),
        (&[("x-key", b"k")], "", true),
        (&[("authorization", b"Basic x")], "", false),
    ] {
        let credentials = apply(&rules, request, query);
        assert_eq!(
            rules.identify(&credentials),
            expected,
            "{request:?} {query}"
        );
    }
}

/// Texts in which things that break requests are likely.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        ".{0,6}",
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n\r\nGET /admin/ HTTP/1.1\r\n".to_owned()),
        Just("X-Real-IP: 127.0.0.1".to_owned()),
        Just("\0".to_owned()),
        Just("\u{7f}\u{85}\u{2028}".to_owned()),
        Just("../".to_owned()),
        Just("{}".to_owned()),
        Just("%0d%0a".to_owned()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_token_controls_nothing_but_one_value(text in hostile(), raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        let rules = rules(Vec::new());
        let found = [
            Token::new(&text),
            Token::from_base64url(text.as_bytes()),
            Token::from_base64url(URL_SAFE_NO_PAD.encode(&text).as_bytes()),
            Token::from_base64url(URL_SAFE_NO_PAD.encode(&raw).as_bytes()),
        ];
        prop_assert_eq!(&found[0], &found[2]);
        for token in found.into_iter().filter_map(|token| token.ok().flatten()) {
            let mut credentials = Credentials::from(HeaderMap::new());
            rules.add_token(&mut credentials, &token).unwrap();
            prop_assert_eq!(credentials.headers().len(), 1);
            let value = credentials.headers()["authorization"].as_bytes();
            let expected = [b"Token ", token.as_bytes()].concat();
            prop_assert_eq!(value, &expected[..]);
            prop_assert!(!value.iter().any(|byte| *byte < 0x20 || *byte == 0x7f));
        }
    }

    #[test]
    fn the_query_and_a_token_agree_about_what_may_pass(text in hostile()) {
        let rules = rules(Vec::new());
        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
        let by_query = rules.apply(&HeaderMap::new(), Some(&format!("token={encoded}")));
        match Token::new(&text) {
            Ok(Some(token)) => {
                let mut credentials = by_query.unwrap();
                prop_assert_eq!(rules.add_token(&mut credentials, &token), Ok(()));
                prop_assert_eq!(credentials.headers().len(), 1);
            }
            Ok(None) => prop_assert!(by_query.unwrap().headers().is_empty()),
            Err(_) => prop_assert!(by_query.is_err()),
        }
    }
}
