//! Requests about the list of tenants, answered by whoever keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ht_node::administration::{TenantAdmin, TenantAnswer, TenantRequest};
use ht_node::config::{TenantConfig, TenantName};
use http::StatusCode;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Mistakes, Survey, Surveyed, TenantDocument};
use crate::tenants::folder::FolderError;

/// Requests that wait for the keeper.
const WAITING_MAX: usize = 64;

/// A request, and where its answer goes.
pub(crate) type Ask = (TenantRequest, oneshot::Sender<TenantAnswer>);

/// Hands requests to the keeper.
pub(crate) struct Admin(mpsc::Sender<Ask>);

impl Admin {
    /// And where the keeper gets them.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }
}

impl TenantAdmin for Admin {
    fn answer(&self, request: TenantRequest) -> BoxFuture<'_, TenantAnswer> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let busy = "Too many requests about tenants: try again in a moment.";
            if self.0.try_send((request, sender)).is_err() {
                return error(StatusCode::SERVICE_UNAVAILABLE, busy);
            }
            let gone = "The gateway is shutting down.";
            let answer = receiver.await;
            answer.unwrap_or_else(|_| error(StatusCode::SERVICE_UNAVAILABLE, gone))
        })
    }
}

/// An answer that names what to fix.
pub(super) fn error(status: StatusCode, sentence: &str) -> TenantAnswer {
    TenantAnswer {
        status,
        body: json!({ "error": sentence }),
    }
}

/// The answer to a tenant with mistakes, or to one that contradicts another.
pub(super) fn refused(mistakes: &Mistakes) -> TenantAnswer {
    let lines: Vec<_> = mistakes.lines().collect();
    TenantAnswer {
        status: StatusCode::BAD_REQUEST,
        body: json!({ "error": lines.join("; "), "mistakes": lines }),
    }
}

/// The answer to a change that would not be in force, because of others than this tenant.
pub(super) fn blocked(mistakes: &Mistakes) -> TenantAnswer {
    let lines: Vec<_> = mistakes.lines().collect();
    let sentence = format!(
        "Nothing was changed: no change of tenants is in force while there are mistakes elsewhere. \
         Correct them first: {}",
        lines.join("; ")
    );
    TenantAnswer {
        status: StatusCode::CONFLICT,
        body: json!({ "error": sentence, "mistakes": lines }),
    }
}

/// The answer to a change that is in the folder and yet not in force.
pub(super) fn unapplied() -> TenantAnswer {
    let sentence = "The change is in the folder of tenants and not in force: the files were changed \
                    meanwhile, and there are mistakes in them. The log has them.";
    error(StatusCode::CONFLICT, sentence)
}

/// The answer to a change that is not possible here.
pub(super) fn elsewhere(sentence: &str) -> TenantAnswer {
    error(StatusCode::CONFLICT, sentence)
}

/// The answer to a change of files that failed.
pub(super) fn failed(cause: &FolderError) -> TenantAnswer {
    let status = match cause {
        FolderError::NoTenant { .. } => StatusCode::NOT_FOUND,
        FolderError::Twice { .. } | FolderError::Broken { .. } => StatusCode::CONFLICT,
        FolderError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &cause.to_string())
}

/// A tenant in the list of all.
pub(super) struct Entry {
    name: String,
    suspended: bool,
    url: Json,
    hosts: Vec<Json>,
    /// The node serves it, as it is written or as it was before.
    is_in_force: bool,
    /// What is written and not in force: that it is `added`, `changed` or `removed`.
    waiting: Option<&'static str>,
    mistakes: Vec<String>,
}

impl Entry {
    /// A tenant that is in force as it is written.
    pub(super) fn in_force(document: &TenantDocument) -> Self {
        let json = document.to_json();
        Self {
            name: document.name().to_owned(),
            suspended: json["suspended"].as_bool().unwrap_or_default(),
            url: json["backend"]["url"].clone(),
            hosts: json["hosts"].as_array().cloned().unwrap_or_default(),
            is_in_force: true,
            waiting: None,
            mistakes: Vec::new(),
        }
    }

    /// All tenants that are written, or in force.
    pub(super) fn all(survey: &Survey, in_force: &[Arc<TenantConfig>]) -> Vec<Self> {
        let mut left: BTreeMap<&str, &TenantConfig> = in_force
            .iter()
            .map(|config| (config.name.as_str(), &**config))
            .collect();
        let mut entries = Vec::with_capacity(survey.tenants.len());
        for written in &survey.tenants {
            let now = left.remove(written.document.name());
            entries.push(Self::written(written, now));
        }
        let removed = left.into_values().map(|config| Self {
            name: config.name.to_string(),
            suspended: config.is_suspended,
            url: Json::Null,
            hosts: config
                .hosts
                .iter()
                .map(|host| host.as_str().into())
                .collect(),
            is_in_force: true,
            waiting: Some("removed"),
            mistakes: Vec::new(),
        });
        entries.extend(removed);
        entries
    }

    /// A tenant as it is written, and as it is in force.
    fn written(written: &Surveyed, now: Option<&TenantConfig>) -> Self {
        // One that another contests may be in force as it is written.
        let waiting = match (now, written.config()) {
            (Some(now), Some(config)) if *now == *config => None,
            (Some(_), _) => Some("changed"),
            (None, _) => Some("added"),
        };
        Self {
            suspended: now.map_or_else(
                || Self::in_force(&written.document).suspended,
                |now| now.is_suspended,
            ),
            is_in_force: now.is_some(),
            waiting,
            mistakes: written.all_mistakes().lines().collect(),
            ..Self::in_force(&written.document)
        }
    }

    fn json(self) -> Json {
        let mut json = json!({
            "name": self.name,
            "suspended": self.suspended,
            "url": self.url,
            "hosts": self.hosts,
            "in_force": self.is_in_force,
        });
        if let Some(waiting) = self.waiting {
            json["waiting"] = waiting.into();
        }
        if !self.mistakes.is_empty() {
            json["mistakes"] = self.mistakes.into();
        }
        json
    }
}

/// All tenants, each with what an operator looks for; `mistakes` are of none of them.
pub(super) fn list(
    entries: impl IntoIterator<Item = Entry>,
    mistakes: Vec<String>,
) -> TenantAnswer {
    let tenants: Vec<Json> = entries.into_iter().map(Entry::json).collect();
    let mut body = json!({ "tenants": tenants });
    if !mistakes.is_empty() {
        body["mistakes"] = mistakes.into();
    }
    TenantAnswer {
        status: StatusCode::OK,
        body,
    }
}

/// What is written about one tenant.
pub(super) fn show(documents: &[TenantDocument], name: &TenantName) -> TenantAnswer {
    let found = documents
        .iter()
        .find(|document| document.name() == name.as_str());
    match found {
        Some(document) => TenantAnswer {
            status: StatusCode::OK,
            body: document.to_json(),
        },
        None => error(
            StatusCode::NOT_FOUND,
            &format!("There is no tenant {name}."),
        ),
    }
}
