//! The keys of issuers: fetched, kept while their address does not respond, and replaced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use ht_token::{KeySet, Refused, Rules, Skipped, Verified, Verifier};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::cache::{Cache, Name};
use super::config::JwtIssuer;
use crate::answer::Failure;
use crate::fetch::{Fetch, FetchConfig};
use crate::setup::BackendSetupError;

/// Longest set of keys, in bytes.
const BYTES_MAX: usize = 256 * 1024;

/// A set is fetched again after as long as its `Cache-Control` says, within these bounds.
const AGE_MIN: Duration = Duration::from_secs(5 * 60);
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The same where it says nothing.
const AGE: Duration = Duration::from_secs(60 * 60);

/// How long a set is used while its address does not respond.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Pauses between attempts while the address does not respond: the first and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// For tokens with an unknown key, a set is fetched at most once in this time.
const UNKNOWN: Duration = Duration::from_secs(30);

/// How long a client waits for a set of keys.
const WAIT: Duration = Duration::from_secs(5);

/// What is known of the keys of an issuer.
#[derive(Clone, Debug)]
pub struct KeyState {
    /// The issuer.
    pub iss: Box<str>,
    /// Ids of its public keys; `None` if it publishes none, or none could be fetched.
    pub ids: Option<Vec<Box<str>>>,
    /// Keys of its set that are not used.
    pub skipped: Vec<Skipped>,
    /// Why its set could not be fetched, if the last attempt failed.
    pub failure: Option<String>,
}

/// Verifies tokens with the keys of today.
pub(super) struct Keys {
    verifier: ArcSwap<Verifier>,
    cache: Mutex<Cache>,
    /// For each issuer, in the order of the configuration.
    sets: Box<[Option<Set>]>,
}

/// Where the keys of an issuer are.
struct Set {
    fetch: Fetch,
    /// What stands behind the origin of its address.
    rest: String,
    /// Held during a fetch, so that clients share one.
    fetching: AsyncMutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fetched: Option<Fetched>,
    /// When a client last had it fetched.
    asked: Option<Instant>,
    skipped: Vec<Skipped>,
    failure: Option<String>,
}

/// A set that was fetched.
#[derive(Clone, Copy)]
struct Fetched {
    at: Instant,
    /// How long it may be used before the next fetch.
    age: Duration,
}

impl Keys {
    pub(super) fn new(rules: Rules, issuers: Vec<JwtIssuer>) -> Result<Self, BackendSetupError> {
        let sets: Result<Vec<_>, _> = issuers.iter().map(Set::of).collect();
        let issuers: Vec<_> = issuers.into_iter().map(|one| one.issuer).collect();
        Ok(Self {
            verifier: ArcSwap::from_pointee(Verifier::new(rules, issuers)),
            cache: Mutex::default(),
            sets: sets?.into(),
        })
    }

