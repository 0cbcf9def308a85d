//! Letting clients in by their resume tickets, without a call to the API.
//!
//! A ticket is an answer of the API as old as the proof that belongs to it. The window has the
//! commands since: if one selects the client, or some may be missing, the API is called as for every
//! other client. Those that are ordered from then on find the client as any other that is being
//! admitted.

use std::time::{Duration, SystemTime};

use ht_backend::{CallTime, Permissions};
use ht_core::publication::Logged;
use ht_core::ticket::{Changed, unchanged};
use ht_core::window::{Unknown, View};
use ht_proto::cursor::Cursor;
use ht_proto::entry::TenantId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::counters::ResumeOutcome;
use crate::permitted::{self, Permitted};
use crate::public::bootstrap::{Asking, Bootstrap};
use crate::public::outcome::Outcome;
use crate::tickets::{Holder, Opened};
use crate::window::NodeWindow;

/// Longest wait for the log, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

impl Bootstrap {
    /// Admits a client by the ticket that it offers; none: the API is to be called. Counts the
    /// result.
    pub(super) async fn resume(&self, asking: Asking<'_>) -> Option<Outcome> {
        let Asking {
            settings,
            tenant,
            pipeline,
            facts,
            credentials,
        } = asking;
        let offer = facts.resume.as_ref()?;
        // First: a gap, or a command that the window does not have yet, is later.
        let (node, tenant_id) = (&pipeline.node, credentials.tenant());
        let asked_at = node.call_time();
        let identity = tenant.rules(settings).identity(credentials);
        let holder = Holder::new(tenant.name(), &identity);
        let opened = self.tickets.open(offer, &holder, SystemTime::now())?;
        let checked = match opened {
            Ok(opened) => self.check(opened, tenant_id, &node.window, asked_at).await,
            Err(outcome) => Err(outcome),
        };
        let resumed = match checked {
            Ok((permissions, connection)) => self.admit(asking, &permissions, Some(connection)),
            Err(outcome) => {
                self.counters.resumes.add(outcome);
                let outcome = outcome.as_str();
                tracing::debug!(connection = %facts.id, outcome, "calling the API for a client with a resume ticket");
                return None;
            }
        };
        self.counters.resumes.add(match &resumed {
            Some(Outcome::Admitted(_)) => ResumeOutcome::Resumed,
            Some(Outcome::Refused(_) | Outcome::Unauthenticated) => ResumeOutcome::Limit,
            None => ResumeOutcome::Invalid,
        });
        resumed
    }

    /// What a ticket permits if nothing has happened since, and the id of the client's former
    /// connection.
    async fn check(
        &self,
        opened: Opened,
        tenant: TenantId,
        window: &NodeWindow,
        mut asked_at: CallTime,
    ) -> Result<(Permissions, Uuid), ResumeOutcome> {
        let Opened {
            mut permissions,
            connection,
            cursor,
        } = opened;
        let (view, position) = find(window, &cursor).await?;
        asked_at.commands = asked_at.commands.min(view.end());
        let list = permitted::rooms(&permissions).ok_or(ResumeOutcome::Invalid)?;
        let user = permissions.user_id.as_deref().map(Into::into);
        let Permitted { grants, who, .. } = Permitted::new(
            &self.interner,
            &self.throttles,
            (tenant, Some(connection)),
            (&permissions, list),
            user,
        );
        unchanged(&view, position, (connection, who.as_deref(), &grants))?;
        permissions.asked_at = Some(asked_at);
        Ok((permissions, connection))
    }
}

/// The position of a cursor in the window. This node may have read less of the log than the one
/// that gave it: then it waits a moment.
async fn find(window: &NodeWindow, cursor: &Cursor) -> Result<(View<Logged>, u64), Unknown> {
    let until = Instant::now() + PATIENCE;
    loop {
        let view = window.reader().view();
        match view.find(cursor) {
            Err(Unknown::Ahead) if Instant::now() < until => {}
            found => return found.map(|position| (view, position)),
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl From<Unknown> for ResumeOutcome {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Epoch => Self::Epoch,
            Unknown::Age | Unknown::Trimmed => Self::Age,
            Unknown::Ahead => Self::Ahead,
        }
    }
}

impl From<Changed> for ResumeOutcome {
    fn from(changed: Changed) -> Self {
        match changed {
            Changed::Command | Changed::Much => Self::Command,
            Changed::Hole => Self::Gap,
        }
    }
}
