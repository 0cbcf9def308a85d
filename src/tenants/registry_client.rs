//! A registry of tenants: it is asked from time to time, and whatever it answers, only a good answer
//! changes something.

use std::time::Duration;

use ht_backend::{Failure, Fetch, FetchConfig};
use ht_node::administration::{Freshness, TenantAnswer, TenantRequest};
use ht_node::config::{Secret, TenantConfig};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::{Survey, Tenancy, TenantSource};
use crate::tenants::admin::Entry;
use crate::tenants::copy::{Copy, CopyError};
use crate::tenants::registry::{Held, Rubbish};
use crate::tenants::{Apply, Outcome, admin, put};

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
    /// There is a list: of the registry, or of the copy.
    has_list: bool,
    said: Option<(String, Instant)>,
}

/// Why an answer changes nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}. Check tenants.url, and that the registry runs")]
    Away(String),
    #[error("it answered that nothing has changed, and has given no list yet")]
    NoList,
    #[error("it answered with status {0}. {1}")]
    Status(StatusCode, &'static str),
    #[error("its answer is refused as a whole: {0}. Correct it in the registry")]
    Rubbish(#[from] Rubbish),
}

/// A good answer.
enum Answer {
    Unchanged,
    New(Held, Survey),
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
            copy: tenancy.copy().map(|path| Copy::new(path, url)),
            has_list: false,
            said: None,
        })
    }

    /// The tenants at the start: those of the registry, or of the copy of its last good list.
    pub(crate) async fn first(&mut self, freshness: &Freshness) -> Vec<TenantConfig> {
        let trouble = match self.ask().await {
            Ok(Answer::New(held, survey)) => {
                self.keep(held);
                return survey.good();
            }
            Ok(Answer::Unchanged) => Trouble::NoList,
            Err(trouble) => trouble,
        };
        self.say(&trouble, freshness);
        self.copied(freshness)
    }

    /// Asks the registry, and puts in force what has changed.
    pub(crate) async fn look(&mut self, gateway: &impl Apply, freshness: &Freshness) -> Outcome {
        match self.ask().await {
            Ok(Answer::Unchanged) if self.has_list => {
                self.recovered(freshness);
                Outcome::Unchanged
            }
            Ok(Answer::Unchanged) => self.say(&Trouble::NoList, freshness),
            Ok(Answer::New(held, survey)) => {
                let tenants = survey.good();
                let before = self.held.tenants.len();
                if tenants.is_empty() && before > 0 {
                    warn!(
                        removed = before,
                        "{} says that there are no tenants, with \"complete\": true or all of them in \
                         \"removed\": all are removed",
                        self.shown
                    );
                }
                let outcome = put(gateway, tenants);
                if outcome != Outcome::Refused {
                    self.recovered(freshness);
                    self.keep(held);
                }
                outcome
            }
            Err(trouble) => self.say(&trouble, freshness),
        }
    }

    /// Asks the registry once: what its list says, whatever is wrong with its tenants.
    ///
    /// # Errors
    /// With a sentence, if it has none.
    pub(crate) async fn survey(&mut self) -> Result<Survey, String> {
        match self.asked().await {
            Ok(Answer::Unchanged) => Err(Trouble::NoList.to_string()),
            Ok(Answer::New(_, survey)) => Ok(survey),
            Err(trouble) => Err(trouble.to_string()),
        }
    }

    /// Answers a request: the registry alone changes its list.
    pub(crate) fn answer(&self, request: TenantRequest) -> TenantAnswer {
        let documents = self.held.documents(&self.shown);
        match request {
            TenantRequest::List => {
                let entries = documents.iter().map(Entry::in_force);
                let trouble = self.said.iter().map(|(text, _)| text.clone());
                admin::list(entries, trouble.collect())
            }
            TenantRequest::Show(name) => admin::show(&documents, &name),
            TenantRequest::Put(..) | TenantRequest::Remove(_) => {
                admin::elsewhere("The tenants are those of the registry: change them there.")
            }
        }
    }

    /// Asks for what is new. With a mistake in any tenant it is trouble.
    async fn ask(&mut self) -> Result<Answer, Trouble> {
        let answer = self.asked().await?;
        if let Answer::New(_, survey) = &answer {
            let mistakes = survey.all_mistakes();
            if !mistakes.is_empty() {
                self.tag = None;
                return Err(Held::refused(&mistakes).into());
            }
        }
        Ok(answer)
    }

    async fn asked(&mut self) -> Result<Answer, Trouble> {
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
                let survey = self.read(&held);
                let tag = response.headers.get(header::ETAG).cloned();
                self.tag = tag.map(|tag| (held.query(), tag));
                Ok(Answer::New(held, survey))
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

    /// What a list says of its tenants.
    fn read(&self, held: &Held) -> Survey {
        let documents = held.documents(&self.shown);
        self.tenancy.survey_of(documents, self.tenancy.others())
    }

    /// The tenants of the copy; none if it cannot be used.
    fn copied(&mut self, freshness: &Freshness) -> Vec<TenantConfig> {
        let why = self.trouble();
        let Some(copy) = &self.copy else {
            warn!("there are no tenants until the registry answers: set tenants.copy");
            freshness.is_missing(why);
            return Vec::new();
        };
        let file = copy.path().display().to_string();
        let found = copy.read();
        let found = found.and_then(|(held, ago)| match self.read(&held).whole() {
            Ok(tenants) => Ok((held, tenants, ago)),
            Err(mistakes) => Err(CopyError::Rubbish(Held::refused(&mistakes))),
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
                self.has_list = true;
                freshness.is_of(ago, why);
                tenants
            }
            Err(cause) => {
                warn!(
                    file,
                    %cause,
                    "there are no tenants until the registry answers: tenants.copy cannot be used"
                );
                freshness.is_missing(why);
                Vec::new()
            }
        }
    }

    /// Keeps a list that is in force, on the disk too.
    fn keep(&mut self, held: Held) {
        self.has_list = true;
        match &self.copy {
            Some(copy) if held == self.held && copy.path().exists() => {}
            Some(copy) => copy.keep(&held),
            None => {}
        }
        self.held = held;
    }

    /// What was logged last, in `/ready`.
    fn trouble(&self) -> String {
        let text = self.said.as_ref().map(|(text, _)| text.as_str());
        format!("{}: {}", self.shown, text.unwrap_or_default())
    }

    /// Logs a trouble, the same one once in a while.
    fn say(&mut self, trouble: &Trouble, freshness: &Freshness) -> Outcome {
        let text = trouble.to_string();
        let is_known = |(said, at): &(String, Instant)| *said == text && at.elapsed() <= AGAIN;
        let is_new = !self.said.as_ref().is_some_and(is_known);
        if is_new {
            self.said = Some((text, Instant::now()));
        }
        let trouble = self.trouble();
        freshness.is_stale(trouble.clone());
        if is_new {
            error!("tenants not changed: {trouble}");
        }
        Outcome::Refused
    }

    fn recovered(&mut self, freshness: &Freshness) {
        freshness.is_fresh();
        if let Some(copy) = &self.copy {
            copy.confirm();
        }
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
