//! What clients must have in common to share a call, and which results are kept for others.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use ht_overload::{CallTime, QueueKey, Reply};

use crate::answer::{Answer, Permissions};
use crate::credentials::Credentials;

/// What clients must have in common to share a call: every forwarded header, byte for byte and in
/// the same order, their tenant, their fair queue, and the reading of the clock of the calls at their arrival.
#[derive(Clone, Debug)]
pub(super) struct Key(Arc<(QueueKey, Credentials, CallTime)>);

impl Key {
    pub(super) fn new(credentials: Credentials, came_at: CallTime) -> Self {
        Self(Arc::new((
            credentials.address().into(),
            credentials,
            came_at,
        )))
    }

    /// The fair queue of its call.
    pub(super) fn address(&self) -> QueueKey {
        self.0.0
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.1
    }
}

impl ht_overload::Key for Key {
    fn queue_key(&self) -> QueueKey {
        self.address()
    }

    fn bytes(&self) -> usize {
        let headers = self.credentials().headers().iter();
        headers.map(|(_, value)| value.len()).sum()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.credentials().headers(), other.credentials().headers());
        let same = self.address() == other.address() && self.0.2 == other.0.2;
        let same = same && self.credentials().tenant() == other.credentials().tenant();
        same && own.iter().eq(others.iter())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address(), self.0.2, self.credentials().tenant()).hash(state);
        for (name, value) in self.credentials().headers() {
            name.hash(state);
            value.as_bytes().hash(state);
        }
    }
}

impl Reply for Answer {
    /// A failure is not shared: the circuit breaker handles those.
    fn kept(&self) -> Option<(Self, usize)> {
        match self {
            Self::Admitted(admission) => {
                let kept = Permissions {
                    // A copy, so that the whole response does not stay in memory.
                    allowed_rooms: Bytes::copy_from_slice(&admission.allowed_rooms),
                    ..admission.clone()
                };
                let bytes = kept.bytes();
                Some((Self::Admitted(kept), bytes))
            }
            Self::Refused(refusal) => Some((Self::Refused(refusal.clone()), 0)),
            Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::answer::{Failure, Refusal};

    fn key(address: &str, headers: &[(&'static str, &str)]) -> Key {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let credentials = Credentials::from(map);
        Key::new(
            credentials.from_address(Some(address.parse().unwrap())),
            CallTime::default(),
        )
    }

    #[test]
    fn only_identical_headers_from_the_same_address_are_equal() {
        let own = key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "x")]);
        let same = key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "x")]);
        assert!(own == same);
        for other in [
            key("10.0.0.2", &[("cookie", "a=1"), ("user-agent", "x")]),
            key("10.0.0.1", &[("cookie", "a=1"), ("user-agent", "X")]),
            key("10.0.0.1", &[("cookie", "a=1 "), ("user-agent", "x")]),
            key("10.0.0.1", &[("cookie", "a=1")]),
            key("10.0.0.1", &[("cookie", "a=1"), ("cookie", "a=1")]),
            key("10.0.0.1", &[("cookie", "a=1"), ("x-real-ip", "x")]),
            key("10.0.0.1", &[("user-agent", "a=1"), ("cookie", "x")]),
            key("10.0.0.1", &[]),
        ] {
            assert!(own != other, "{:?}", other.credentials());
        }
    }

    #[test]
    fn a_refusal_is_kept_and_a_failure_is_not() {
        let admitted = Answer::Admitted(Permissions {
            user_id: Some("12345".into()),
            ..Permissions::of("[{}]".into())
        });
        assert!(matches!(admitted.kept(), Some((Answer::Admitted(_), 9))));
        let refused = Answer::Refused(Refusal::Status(403)).kept();
        assert!(matches!(refused, Some((Answer::Refused(_), 0))));
        assert!(Answer::Failed(Failure::Closed).kept().is_none());
    }
}
