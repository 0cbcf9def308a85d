//! One tenant, with the settings of one moment.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ht_backend::{Backend, CallClock, ForwardRules, GuardCounts, Hook};
use ht_edge::origin::Origins;
use ht_edge::permits::Bounds;
use ht_edge::quotas::TenantShare;
use ht_proto::entry::TenantId;
use ht_proto::tenant::TenantName;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::config::TenantConfig;
use crate::live::LiveSettings;
use crate::tenants::api::{Api, Shared};

/// The pipeline of a log that a tenant has of its own. None gets the number of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogNumber(pub(crate) u64);

/// A log that a tenant has of its own.
#[derive(Clone)]
pub(crate) struct OwnLog {
    pub(crate) number: LogNumber,
    /// Numbers the calls to the tenant's API by the order of that log.
    pub(crate) clock: CallClock,
}

/// Begins to read the log of a tenant; `None` if that cannot be.
pub(crate) type Begin<'a> = dyn FnMut(TenantId, &Arc<TenantConfig>) -> Option<OwnLog> + 'a;

/// A tenant, with the settings of one moment.
pub(crate) struct Tenant {
    id: TenantId,
    name: TenantName,
    /// What differs from the settings of the node; none: nothing.
    own: Option<Own>,
    /// Shared with what it was before, where its settings did not change.
    api: Arc<Api>,
    /// None: that of the node.
    log: Option<OwnLog>,
    /// Cancelled when it is removed or suspended: nobody is admitted any more, and its API gets no
    /// call.
    ended: CancellationToken,
}

/// Settings of a tenant's own.
struct Own {
    config: Arc<TenantConfig>,
    /// Made at their first use: most tenants are idle.
    rules: OnceLock<ForwardRules>,
}

impl Tenant {
    /// The tenant `main` of a node that has an API itself.
    pub(super) fn main(backend: Arc<dyn Backend>) -> Self {
        Self {
            id: TenantId::MAIN,
            name: TenantName::main(),
            own: None,
            api: Arc::new(Api::given(backend)),
            log: None,
            ended: CancellationToken::new(),
        }
    }

    /// The tenant with these settings, in the place of its former self. `None` if it needs a log of
    /// its own that cannot be read.
    pub(super) fn succeeding(
        former: Option<&Arc<Self>>,
        id: TenantId,
        config: &Arc<TenantConfig>,
        shared: &Shared,
        begin: &mut Begin<'_>,
    ) -> Option<Arc<Self>> {
        let former = former.and_then(|former| Some((former, former.config()?)));
        if let Some((former, known)) = former
            && Arc::ptr_eq(known, config)
        {
            return Some(Arc::clone(former));
        }
        // Positions of one log mean nothing in another: whoever is connected starts anew.
        let same_log = former.filter(|(_, known)| known.log == config.log);
        let log = match (&config.log, same_log) {
            (None, _) => None,
            (Some(_), Some((former, _))) => former.log.clone(),
            (Some(_), None) => Some(begin(id, config)?),
        };
        let own_clock = log.as_ref().map(|log| CallClock::clone(&log.clock));
        let shared = Shared {
            clock: own_clock.or_else(|| shared.clock.clone()),
            ..shared.clone()
        };
        let same_api = same_log.filter(|(_, known)| known.backend == config.backend);
        let api = match same_api {
            Some((former, _)) => Arc::clone(&former.api),
            None => Arc::new(Api::of(config, &shared)),
        };
        // One that is served again admits clients again.
        let goes_on = same_log.filter(|(former, _)| !former.ended.is_cancelled());
        let ended = match goes_on {
            Some((former, _)) => former.ended.clone(),
            None => CancellationToken::new(),
        };
        Some(Arc::new(Self {
            id,
            name: config.name.clone(),
            own: Some(Own {
                rules: OnceLock::new(),
                config: Arc::clone(config),
            }),
            api,
            log,
            ended,
        }))
    }

