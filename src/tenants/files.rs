//! Tenants in files, which are looked at from time to time.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use ht_node::administration::{Freshness, TenantAnswer, TenantRequest};
use ht_node::config::{TenantConfig, TenantName};
use http::StatusCode;
use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use crate::config::{
    Mistakes, Tenancy, TenantDocument, TenantStamp, tenant_of_json, tenant_stamp, with_paths,
};
use crate::tenants::folder::Folder;
use crate::tenants::{Apply, admin, put, refuse};

/// A file that is being written is not read before it has been left alone for this long.
const SETTLED: Duration = Duration::from_millis(200);

/// The files, and their state when they were read.
pub(crate) struct Files {
    tenancy: Tenancy,
    /// None: not looked at yet. A state that cannot be told is one, too.
    seen: Option<Option<TenantStamp>>,
    /// Whether there were tenants.
    had_some: bool,
}

impl Files {
    /// Those of a process that has just read them. `had_some`: there were tenants.
    pub(crate) fn new(tenancy: &Tenancy, had_some: bool) -> Self {
        Self {
            // Read anew by the first look: they may have changed since.
            seen: None,
            had_some,
            tenancy: tenancy.clone(),
        }
    }

    /// Reads the files if they have changed.
    pub(crate) async fn look(&mut self, gateway: &impl Apply, freshness: &Freshness) {
        let now = self.stamp().await;
        if self.seen.as_ref() == Some(&now) {
            return;
        }
        sleep(SETTLED).await;
        let settled = self.stamp().await;
        if settled != now {
            return;
        }
        self.read(now, false, gateway, freshness).await;
    }

    /// Reads them now; the tables in the configuration file are these.
    pub(crate) async fn reload(
        &mut self,
        tables: Arc<[TenantDocument]>,
        gateway: &impl Apply,
        freshness: &Freshness,
    ) {
        self.tenancy.tables = tables;
        let now = self.stamp().await;
        self.read(now, true, gateway, freshness).await;
    }

    /// `is_meant`: somebody has asked for it, so that none may be left.
    async fn read(
        &mut self,
        now: Option<TenantStamp>,
        is_meant: bool,
        gateway: &impl Apply,
        freshness: &Freshness,
    ) {
        self.seen = Some(now);
        let tenants = match self.tenants().await {
            Ok(tenants) => tenants,
            Err(mistakes) => {
                refuse(&mistakes);
                freshness.is_stale("there are mistakes in the files: see the log");
                return;
            }
        };
        if tenants.is_empty() && self.had_some && !is_meant {
            error!(
                "tenants not changed: there is none any more. If a folder is not mounted, mount it; \
                 if all are meant to go, reload the settings (SIGHUP)"
            );
            freshness.is_stale("there is no tenant in the files any more");
            return;
        }
        let is_some = !tenants.is_empty();
        if put(gateway, tenants) {
            self.had_some = is_some;
            freshness.is_fresh();
        }
    }

    /// Answers a request. Changes are written to the folder, if the tenants are in one.
    pub(crate) async fn answer(
        &mut self,
        request: TenantRequest,
        gateway: &impl Apply,
        freshness: &Freshness,
    ) -> TenantAnswer {
        let (tenancy, is_change) = (self.tenancy.clone(), is_change(&request));
        let answering = spawn_blocking(move || answer(&tenancy, request));
        let answer = answering.await;
        let answer = answer.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
        if is_change && answer.status.is_success() {
            let now = self.stamp().await;
            self.read(now, true, gateway, freshness).await;
        }
        answer
    }

    async fn tenants(&self) -> Result<Vec<TenantConfig>, Mistakes> {
        let tenancy = self.tenancy.clone();
        let reading = spawn_blocking(move || tenancy.of_files());
        reading
            .await
            .unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
    }

    /// The state of the files; none if it cannot be told.
    async fn stamp(&self) -> Option<TenantStamp> {
        let path = self.tenancy.folder.join(self.tenancy.files()?);
        spawn_blocking(move || tenant_stamp(&path)).await.ok()?.ok()
    }
}

fn is_change(request: &TenantRequest) -> bool {
    matches!(request, TenantRequest::Put(..) | TenantRequest::Remove(_))
}

/// Answers a request by the files.
pub(super) fn answer(tenancy: &Tenancy, request: TenantRequest) -> TenantAnswer {
    let mut mistakes = Mistakes::default();
    let documents = tenancy.documents(&mut mistakes);
    let (name, body) = match request {
        TenantRequest::List => return admin::list(&documents),
        TenantRequest::Show(name) => return admin::show(&documents, &name),
        TenantRequest::Put(name, body) => (name, Some(body)),
        TenantRequest::Remove(name) => (name, None),
    };
    let path = tenancy.files().map(|path| tenancy.folder.join(path));
    let Some(path) = path.filter(|path| path.is_dir()) else {
        return admin::elsewhere(
            "The tenants of this gateway are not in a folder with a file for each: change its files.",
        );
    };
    let is_table = |document: &TenantDocument| document.name() == name.as_str();
    if tenancy.tables.iter().any(is_table) {
        return admin::elsewhere("This tenant is in the configuration file: change it there.");
    }
    let folder = Folder::new(&path);
    match body {
        Some(body) => put_tenant(tenancy, &folder, documents, &name, &body),
        None => match folder.remove(&name) {
            Ok(()) => TenantAnswer {
                status: StatusCode::OK,
                body: json!({ "name": name.as_str(), "removed": true }),
            },
            Err(cause) => admin::failed(&cause),
        },
    }
}

/// Writes a tenant if there is no mistake in it, alone or beside the others.
fn put_tenant(
    tenancy: &Tenancy,
    folder: &Folder,
    mut documents: Vec<TenantDocument>,
    name: &TenantName,
    body: &[u8],
) -> TenantAnswer {
    let json: Json = match serde_json::from_slice(body) {
        Ok(json) => json,
        Err(cause) => {
            let sentence = format!("The body is not JSON: {cause}.");
            return admin::error(StatusCode::BAD_REQUEST, &sentence);
        }
    };
    let Json::Object(mut members) = json else {
        return admin::error(StatusCode::BAD_REQUEST, "The body is no object of JSON.");
    };
    let written = members
        .entry("name")
        .or_insert_with(|| name.as_str().into());
    if written != name.as_str() {
        let sentence = format!("The name in the body is not that of the path, {name}.");
        return admin::error(StatusCode::BAD_REQUEST, &sentence);
    }
    let json = Json::Object(members);
    let new = tenant_of_json(json.clone(), "the request");
    let mut mistakes = Mistakes::default();
    // What it may refer to is not what the operator's own files may.
    let others = tenancy.others();
    tenancy.reader(others.clone()).one(&new, &mut mistakes);
    if !mistakes.is_empty() {
        return admin::refused(&mistakes);
    }
    // Its file is read as one of the operator, from whose folder paths are others.
    let json = with_paths(json, &others, name);
    let new = tenant_of_json(json.clone(), "the request");
    let before = documents.len();
    documents.retain(|document| document.name() != name.as_str());
    let is_new = documents.len() == before;
    documents.push(new);
    tenancy.checked(&documents, tenancy.operator(), &mut mistakes);
    if !mistakes.is_empty() {
        return admin::refused(&mistakes);
    }
    match folder.put(name, &json) {
        Ok(_) => TenantAnswer {
            status: if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            },
            body: json!({ "name": name.as_str(), "created": is_new }),
        },
        Err(cause) => admin::failed(&cause),
    }
}
