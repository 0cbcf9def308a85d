//! The registered claims of a token (RFC 7519 section 4.1).

#[cfg(test)]
mod tests;

use std::time::Duration;

use ht_proto::object::{Members, members};
use ht_proto::who;

use crate::issuer::Issuer;
use crate::reason::Reason;
use crate::rules::Rules;

/// Latest time that a claim may have, in seconds since 1970: the year 9999.
const TIME_MAX: f64 = 253_402_300_800.0;

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: Option<Box<str>>,
    /// The sign-in: the configured claim, else `jti`.
    pub session: Option<Box<str>>,
    /// Time since 1970 at which it expires.
    pub expires: Duration,
    /// Time since 1970 at which it was issued, if it says so.
    pub issued: Option<Duration>,
    /// The JSON text of the claim that has the members of a bootstrap response; `None`: no rooms.
    pub permissions: Option<Box<str>>,
}

/// The claims that are read, as JSON texts.
struct Found<'a> {
    exp: Option<&'a str>,
    nbf: Option<&'a str>,
    iat: Option<&'a str>,
    aud: Option<&'a str>,
    jti: Option<&'a str>,
    user: Option<&'a str>,
    session: Option<&'a str>,
    permissions: Option<&'a str>,
}

impl Claims {
    /// Checks the claims in `payload`, the JSON text of an object, at `now`, a time since 1970.
    pub(crate) fn check(
        payload: &str,
        issuer: &Issuer,
        rules: &Rules,
        now: Duration,
    ) -> Result<Self, Reason> {
        let found = find(payload, rules)?;
        let expires = time(found.exp)?.ok_or(Reason::Time)?;
        let issued = time(found.iat)?;
        if now >= expires.saturating_add(rules.leeway) {
            return Err(Reason::Expired);
        }
        let starts = [time(found.nbf)?, issued];
        let latest = now.saturating_add(rules.leeway);
        if starts.into_iter().flatten().any(|start| start > latest) {
            return Err(Reason::TooEarly);
        }
        if expires.saturating_sub(now) > rules.max_life.saturating_add(rules.leeway) {
            return Err(Reason::TooLongLived);
        }
        if !issuer.audience.is_empty() && !is_for(found.aud, &issuer.audience) {
            return Err(Reason::Audience);
        }
        let user = found.user.map(|json| who::user(json).ok_or(Reason::Claims));
        let session = found.session.or(found.jti);
        let session = session.map(|json| who::session(json).map_err(|_| Reason::Claims));
        let permissions = found.permissions.filter(|json| *json != "null");
        if permissions.is_some_and(|json| !json.starts_with('{')) {
            return Err(Reason::Claims);
        }
        Ok(Self {
            user: user.transpose()?,
            session: session.transpose()?.flatten(),
            expires,
            issued,
            permissions: permissions.map(Into::into),
        })
    }
}

/// The claim `iss`; not verified.
pub(crate) fn issuer(payload: &str) -> Result<Box<str>, Reason> {
    let Ok(Members::Object([Some(iss)])) = members(payload, &["iss"]) else {
        return Err(Reason::Issuer);
    };
    serde_json::from_str(iss).map_err(|_| Reason::Issuer)
}

fn find<'a>(payload: &'a str, rules: &Rules) -> Result<Found<'a>, Reason> {
    let registered = ["exp", "nbf", "iat", "aud", "jti"];
    let Ok(Members::Object([exp, nbf, iat, aud, jti])) = members(payload, &registered) else {
        return Err(Reason::Malformed);
    };
    // One at a time: two settings may name one claim.
    let claim = |name: &str| match members(payload, &[name]) {
        Ok(Members::Object([found])) => found,
        Ok(Members::NotAnObject) | Err(_) => None,
    };
    Ok(Found {
        exp,
        nbf,
        iat,
        aud,
        jti,
        user: claim(&rules.user),
        session: claim(&rules.session),
        permissions: claim(&rules.claim),
    })
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, with or without a fraction.
fn time(json: Option<&str>) -> Result<Option<Duration>, Reason> {
    let Some(json) = json else {
        return Ok(None);
    };
    let seconds: f64 = serde_json::from_str(json).map_err(|_| Reason::Time)?;
    if !(0.0..=TIME_MAX).contains(&seconds) {
        return Err(Reason::Time);
    }
    Ok(Some(Duration::from_secs_f64(seconds)))
}

/// `aud` is a string or a list of strings (RFC 7519 section 4.1.3).
fn is_for(aud: Option<&str>, audience: &[Box<str>]) -> bool {
    let Some(json) = aud else {
        return false;
    };
    let named: Vec<Box<str>> = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map(|one| vec![one]),
        _ => serde_json::from_str(json),
    }
    .unwrap_or_default();
    named.iter().any(|one| audience.contains(one))
}
