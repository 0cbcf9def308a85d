//! What a shard requests of the API again, and the tokens that clients send for it.

use std::collections::HashMap;
use std::sync::Arc;

use ht_backend::{CallTime, KeptCredentials};
use ht_core::recheck::Recheck;
use ht_core::shard::SessionKey;
use ht_overload::{Due, Patience};
use ht_proto::token::Token;

use crate::gaps::Gaps;
use crate::interner::Interner;
use crate::live::Live;
use crate::node::Node;
use crate::permissions::{Asker, Mailbox, Request};
use crate::socket::Socket;
use crate::tenants::Tenants;
use crate::tickets::Holder;

/// The requests of a shard.
pub(super) struct Rechecks {
    shard: usize,
    mailbox: Arc<Mailbox>,
    interner: Arc<Interner>,
    live: Live,
    tenants: Arc<Tenants>,
    gaps: Arc<Gaps>,
    /// Credentials with a new token, until the API has accepted it.
    with_token: HashMap<SessionKey, Arc<KeptCredentials>>,
}

impl Rechecks {
    pub(super) fn new(shard: usize, node: &Node, live: &Live) -> Self {
        Self {
            shard,
            mailbox: Arc::clone(&node.rechecks),
            interner: Arc::clone(&node.interner),
            live: live.clone(),
            tenants: Arc::clone(&node.tenants),
            gaps: Arc::clone(&node.gaps),
            with_token: HashMap::new(),
        }
    }

    /// Requests an answer about a session, which has this socket.
    pub(super) fn request(&mut self, recheck: Recheck, peer: &Socket) {
        let kept = peer.about.as_ref().and_then(|it| it.credentials.as_ref());
        let credentials = match &recheck.token {
            None => kept.cloned(),
            Some(token) => kept.and_then(|kept| self.replace_token(kept, token)),
        };
        if let (Some(_), Some(credentials)) = (&recheck.token, &credentials) {
            self.with_token.insert(recheck.key, Arc::clone(credentials));
        }
        let patience = match (&recheck.token, recheck.is_held) {
            (Some(_), _) => Patience::Once,
            (None, true) => Patience::Held,
            (None, false) => Patience::Renewal,
        };
        let due = Due {
            not_before: CallTime {
                commands: recheck.not_before,
                // Whatever was lost before, a later answer includes it.
                gap: self.gaps.last(),
            },
            patience,
        };
        let asker = self.asker(recheck.key, recheck.token.is_some());
        self.mailbox.request(asker, Request { credentials, due });
    }

    /// A session needs no answer any more.
    pub(super) fn cancel(&mut self, key: SessionKey) {
        for has_token in [false, true] {
            self.mailbox.cancel(self.asker(key, has_token));
        }
        self.token_rejected(key);
    }

    /// The API has accepted a session's new token.
    pub(super) fn token_accepted(&mut self, key: SessionKey, peer: &mut Socket) {
        if let Some(credentials) = self.with_token.remove(&key)
            && let Some(about) = &mut peer.about
        {
            if let Some(holder) = &mut about.holder {
                let (settings, restored) = (self.live.now(), credentials.restore());
                if let Some(tenant) = self.tenants.get(restored.tenant()) {
                    let rules = tenant.rules(&settings);
                    **holder = Holder::new(tenant.name(), &rules.identity(&restored));
                }
            }
            about.credentials = Some(credentials);
        }
        self.shrink();
    }

    /// A session's new token is not used.
    pub(super) fn token_rejected(&mut self, key: SessionKey) {
        self.with_token.remove(&key);
        self.shrink();
    }

    /// The credentials with another token; `None` if they cannot be sent.
    fn replace_token(&self, kept: &KeptCredentials, token: &Token) -> Option<Arc<KeptCredentials>> {
        let mut credentials = kept.restore();
        let (settings, tenant) = (self.live.now(), self.tenants.get(credentials.tenant())?);
        let rules = tenant.rules(&settings);
        rules.replace_token(&mut credentials, token).ok()?;
        Some(self.interner.credentials(&credentials))
    }

    fn asker(&self, key: SessionKey, has_token: bool) -> Asker {
        Asker {
            shard: self.shard,
            has_token,
            key,
        }
    }

    /// Gives back memory after many tokens.
    fn shrink(&mut self) {
        let Self { with_token, .. } = self;
        if with_token.capacity() > super::KEPT && with_token.len() * 4 < with_token.capacity() {
            with_token.shrink_to(with_token.len() * 2);
        }
    }
}
