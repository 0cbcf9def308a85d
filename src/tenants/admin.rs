//! Requests about the list of tenants, answered by whoever keeps it.

use futures_util::future::BoxFuture;
use ht_node::administration::{TenantAdmin, TenantAnswer, TenantRequest};
use ht_node::config::TenantName;
use http::StatusCode;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Mistakes, TenantDocument};
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

/// The answer to a change that is not possible here.
pub(super) fn elsewhere(sentence: &str) -> TenantAnswer {
    error(StatusCode::CONFLICT, sentence)
}

/// The answer to a change of files that failed.
pub(super) fn failed(cause: &FolderError) -> TenantAnswer {
    let status = match cause {
        FolderError::NoTenant { .. } => StatusCode::NOT_FOUND,
        FolderError::Twice { .. } => StatusCode::CONFLICT,
        FolderError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &cause.to_string())
}

/// All tenants, each with what an operator looks for.
pub(super) fn list(documents: &[TenantDocument]) -> TenantAnswer {
    let line = |document: &TenantDocument| {
        let json = document.to_json();
        json!({
            "name": document.name(),
            "suspended": json["suspended"].as_bool().unwrap_or_default(),
            "url": json["backend"]["url"],
            "hosts": json["hosts"].as_array().cloned().unwrap_or_default(),
        })
    };
    let tenants: Vec<Json> = documents.iter().map(line).collect();
    TenantAnswer {
        status: StatusCode::OK,
        body: json!({ "tenants": tenants }),
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
