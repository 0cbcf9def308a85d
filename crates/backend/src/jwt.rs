//! Tokens that answer instead of the API: [`JwtBackend`] stands before a [`Backend`] and verifies the
//! client's JSON Web Token, whose claim has the members of a bootstrap response.

mod cache;
mod config;
mod keys;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ht_token::{Claims, Holder, Reason, Refused, Verified};

pub use self::config::{DenyCheck, JwtConfig, JwtIssuer, JwtUse};
pub use self::keys::KeyState;
use self::keys::Keys;
use crate::answer::{Answer, Failure, Permissions, Refusal};
use crate::credentials::Credentials;
use crate::forward::ForwardRules;
use crate::guard::GuardCounts;
use crate::setup::BackendSetupError;
use crate::{Backend, CallClock, Hook, parse};

/// A backend whose clients may come with a token.
pub struct JwtBackend {
    inner: Arc<dyn Backend>,
    /// Find the token among the credentials.
    rules: ForwardRules,
    usage: JwtUse,
    require: bool,
    keys: Keys,
    denied: Arc<dyn DenyCheck>,
    tenant: Box<str>,
}

impl JwtBackend {
    /// Puts the check of tokens before `inner`. `rules` find the token among the credentials;
    /// `denied` knows which tokens of this tenant are revoked.
    ///
    /// # Errors
    /// When an address of keys is unfit, or its TLS cannot be set up.
    pub fn new(
        inner: Arc<dyn Backend>,
        config: JwtConfig,
        rules: ForwardRules,
        (tenant, denied): (&str, Arc<dyn DenyCheck>),
    ) -> Result<Self, BackendSetupError> {
        Ok(Self {
            inner,
            rules,
            usage: config.usage,
            require: config.require,
            keys: Keys::new(config.rules, config.issuers)?,
            denied,
            tenant: tenant.into(),
        })
    }

    /// What is known of the keys of each issuer, in the order of the configuration.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyState> {
        self.keys.states()
    }

    /// Fetches all sets of keys now, whatever their age.
    pub async fn refresh_keys(&self) {
        self.keys.refresh_all().await;
    }

    async fn ask(&self, credentials: &Credentials) -> Answer {
        let Some(token) = self.rules.token(credentials) else {
            return match self.usage {
                JwtUse::Instead if !self.require => self.inner.bootstrap(credentials).await,
                JwtUse::Instead | JwtUse::First => {
                    Answer::Refused(Refusal::Token(Refused::of(Reason::Missing)))
                }
            };
        };
        let verified = match self.keys.verify(token, now()).await {
            Ok(verified) => verified,
            Err(refused) => return self.refuse(refused),
        };
        let claims = &verified.claims;
        let holder = Holder {
            tenant: &self.tenant,
            session: claims.session.as_deref(),
            user: claims.user.as_deref(),
            issued: claims.issued,
        };
        if self.denied.denies(holder) {
            let refused = Refused::of(Reason::Denied);
            return Answer::Refused(Refusal::Token(refused));
        }
        match self.usage {
            JwtUse::Instead => of_claims(claims),
            JwtUse::First => self.of_api(credentials, &verified).await,
        }
    }

    /// The answer of the API to a client with a valid token, which bounds its term.
    async fn of_api(&self, credentials: &Credentials, verified: &Verified) -> Answer {
        let mut answer = self.inner.bootstrap(credentials).await;
        if let Answer::Admitted(permissions) = &mut answer {
            let term = term(&verified.claims);
            let shorter = permissions.expires_in.map_or(term, |own| own.min(term));
            permissions.expires_in = Some(shorter);
        }
        answer
    }

    /// A token whose key is unknown only because the set of keys cannot be fetched may be valid.
    fn refuse(&self, refused: Refused) -> Answer {
        let unknown = refused.issuer.filter(|_| refused.may_be_new);
        match unknown.and_then(|issuer| self.keys.missing(issuer)) {
            Some(iss) => Answer::Failed(Failure::Keys(iss)),
            None => Answer::Refused(Refusal::Token(refused)),
        }
    }
}

/// What a token grants.
fn of_claims(claims: &Claims) -> Answer {
    let Some(json) = &claims.permissions else {
        let mut permissions = Permissions::of(Bytes::from_static(b"[]"));
        fill(&mut permissions, claims);
        return Answer::Admitted(permissions);
    };
    let body = Bytes::copy_from_slice(json.as_bytes());
    match parse::answer(&body, &[]) {
        Answer::Admitted(mut permissions) if permissions.ignored.is_empty() => {
            fill(&mut permissions, claims);
            Answer::Admitted(permissions)
        }
        // A member that counts as absent in a response is one that somebody signed here.
        Answer::Admitted(_) | Answer::Failed(_) => {
            Answer::Refused(Refusal::Token(Refused::of(Reason::Claims)))
        }
        Answer::Refused(refusal) => Answer::Refused(refusal),
    }
}

/// The client's identity and term are those of the token.
fn fill(permissions: &mut Permissions, claims: &Claims) {
    permissions.user_id = claims.user.clone();
    if claims.session.is_some() {
        permissions.session = claims.session.clone();
    }
    let term = term(claims);
    let shorter = permissions.expires_in.map_or(term, |own| own.min(term));
    permissions.expires_in = Some(shorter);
}

/// Shortest term of a token, for one that is valid only because of the leeway.
const TERM_MIN: Duration = Duration::from_secs(1);

fn term(claims: &Claims) -> Duration {
    claims.expires.saturating_sub(now()).max(TERM_MIN)
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

impl Backend for JwtBackend {
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(credentials))
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.inner.reach()
    }

    fn has_hook(&self, hook: Hook) -> bool {
        self.inner.has_hook(hook)
    }

    fn hook<'a>(
        &'a self,
        hook: Hook,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.inner.hook(hook, credentials)
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        self.inner.probe()
    }

    fn number_calls(&self, clock: CallClock) {
        self.inner.number_calls(clock);
    }

    fn upkeep(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            tokio::join!(self.inner.upkeep(), self.keys.upkeep());
        })
    }

    fn come_back_within(&self) -> Duration {
        self.inner.come_back_within()
    }

    fn guard(&self) -> Option<GuardCounts> {
        self.inner.guard()
    }
}
