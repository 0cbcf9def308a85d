//! Tenants in files, which are looked at from time to time.

use std::panic::resume_unwind;
use std::path::Path;
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
    Mistakes, Survey, Tenancy, TenantDocument, TenantStamp, tenant_of_json, tenant_stamp,
    with_paths,
};
use crate::tenants::admin::Entry;
use crate::tenants::folder::Folder;
use crate::tenants::last_good::LastGood;
use crate::tenants::{Apply, Outcome, admin, put};

/// A file that is being written is not read before it has been left alone for this long.
const SETTLED: Duration = Duration::from_millis(200);

/// Why a list may be older than its files.
const MISTAKES: &str = "there are mistakes in the files: see the log";
const NONE_LEFT: &str = "there is no tenant in the files any more";

/// The files, and their state when they were read.
pub(crate) struct Files {
    tenancy: Tenancy,
    /// None: not looked at yet. A state that cannot be told is one, too.
    seen: Option<Option<TenantStamp>>,
    /// Whether there were tenants.
    had_some: bool,
    copy: Option<LastGood>,
    /// The mistakes that were logged last.
    said: Mistakes,
    /// What the files have is in force.
    is_current: bool,
}

impl Files {
    /// Those of a process that has just read them.
    pub(crate) fn new(tenancy: &Tenancy) -> Self {
        Self {
            // Read anew by the first look: they may have changed since.
            seen: None,
            had_some: false,
            copy: LastGood::of(tenancy),
            said: Mistakes::default(),
            is_current: false,
            tenancy: tenancy.clone(),
        }
    }

    /// The tenants at the start, of which the files say this: all of them if there is no mistake,
    /// otherwise those of the last good list, or those without mistakes.
    ///
    /// # Errors
    /// With the mistakes, if there is neither what `tenants.file` names nor a copy.
    pub(crate) fn first(
        &mut self,
        survey: &Survey,
        freshness: &Freshness,
    ) -> Result<Vec<TenantConfig>, Mistakes> {
        let (good, mistakes) = (survey.good(), survey.all_mistakes());
        self.had_some = !good.is_empty();
        let why = match (mistakes.is_empty(), self.had_some) {
            (true, true) => return Ok(good),
            (true, false) => NONE_LEFT,
            (false, _) => MISTAKES,
        };
        let copied = self
            .copy
            .as_ref()
            .and_then(|copy| copy.read(&self.tenancy, survey));
        if let Some((tenants, age)) = copied {
            self.say(mistakes);
            let (count, age_s) = (tenants.len(), age.as_secs());
            error!(
                tenants = count,
                age_s, "starting with the last good list of tenants (tenants.copy): {why}"
            );
            self.had_some = true;
            freshness.is_of(age, why);
            return Ok(tenants);
        }
        if mistakes.is_empty() {
            return Ok(good);
        }
        if mistakes.about("tenants.file") {
            return Err(mistakes);
        }
        let left_out = survey.tenants.len() - good.len();
        self.say(mistakes);
        if self.had_some {
            error!(
                served = good.len(),
                left_out,
                "starting without the tenants that have mistakes: see above. With tenants.copy a node \
                 starts with the last good list"
            );
            freshness.is_stale(why);
        } else {
            error!("no tenant is served until the mistakes above are corrected");
            freshness.is_missing(why);
        }
        Ok(good)
    }

    /// Logs mistakes, each of them once.
    fn say(&mut self, mistakes: Mistakes) {
        if self.said != mistakes {
            for mistake in mistakes.lines() {
                error!("{mistake}");
            }
            self.said = mistakes;
        }
    }

