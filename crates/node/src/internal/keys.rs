//! Authentication by API key: which of the configured keys a request carries.

use http::{HeaderMap, header};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::{API_KEYS_MAX, RestrictedKey, Rights, Secret};
use crate::counters::KeyPosition;

/// The key that a request carries, and its rights; `None` if it carries none of these. Every key is
/// compared, in constant time, whichever of them matches.
pub(super) fn used(
    headers: &HeaderMap,
    api_keys: &[Secret],
    keys: &[RestrictedKey],
) -> Option<(KeyPosition, Rights)> {
    let given = given(headers)?;
    let all = (0_u64..).zip(api_keys);
    let restricted = (API_KEYS_MAX as u64..).zip(keys.iter().map(|key| &key.key));
    let (mut is_known, mut used) = (Choice::from(0), 0_u64);
    for (index, Secret(key)) in all.chain(restricted) {
        let is_this = given.ct_eq(key.as_bytes());
        used.conditional_assign(&index, is_this & !is_known);
        is_known |= is_this;
    }
    if !bool::from(is_known) {
        return None;
    }
    let used = usize::try_from(used).ok()?;
    let may = match used.checked_sub(API_KEYS_MAX) {
        Some(restricted) => keys.get(restricted)?.may,
        None => Rights::ALL,
    };
    Some((*KeyPosition::ALL.get(used)?, may))
}

/// The key that a request carries.
pub(super) fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, given) = given.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(given)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::{RESTRICTED_KEYS_MAX, Right};

    #[test]
    fn position_of_the_key_is_returned() {
        let all: Vec<_> = (1..=API_KEYS_MAX).map(|n| format!("key-{n}")).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        for (keys, authorization, expected) in [
            (&["new", "old"][..], "Bearer new", Some("1")),
            (&["new", "old"], "Bearer old", Some("2")),
            (&["new", "old"], "bearer old", Some("2")),
            (&["same", "same"], "Bearer same", Some("1")),
            (&all, "Bearer key-8", Some("8")),
            (&["new", "old"], "Bearer newold", None),
            (&["new", "old"], "Bearer ne", None),
            (&["new", "old"], "Bearer  new", None),
            (&["new", "old"], "Bearer ", None),
            (&["new", "old"], "Basic new", None),
            (&["new", "old"], "new", None),
            (&["new", "old"], "", None),
            (&[], "Bearer new", None),
        ] {
            let keys: Vec<_> = keys.iter().map(|key| Secret((*key).to_owned())).collect();
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_static(authorization);
            headers.insert(header::AUTHORIZATION, value);
            let used = used(&headers, &keys, &[]);
            assert_eq!(
                used.map(|(key, _)| key.as_str()),
                expected,
                "{authorization:?}"
            );
            assert!(used.is_none_or(|(_, may)| may == Rights::ALL));
        }
        let keys = [Secret("new".to_owned())];
        assert_eq!(used(&HeaderMap::new(), &keys, &[]), None);
    }

    #[test]
    fn a_restricted_key_has_its_own_rights() {
        let restricted: Vec<_> = (1..=RESTRICTED_KEYS_MAX)
            .map(|n| RestrictedKey {
                key: Secret(format!("restricted-{n}")),
                may: [Right::ALL[n % Right::ALL.len()]].into_iter().collect(),
            })
            .collect();
        let carrying = |key: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::try_from(format!("Bearer {key}")).unwrap();
            headers.insert(header::AUTHORIZATION, value);
            headers
        };
        for api_keys in [&[][..], &[Secret("all".to_owned())]] {
            for (n, key) in (1..).zip(&restricted) {
                let (position, may) = used(&carrying(&key.key.0), api_keys, &restricted).unwrap();
                assert_eq!(position.as_str(), format!("keys-{n}"));
                assert_eq!(may, key.may);
            }
            let all = used(&carrying("all"), api_keys, &restricted);
            assert_eq!(all.is_some(), !api_keys.is_empty());
            assert!(all.is_none_or(|(_, may)| may == Rights::ALL));
            assert_eq!(used(&carrying("restricted-"), api_keys, &restricted), None);
        }
    }
}
