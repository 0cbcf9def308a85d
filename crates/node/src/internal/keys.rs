//! Authentication by API key: which of the configured keys a request carries.

use http::{HeaderMap, header};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::Secret;
use crate::counters::KeyPosition;

/// Returns the position of the key that a request carries, or none if it carries none of `keys`.
/// Every key is compared, in constant time, whichever of them matches.
pub(super) fn used(headers: &HeaderMap, keys: &[Secret]) -> Option<KeyPosition> {
    let given = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, given) = given.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    let (mut is_known, mut used) = (Choice::from(0), 0_u64);
    for (index, Secret(key)) in (0_u64..).zip(keys) {
        let is_this = given.ct_eq(key.as_bytes());
        used.conditional_assign(&index, is_this & !is_known);
        is_known |= is_this;
    }
    if !bool::from(is_known) {
        return None;
    }
    usize::try_from(used)
        .ok()
        .and_then(|used| KeyPosition::ALL.get(used))
        .copied()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::API_KEYS_MAX;

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
            let used = used(&headers, &keys).map(KeyPosition::as_str);
            assert_eq!(used, expected, "{authorization:?}");
        }
        let keys = [Secret("new".to_owned())];
        assert_eq!(used(&HeaderMap::new(), &keys), None);
    }
}
