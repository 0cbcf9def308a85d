//! A registry of tenants: it is asked from time to time, and whatever it answers, only a good answer
//! changes something.

use std::time::Duration;

use ht_backend::{Failure, Fetch, FetchConfig};
use ht_node::administration::{Freshness, TenantAnswer, TenantRequest};
use ht_node::config::{Secret, TenantConfig};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::{Mistakes, Tenancy, TenantSource};
use crate::tenants::copy::{Copy, CopyError};
use crate::tenants::registry::{Held, Rubbish};
use crate::tenants::{Apply, admin, put};

/// Longest answer of a registry, in bytes.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// The same trouble is logged again after this long.
const AGAIN: Duration = Duration::from_secs(600);

/// A registry, and what it last said.
pub(crate) struct Registry {
    tenancy: Tenancy,
    fetch: Fetch,
    /// In mistakes and in the log.
    shown: String,
    headers: HeaderMap,
    held: Held,
    /// The tag of the answer to this query.
    tag: Option<(String, HeaderValue)>,
    copy: Option<Copy>,
    said: Option<(String, Instant)>,
}

/// Why an answer changes nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}. Check tenants.url, and that the registry runs")]
    Away(String),
    #[error("it answered with status {0}. {1}")]
    Status(StatusCode, &'static str),
    #[error("its answer is refused as a whole: {0}. Correct it in the registry")]
    Rubbish(#[from] Rubbish),
}

/// A good answer.
enum Answer {
    Unchanged,
    New(Held, Vec<TenantConfig>),
}

impl Registry {
    /// That of a configuration.
    ///
    /// # Errors
    /// If TLS cannot be set up, or the key cannot be sent.
    pub(crate) fn new(tenancy: &Tenancy) -> anyhow::Result<Self> {
        let TenantSource::Http {
            url,
            registry_key,
            tls_verify,
            tls_ca_file,
            copy,
            timeout,
            ..
        } = &tenancy.source
        else {
            anyhow::bail!("tenants.source is not \"http\"");
        };
        let fetch = Fetch::new(FetchConfig {
            url: url.clone(),
            timeout: *timeout,
            bytes_max: ANSWER_BYTES_MAX,
            tls_verify: *tls_verify,
            tls_ca_file: tls_ca_file.clone(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, deflate"),
        );
        let name = concat!("high-templar/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(name));
        if let Some(Secret(key)) = registry_key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Self {
            tenancy: tenancy.clone(),
            fetch,
            shown: format!("registry {url}"),
            headers,
            held: Held::default(),
            tag: None,
            copy: copy
                .as_ref()
                .map(|path| Copy::new(tenancy.folder.join(path), url)),
            said: None,
        })
    }

    /// The tenants at the start: those of the registry, or of the copy of its last good list.
    pub(crate) async fn first(&mut self, freshness: &Freshness) -> Vec<TenantConfig> {
        match self.ask().await {
            Ok(Answer::New(held, tenants)) => {
                self.keep(held);
                tenants
            }
            Ok(Answer::Unchanged) => Vec::new(),
            Err(trouble) => {
                self.say(&trouble, freshness);
                self.copied()
            }
        }
    }

    /// Asks the registry, and puts in force what has changed.
    pub(crate) async fn look(&mut self, gateway: &impl Apply, freshness: &Freshness) {
        match self.ask().await {
            Ok(Answer::Unchanged) => self.recovered(freshness),
            Ok(Answer::New(held, tenants)) => {
                if put(gateway, tenants) {
                    self.recovered(freshness);
                    self.keep(held);
                }
            }
            Err(trouble) => self.say(&trouble, freshness),
        }
    }

    /// Answers a request: the registry alone changes its list.
    pub(crate) fn answer(&self, request: TenantRequest) -> TenantAnswer {
        let documents = self.held.documents(&self.shown);
        match request {
            TenantRequest::List => admin::list(&documents),
            TenantRequest::Show(name) => admin::show(&documents, &name),
            TenantRequest::Put(..) | TenantRequest::Remove(_) => {
                admin::elsewhere("The tenants are those of the registry: change them there.")
            }
        }
    }

    async fn ask(&mut self) -> Result<Answer, Trouble> {
        let query = self.held.query();
        let mut headers = self.headers.clone();
        if let Some((_, tag)) = self.tag.as_ref().filter(|(of, _)| *of == query) {
            headers.insert(header::IF_NONE_MATCH, tag.clone());
        }
        let response = self.fetch.get(&query, &headers).await;
        let response = response.map_err(|failure| Trouble::Away(shown(&failure)))?;
        match response.status {
            StatusCode::OK => {
                let held = self.held.after(&response.body)?;
                let tenants = self.read(&held)?;
                let tag = response.headers.get(header::ETAG).cloned();
                self.tag = tag.map(|tag| (held.query(), tag));
                Ok(Answer::New(held, tenants))
            }
            StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => Ok(Answer::Unchanged),
            StatusCode::GONE if self.held.version.is_some() => {
                // It does not know what has changed since: the next answer is the whole list.
                self.held.version = None;
                Ok(Answer::Unchanged)
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(Trouble::Status(status, "Check tenants.registry_key"))
            }
            status => Err(Trouble::Status(status, "Check tenants.url, and its log")),
        }
    }

    /// The tenants of a list, if there is no mistake in any.
    fn read(&self, held: &Held) -> Result<Vec<TenantConfig>, Rubbish> {
        let documents = held.documents(&self.shown);
        let mut mistakes = Mistakes::default();
        let trust = self.tenancy.others();
        let tenants = self.tenancy.checked(&documents, trust, &mut mistakes);
        if mistakes.is_empty() {
            Ok(tenants)
        } else {
            Err(Held::refused(&mistakes))
        }
    }

    /// The tenants of the copy; none if it cannot be used.
    fn copied(&mut self) -> Vec<TenantConfig> {
        let Some(copy) = &self.copy else {
            warn!("there are no tenants until the registry answers: set tenants.copy");
            return Vec::new();
        };
        let file = copy.path().display().to_string();
        let found = copy.read();
        let found = found.and_then(|(held, ago)| {
            let tenants = self.read(&held).map_err(CopyError::Rubbish)?;
            Ok((held, tenants, ago))
        });
        match found {
            Ok((held, tenants, ago)) => {
                let (count, age_s) = (tenants.len(), ago.as_secs());
                warn!(
                    file,
                    tenants = count,
                    age_s,
                    "starting with the last good list of the registry, which gives none now"
                );
                self.held = held;
                tenants
            }
            Err(cause) => {
                warn!(
                    file,
                    %cause,
                    "there are no tenants until the registry answers: tenants.copy cannot be used"
                );
                Vec::new()
            }
        }
    }

    /// Keeps a list that is in force, on the disk too.
    fn keep(&mut self, held: Held) {
        if held == self.held && self.copy.as_ref().is_none_or(|copy| copy.path().exists()) {
            return;
        }
        if let Some(copy) = &self.copy
            && let Err(error) = copy.write(&held)
        {
            error!(
                file = %copy.path().display(),
                %error,
                "tenants.copy could not be written: a node that starts while the registry is away \
                 has an old list. Make its directory writable for the gateway, and look at the disk"
            );
        }
        self.held = held;
    }

    /// Logs a trouble, the same one once in a while.
    fn say(&mut self, trouble: &Trouble, freshness: &Freshness) {
        let text = trouble.to_string();
        freshness.is_stale(&format!("{}: {text}", self.shown));
        let is_new = |(said, at): &(String, Instant)| *said != text || at.elapsed() > AGAIN;
        if self.said.as_ref().is_none_or(is_new) {
            error!("tenants not changed: {}: {text}", self.shown);
            self.said = Some((text, Instant::now()));
        }
    }

    fn recovered(&mut self, freshness: &Freshness) {
        freshness.is_fresh();
        if self.said.take().is_some() {
            info!("{} answers again", self.shown);
        }
    }
}

/// What went wrong with a call, of the registry and not of an API.
fn shown(failure: &Failure) -> String {
    let text = failure.to_string();
    text.replace("the backend's", "its")
        .replace("the backend", "the registry")
}
