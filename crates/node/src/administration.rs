//! Requests that read or change the list of tenants, and how fresh that list is. Who keeps the list
//! answers them; the node only asks.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ht_proto::tenant::TenantName;
use http::StatusCode;
use serde_json::Value;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRequest {
    /// All tenants.
    List,
    /// What is written about one.
    Show(TenantName),
    /// This text is to be what is written about it.
    Put(TenantName, Bytes),
    /// It is to be no more.
    Remove(TenantName),
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body, without any secret.
    pub body: Value,
}

/// Who keeps the list of tenants.
pub trait TenantAdmin: Send + Sync + 'static {
    /// Answers a request, in a bounded time. What was changed is in force when it is answered.
    fn answer(&self, request: TenantRequest) -> BoxFuture<'_, TenantAnswer>;
}

/// Who keeps the tenants of a node, and whether the list is as its source has it.
#[derive(Default)]
pub(crate) struct Administration {
    admin: OnceLock<Arc<dyn TenantAdmin>>,
    freshness: Freshness,
}

/// Since when a list of tenants may be older than its source. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Freshness(Arc<Mutex<Option<Stale>>>);

#[derive(Clone, Debug)]
struct Stale {
    since: Instant,
    /// How old the list was then.
    age: Duration,
    /// There has been no list since the start.
    is_missing: bool,
    /// A text of the program is for everybody, any other one for the operator alone.
    why: Cow<'static, str>,
}

impl Administration {
    /// Names who answers requests; only the first one counts.
    pub(crate) fn set(&self, admin: Arc<dyn TenantAdmin>) {
        let _ = self.admin.set(admin);
    }

    /// Who answers requests, if there are tenants.
    pub(crate) fn admin(&self) -> Option<&Arc<dyn TenantAdmin>> {
        self.admin.get()
    }

    /// How fresh the list is.
    pub(crate) fn freshness(&self) -> &Freshness {
        &self.freshness
    }
}

impl Freshness {
    /// The list is as its source has it.
    pub fn is_fresh(&self) {
        *self.lock() = None;
    }

    /// The source cannot be read, or what it has cannot be used.
    pub fn is_stale(&self, why: impl Into<Cow<'static, str>>) {
        self.note_trouble(why.into(), |_| {});
    }

    /// The same, and there is no former list: the tenants of this node are not known, until one
    /// [is fresh](Self::is_fresh).
    pub fn is_missing(&self, why: impl Into<Cow<'static, str>>) {
        self.note_trouble(why.into(), |stale| stale.is_missing = true);
    }

    /// The same, and the list of this node was read so long ago.
    pub fn is_of(&self, age: Duration, why: impl Into<Cow<'static, str>>) {
        self.note_trouble(why.into(), |stale| stale.age = age);
    }

    fn note_trouble(&self, why: Cow<'static, str>, change: impl FnOnce(&mut Stale)) {
        let mut stale = self.lock();
        let stale = stale.get_or_insert_with(|| Stale {
            since: Instant::now(),
            age: Duration::ZERO,
            is_missing: false,
            why: Cow::Borrowed(""),
        });
        stale.why = why;
        change(stale);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stale>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells another the state of this one.
    pub fn hand_over(&self, other: &Self) {
        let stale = self.lock().clone();
        *other.lock() = stale;
    }

    /// How long the list has been older than its source; 0 if it is not.
    #[must_use]
    pub fn age(&self) -> Duration {
        let stale = self.lock();
        stale
            .as_ref()
            .map_or(Duration::ZERO, |stale| stale.age + stale.since.elapsed())
    }

    /// Whether there has been no list since the start.
    #[must_use]
    pub fn has_none(&self) -> bool {
        self.lock().as_ref().is_some_and(|stale| stale.is_missing)
    }

    /// A sentence for `/ready` while it is. What a registry or a file system said is shown to the
    /// operator alone.
    #[must_use]
    pub fn note(&self, is_operator: bool) -> Option<String> {
        let age = self.age().as_secs();
        let stale = self.lock();
        stale.as_ref().map(|Stale { why, .. }| {
            let is_shown = is_operator || matches!(why, Cow::Borrowed(_));
            let why = if is_shown {
                why
            } else {
                "the log has the cause, and this response with a key of the operator"
            };
            format!("tenants: no change has been taken up for {age} s: {why}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_stale_from_the_first_trouble_until_it_is_read_again() {
        let freshness = Freshness::default();
        assert_eq!(
            (freshness.note(true), freshness.age()),
            (None, Duration::ZERO)
        );
        freshness.is_stale("the registry is away");
        let since = freshness.0.lock().unwrap().as_ref().unwrap().since;
        freshness.is_stale("it answers rubbish");
        assert_eq!(freshness.0.lock().unwrap().as_ref().unwrap().since, since);
        for is_operator in [true, false] {
            let note = freshness.note(is_operator).unwrap();
            assert!(note.ends_with("it answers rubbish"), "{note}");
        }
        freshness.is_stale("http://registry/: a secret cause".to_owned());
        assert!(freshness.note(true).unwrap().contains("a secret cause"));
        assert!(!freshness.note(false).unwrap().contains("registry"));
        freshness.is_fresh();
        assert_eq!(freshness.note(true), None);
    }

    #[test]
    fn a_list_that_was_never_read_is_missing_until_it_is() {
        let freshness = Freshness::default();
        freshness.is_stale("the registry is away");
        assert!(!freshness.has_none());
        freshness.is_missing("the registry is away");
        freshness.is_stale("it answers rubbish");
        assert!(freshness.has_none(), "it is still missing");
        let shared = Freshness::default();
        freshness.hand_over(&shared);
        assert!(shared.has_none());
        shared.is_fresh();
        assert!(!shared.has_none());
    }

    #[test]
    fn the_age_of_a_copy_counts() {
        let freshness = Freshness::default();
        freshness.is_stale("the registry is away");
        freshness.is_of(Duration::from_secs(3_600), "the registry is away");
        let age = freshness.age().as_secs();
        assert!((3_600..3_700).contains(&age), "{age}");
        freshness.is_stale("it answers rubbish");
        assert!(freshness.age() >= Duration::from_secs(3_600));
        freshness.is_fresh();
        assert_eq!(freshness.age(), Duration::ZERO);
    }
}