    /// Verifies a token, after its issuer's keys were fetched anew if that may help.
    pub(super) async fn verify(
        &self,
        token: &[u8],
        now: Duration,
    ) -> Result<Arc<Verified>, Refused> {
        let name = Name::of(token);
        if let Some(verified) = self.cache().get(name, now) {
            return Ok(verified);
        }
        let text = std::str::from_utf8(token);
        let text = text.map_err(|_| Refused::of(ht_token::Reason::Malformed))?;
        let refused = match self.check(name, text, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        let Some(issuer) = refused.issuer.filter(|_| refused.may_be_new) else {
            return Err(refused);
        };
        // However long it takes: the fetch goes on for the clients that come after.
        let asking = self.fetch_for_client(issuer);
        if !tokio::time::timeout(WAIT, asking).await.unwrap_or(false) {
            return Err(refused);
        }
        self.check(name, text, now)
    }

    fn check(&self, name: Name, token: &str, now: Duration) -> Result<Arc<Verified>, Refused> {
        let verifier = self.verifier.load_full();
        let verified = Arc::new(verifier.verify(token, now)?);
        let mut cache = self.cache();
        // Keys may have changed meanwhile, and then it is not known by which it was verified.
        if Arc::ptr_eq(&verifier, &self.verifier.load()) {
            cache.insert(name, Arc::clone(&verified), now);
        }
        Ok(verified)
    }

    /// Fetches the keys of an issuer because a client's token has an unknown one. False if there is
    /// nothing new.
    async fn fetch_for_client(&self, issuer: usize) -> bool {
        let Some(set) = self.sets.get(issuer).and_then(Option::as_ref) else {
            return false;
        };
        let before = set.fetched_at();
        let _fetching = set.fetching.lock().await;
        if set.fetched_at() != before {
            // Somebody else has fetched it meanwhile.
            return true;
        }
        if !set.may_ask() {
            return false;
        }
        self.fetch(issuer, set).await.is_ok()
    }

    /// Fetches every set now.
    pub(super) async fn refresh_all(&self) {
        let sets = self.sets.iter().enumerate();
        let sets = sets.filter_map(|(issuer, set)| Some((issuer, set.as_ref()?)));
        join_all(sets.map(|(issuer, set)| async move {
            let _fetching = set.fetching.lock().await;
            let _ = self.fetch(issuer, set).await;
        }))
        .await;
    }

    /// Keeps all sets current. Never returns.
    pub(super) async fn upkeep(&self) {
        let sets = self.sets.iter().enumerate();
        let sets = sets.filter_map(|(issuer, set)| Some((issuer, set.as_ref()?)));
        join_all(sets.map(|(issuer, set)| self.keep(issuer, set))).await;
        std::future::pending().await
    }

    async fn keep(&self, issuer: usize, set: &Set) {
        let mut pause = PAUSE;
        loop {
            let due = set.due();
            if let Some(due) = due.filter(|due| *due > Instant::now()) {
                tokio::time::sleep_until(due).await;
                continue;
            }
            let fetching = set.fetching.lock().await;
            // A client may have had it fetched meanwhile.
            if set.due() == due && self.fetch(issuer, set).await.is_err() {
                drop(fetching);
                self.drop_if_old(issuer, set);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            } else {
                pause = PAUSE;
            }
        }
    }

    /// Fetches a set and puts it in force. The set is locked.
    async fn fetch(&self, issuer: usize, set: &Set) -> Result<(), ()> {
        match set.get().await {
            Ok((keys, skipped, age)) => {
                self.replace(issuer, keys);
                set.succeeded(skipped, age);
                Ok(())
            }
            Err(cause) => {
                set.failed(&self.verifier.load().issuers()[issuer].iss, cause);
                Err(())
            }
        }
    }

    fn replace(&self, issuer: usize, keys: KeySet) {
        let current = self.verifier.load();
        if current.issuers()[issuer].keys.as_deref() == Some(&keys) {
            return;
        }
        let keys = Arc::new(keys);
        self.verifier
            .rcu(|verifier| verifier.with_keys(issuer, Arc::clone(&keys)));
        self.cache().clear();
    }

    /// Keys whose address has not responded for long are no longer trusted.
    fn drop_if_old(&self, issuer: usize, set: &Set) {
        let fetched = set.state().fetched;
        if fetched.is_some_and(|fetched| fetched.at.elapsed() >= KEPT) {
            set.state().fetched = None;
            self.replace(issuer, KeySet::default());
        }
    }

    /// The issuer, if its keys are unknown because they could not be fetched.
    pub(super) fn missing(&self, issuer: usize) -> Option<Box<str>> {
        let set = self.sets.get(issuer)?.as_ref()?;
        let state = set.state();
        let iss = || self.verifier.load().issuers()[issuer].iss.clone();
        (state.failure.is_some() || state.fetched.is_none()).then(iss)
    }

    pub(super) fn states(&self) -> Vec<KeyState> {
        let verifier = self.verifier.load();
        let issuers = verifier.issuers().iter().zip(&self.sets);
        let state = issuers.map(|(issuer, set)| {
            let ids = |keys: &KeySet| keys.ids().map(Into::into).collect();
            let (skipped, failure) = set.as_ref().map_or_else(Default::default, |set| {
                let state = set.state();
                (state.skipped.clone(), state.failure.clone())
            });
            KeyState {
                iss: issuer.iss.clone(),
                ids: issuer.keys.as_deref().map(ids),
                skipped,
                failure,
            }
        });
        state.collect()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    fn of(issuer: &JwtIssuer) -> Result<Option<Self>, BackendSetupError> {
        let Some(address) = &issuer.key_set else {
            return Ok(None);
        };
        let (origin, rest) = split(address);
        let fetch = Fetch::new(FetchConfig {
            url: origin,
            timeout: issuer.timeout,
            bytes_max: BYTES_MAX,
            tls_verify: true,
            tls_ca_file: issuer.tls_ca_file.clone(),
        })?;
        Ok(Some(Self {
            fetch,
            rest,
            fetching: AsyncMutex::default(),
            state: Mutex::default(),
        }))
    }

    async fn get(&self) -> Result<(KeySet, Vec<Skipped>, Duration), String> {
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        headers.insert(header::ACCEPT, accept);
        let fetched = self.fetch.get_at(&self.rest, &headers).await;
        let fetched = fetched.map_err(|failure: Failure| failure.to_string())?;
        if fetched.status != StatusCode::OK {
            return Err(format!("status {}, not 200", fetched.status.as_u16()));
        }
        let (keys, skipped) = KeySet::parse(&fetched.body).map_err(|error| error.to_string())?;
        if keys.is_empty() {
            return Err("it has no key that can be used".into());
        }
        Ok((keys, skipped, age(&fetched.headers)))
    }

    fn succeeded(&self, skipped: Vec<Skipped>, age: Duration) {
        let mut state = self.state();
        state.fetched = Some(Fetched {
            at: Instant::now(),
            age,
        });
        state.skipped = skipped;
        state.failure = None;
    }

    fn failed(&self, iss: &str, cause: String) {
        let mut state = self.state();
        // Once for each outage and cause.
        if state.failure.as_ref() != Some(&cause) {
            tracing::warn!(
                iss,
                cause,
                known = state.fetched.is_some(),
                "the public keys of an issuer of tokens cannot be fetched: known ones are used for \
                 24 hours. Check auth.jwt.issuer.jwks and its server"
            );
        }
        state.failure = Some(cause);
    }

    /// Whether a client may have it fetched now.
    fn may_ask(&self) -> bool {
        let mut state = self.state();
        let is_due = state.asked.is_none_or(|asked| asked.elapsed() >= UNKNOWN);
        if is_due {
            state.asked = Some(Instant::now());
        }
        is_due
    }

    fn fetched_at(&self) -> Option<Instant> {
        self.state().fetched.map(|fetched| fetched.at)
    }

    /// When it is to be fetched again; `None`: now.
    fn due(&self) -> Option<Instant> {
        let fetched = self.state().fetched;
        fetched.map(|fetched| fetched.at + fetched.age)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The origin of an address with its slash, and what follows it.
fn split(address: &str) -> (String, String) {
    let host = address.find("://").map_or(0, |index| index + 3);
    let end = address[host..].find('/').map(|index| host + index + 1);
    match end {
        Some(end) => (address[..end].to_owned(), address[end..].to_owned()),
        None => (format!("{address}/"), String::new()),
    }
}

/// How long a response may be used (RFC 9111 section 5.2.2.1), within bounds.
fn age(headers: &HeaderMap) -> Duration {
    let control = headers.get(header::CACHE_CONTROL);
    let control = control
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut directives = control.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let is_age = name.trim().eq_ignore_ascii_case("max-age");
        is_age.then(|| value.trim().trim_matches('"').parse().ok())?
    });
    seconds
        .map_or(AGE, Duration::from_secs)
        .clamp(AGE_MIN, AGE_MAX)
}