    /// Reads the files if they have changed.
    pub(crate) async fn look(&mut self, gateway: &impl Apply, freshness: &Freshness) {
        let now = self.stamp().await;
        if self.seen.as_ref() == Some(&now) {
            if let (Some(copy), true) = (&self.copy, self.is_current) {
                copy.confirm();
            }
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
    ) -> Outcome {
        self.tenancy.tables = tables;
        self.said = Mistakes::default();
        let now = self.stamp().await;
        self.read(now, true, gateway, freshness).await
    }

    /// `is_meant`: somebody has asked for it, so that none may be left.
    async fn read(
        &mut self,
        now: Option<TenantStamp>,
        is_meant: bool,
        gateway: &impl Apply,
        freshness: &Freshness,
    ) -> Outcome {
        self.seen = Some(now);
        self.is_current = false;
        let survey = self.survey().await;
        let tenants = match survey.whole() {
            Ok(tenants) => tenants,
            Err(mistakes) => {
                freshness.is_stale(MISTAKES);
                let is_new = self.said != mistakes;
                self.say(mistakes);
                if is_new {
                    error!("tenants not changed: see the mistakes above");
                }
                return Outcome::Refused;
            }
        };
        self.said = Mistakes::default();
        if tenants.is_empty() && self.had_some && !is_meant {
            freshness.is_stale(NONE_LEFT);
            error!(
                "tenants not changed: there is none any more. If a folder is not mounted, mount it; \
                 if all are meant to go, reload the settings (SIGHUP)"
            );
            return Outcome::Refused;
        }
        let is_some = !tenants.is_empty();
        let outcome = put(gateway, tenants);
        if outcome == Outcome::Refused {
            freshness
                .is_stale("two of the tenants in the files contradict each other: see the log");
        } else {
            self.is_current = true;
            self.had_some = is_some;
            if let Some(copy) = &mut self.copy {
                copy.keep(&survey);
            }
            freshness.is_fresh();
        }
        outcome
    }

    /// Answers a request. Changes are written to the folder, if the tenants are in one.
    pub(crate) async fn answer(
        &mut self,
        request: TenantRequest,
        gateway: &impl Apply,
        freshness: &Freshness,
    ) -> TenantAnswer {
        let (tenancy, is_change) = (self.tenancy.clone(), is_change(&request));
        let in_force = gateway.in_force();
        let answering = spawn_blocking(move || answer(&tenancy, request, &in_force));
        let answer = answering.await;
        let answer = answer.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
        if is_change && answer.status.is_success() {
            let now = self.stamp().await;
            let outcome = self.read(now, true, gateway, freshness).await;
            if outcome == Outcome::Refused {
                return admin::unapplied();
            }
        }
        answer
    }

    async fn survey(&self) -> Survey {
        let tenancy = self.tenancy.clone();
        let reading = spawn_blocking(move || tenancy.survey());
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

/// Answers a request by the files, and by the tenants that are in force.
pub(super) fn answer(
    tenancy: &Tenancy,
    request: TenantRequest,
    in_force: &[Arc<TenantConfig>],
) -> TenantAnswer {
    let mut unread = Mistakes::default();
    let mut documents = tenancy.documents(&mut unread);
    let (name, body) = match request {
        TenantRequest::List => {
            let survey = tenancy.survey();
            let mistakes = survey.mistakes.lines().collect();
            return admin::list(Entry::all(&survey, in_force), mistakes);
        }
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
    let before = documents.len();
    documents.retain(|document| document.name() != name.as_str());
    let is_new = documents.len() == before;
    let others = (documents, unread);
    match body {
        Some(body) => put_tenant(tenancy, &folder, others, (&name, is_new), &body),
        None => remove_tenant(tenancy, &folder, others, &name),
    }
}

/// Deletes a tenant if the others can be in force without it.
fn remove_tenant(
    tenancy: &Tenancy,
    folder: &Folder,
    (documents, unread): (Vec<TenantDocument>, Mistakes),
    name: &TenantName,
) -> TenantAnswer {
    if folder.has(name)
        && let Err(answer) = check_change(tenancy, &documents, unread)
    {
        return answer;
    }
    match folder.remove(name) {
        Ok(()) => TenantAnswer {
            status: StatusCode::OK,
            body: json!({ "name": name.as_str(), "removed": true }),
        },
        Err(cause) => admin::failed(&cause),
    }
}

/// What stands for the body of a request in mistakes.
const REQUEST: &str = "the request";

/// Checks that the tenants can be in force as they would be after a change.
fn check_change(
    tenancy: &Tenancy,
    documents: &[TenantDocument],
    mut mistakes: Mistakes,
) -> Result<(), TenantAnswer> {
    tenancy.checked(documents, tenancy.operator(), &mut mistakes);
    if mistakes.is_empty() {
        return Ok(());
    }
    let is_of_request = mistakes.are_in(Path::new(REQUEST));
    Err(if is_of_request {
        admin::refused(&mistakes)
    } else {
        admin::blocked(&mistakes)
    })
}

/// Writes a tenant if there is no mistake in it, alone or beside the others.
fn put_tenant(
    tenancy: &Tenancy,
    folder: &Folder,
    (mut documents, unread): (Vec<TenantDocument>, Mistakes),
    (name, is_new): (&TenantName, bool),
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
    let new = tenant_of_json(json.clone(), REQUEST);
    let mut mistakes = Mistakes::default();
    // What it may refer to is not what the operator's own files may.
    let others = tenancy.others();
    tenancy.reader(others.clone()).one(&new, &mut mistakes);
    if !mistakes.is_empty() {
        return admin::refused(&mistakes);
    }
    // Its file is read as one of the operator, from whose folder paths are others.
    let json = with_paths(json, &others, name);
    documents.push(tenant_of_json(json.clone(), REQUEST));
    if let Err(answer) = check_change(tenancy, &documents, unread) {
        return answer;
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
