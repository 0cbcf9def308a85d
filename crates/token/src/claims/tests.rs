//! Claims of time, audience and identity, in tables.

use super::*;

const NOW: u64 = 1_800_000_000;

fn rules() -> Rules {
    Rules {
        claim: "ht".into(),
        user: "sub".into(),
        session: "sid".into(),
        max_life: Duration::from_secs(3600),
        leeway: Duration::from_secs(30),
    }
}

fn issuer(audience: &[&str]) -> Issuer {
    Issuer {
        iss: "api".into(),
        audience: audience.iter().map(|one| (*one).into()).collect(),
        algorithms: Box::default(),
        kind: None,
        secrets: Box::default(),
        keys: None,
        has_key_set: false,
    }
}

/// Checks claims that expire in a minute, and these.
fn check(members: &str) -> Result<Claims, Reason> {
    let comma = if members.is_empty() { "" } else { "," };
    check_whole(&format!(r#"{{"exp": {}{comma} {members}}}"#, NOW + 60))
}

fn check_whole(payload: &str) -> Result<Claims, Reason> {
    Claims::check(payload, &issuer(&[]), &rules(), Duration::from_secs(NOW))
}

#[test]
fn times_are_numbers_within_the_leeway() {
    for (payload, reason) in [
        (r#"{"exp": 1800000060}"#, None),
        (r#"{"exp": 1800000060.5}"#, None),
        (r#"{"exp": 1.80000006e9}"#, None),
        // A clock that is 20 s ahead of the issuer's, and one of 40 s.
        (r#"{"exp": 1799999980}"#, None),
        (r#"{"exp": 1799999960}"#, Some(Reason::Expired)),
        (r#"{"exp": 1799999970}"#, Some(Reason::Expired)),
        (r#"{"exp": 0}"#, Some(Reason::Expired)),
        ("{}", Some(Reason::Time)),
        (r#"{"exp": null}"#, Some(Reason::Time)),
        (r#"{"exp": "1800000060"}"#, Some(Reason::Time)),
        (r#"{"exp": -1}"#, Some(Reason::Time)),
        (r#"{"exp": 1e300}"#, Some(Reason::Time)),
        (r#"{"exp": 1800003630}"#, None),
        (r#"{"exp": 1800003631}"#, Some(Reason::TooLongLived)),
        (r#"{"exp": 1800000060, "nbf": 1800000030}"#, None),
        (
            r#"{"exp": 1800000060, "nbf": 1800000031}"#,
            Some(Reason::TooEarly),
        ),
        (
            r#"{"exp": 1800000060, "iat": 1800000031}"#,
            Some(Reason::TooEarly),
        ),
        (r#"{"exp": 1800000060, "nbf": "0"}"#, Some(Reason::Time)),
        (r#"{"exp": 1800000060, "iat": []}"#, Some(Reason::Time)),
    ] {
        assert_eq!(check_whole(payload).err(), reason, "{payload}");
    }
}

#[test]
fn one_audience_is_enough() {
    let aud = |aud: &str| {
        let payload = format!(r#"{{"exp": {}{aud}}}"#, NOW + 60);
        let issuer = issuer(&["a", "b"]);
        Claims::check(&payload, &issuer, &rules(), Duration::from_secs(NOW)).err()
    };
    for good in [r#", "aud": "a""#, r#", "aud": ["x", "b"]"#] {
        assert_eq!(aud(good), None, "{good}");
    }
    for bad in [
        "",
        r#", "aud": "A""#,
        r#", "aud": "a b""#,
        r#", "aud": []"#,
        r#", "aud": {"a": "a"}"#,
        r#", "aud": null"#,
        r#", "aud": ["a", 1]"#,
    ] {
        assert_eq!(aud(bad), Some(Reason::Audience), "{bad}");
    }
}

#[test]
fn the_client_is_known_by_its_claims() {
    let claims = check(
        r#""sub": 7, "sid": "s", "jti": "j", "iat": 1799999999, "ht": {"allowed_rooms": []}"#,
    )
    .unwrap();
    assert_eq!(claims.user.as_deref(), Some("7"));
    assert_eq!(claims.session.as_deref(), Some("s"));
    assert_eq!(claims.issued, Some(Duration::from_secs(1_799_999_999)));
    assert_eq!(
        claims.permissions.as_deref(),
        Some(r#"{"allowed_rooms": []}"#)
    );
    assert_eq!(claims.expires, Duration::from_secs(NOW + 60));

    let claims = check(r#""jti": "j", "ht": null"#).unwrap();
    assert_eq!(claims.session.as_deref(), Some("j"));
    assert_eq!(claims.user, None);
    assert_eq!(claims.permissions, None);
}

#[test]
fn claims_have_types() {
    for members in [
        r#""ht": []"#,
        r#""ht": "{}""#,
        r#""ht": 1"#,
        r#""sub": {}"#,
        r#""sub": null"#,
        r#""sid": 7"#,
        r#""jti": """#,
    ] {
        assert_eq!(check(members).err(), Some(Reason::Claims), "{members}");
    }
}