    /// Nobody is admitted any more, and its API gets no call.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.api.free();
    }

    /// Ready when it is removed or suspended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Its number in this process.
    pub(crate) fn id(&self) -> TenantId {
        self.id
    }

    /// Its name.
    pub(crate) fn name(&self) -> &TenantName {
        &self.name
    }

    /// Its own settings; none for the `main` of the node's configuration.
    pub(crate) fn config(&self) -> Option<&Arc<TenantConfig>> {
        self.own.as_ref().map(|own| &own.config)
    }

    /// It is the `main` of the node's own configuration.
    pub(crate) fn is_of_node(&self) -> bool {
        self.own.is_none()
    }

    /// The log of its own; none: that of the node.
    pub(crate) fn log(&self) -> Option<LogNumber> {
        self.log.as_ref().map(|log| log.number)
    }

    /// It is not served for now.
    pub(crate) fn is_suspended(&self) -> bool {
        self.config().is_some_and(|config| config.is_suspended)
    }

    /// Its API, which is set up now if nobody has used it for long.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        self.api.get()
    }

    /// The limiter of the calls to its API, if it is in use and has one.
    pub(crate) fn guard(&self) -> Option<GuardCounts> {
        self.api.if_used()?.guard()
    }

    /// Whether its API has a hook.
    pub(crate) fn has_hook(&self, hook: Hook) -> bool {
        let Some(config) = self.config() else {
            return self.backend().has_hook(hook);
        };
        let hooks = &config.backend.hooks;
        match hook {
            Hook::Connect => hooks.connect.is_some(),
            Hook::Ping => hooks.ping.is_some(),
            Hook::Disconnect => hooks.disconnect.is_some(),
        }
    }

    /// Whether its API has any hook.
    pub(crate) fn has_hooks(&self) -> bool {
        let mut hooks = Hook::ALL.into_iter();
        hooks.any(|hook| self.has_hook(hook))
    }

    /// Calls that query the API again about clients, at once; `most` for the API of the node.
    pub(crate) fn rechecks_max(&self, most: usize) -> usize {
        // The other half is for clients that connect.
        let half = |config: &Arc<TenantConfig>| (config.backend.guard.max_in_flight / 2).max(1);
        self.config().map_or(most, half)
    }

    /// What is forwarded to its API.
    pub(crate) fn rules<'a>(&'a self, settings: &'a LiveSettings) -> &'a ForwardRules {
        match &self.own {
            None => &settings.rules,
            Some(Own { config, rules }) => rules.get_or_init(|| ForwardRules::of(&config.backend)),
        }
    }

    /// The pages that may open a websocket of it.
    pub(crate) fn origins<'a>(&'a self, settings: &'a LiveSettings) -> &'a Origins {
        let own = self.config().map(|config| &config.origins);
        own.unwrap_or(&settings.public.origins)
    }

    /// Connections of one of its users; 0 is no limit.
    pub(crate) fn connections_per_user(&self, settings: &LiveSettings) -> usize {
        let own = self.config().map(|it| it.limits.connections_per_user);
        let own = own.filter(|limit| *limit != 0);
        own.unwrap_or(settings.limits.connections_per_user)
    }

    /// The context of log lines about it, where there are several.
    pub(crate) fn span(&self) -> Span {
        match self.own {
            Some(_) => tracing::error_span!("tenant", name = %self.name),
            None => Span::none(),
        }
    }

    /// Its share of the node. `has_others`: there may be other tenants.
    pub(crate) fn share(&self, has_others: bool) -> TenantShare<'_> {
        let limits = self.config().map(|config| config.limits);
        let limits = limits.unwrap_or_default();
        TenantShare {
            tenant: self.id,
            name: self.name.as_str(),
            bounds: Bounds {
                open: limits.connections,
                per_second: limits.handshakes_per_second,
            },
            has_others,
        }
    }

    /// Frees its API if nobody has used it for long.
    pub(super) fn free_if_idle(&self) {
        self.api.free_if_idle();
    }

    /// Ends the background work of its API, as the node shuts down.
    pub(super) fn end_upkeep(&self) {
        self.api.end_upkeep();
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenant").field(&self.name).finish()
    }
}
