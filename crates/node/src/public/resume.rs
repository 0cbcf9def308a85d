//! Letting clients in by their resume tickets, without a call to the API.
//!
//! A ticket is an answer of the API as old as the proof that belongs to it. The window has the
//! commands since: if one selects the client, or some may be missing, the API is called as for every
//! other client. Those that are ordered from then on find the client as any other that is being
//! admitted.

use std::time::SystemTime;

use ht_backend::{Credentials, Permissions};
use ht_core::ticket::{Changed, unchanged};
use ht_core::window::Unknown;
use ht_edge::request::RequestFacts;
use ht_proto::ticket::ResumeOffer;
use uuid::Uuid;

use crate::counters::ResumeOutcome;
use crate::live::LiveSettings;
use crate::permitted::{self, Permitted};
use crate::public::bootstrap::Bootstrap;
use crate::public::outcome::Outcome;
use crate::tickets::Opened;

impl Bootstrap {
    /// Admits a client by the ticket that it offers; none: the API is to be called. Counts the
    /// result.
    pub(super) fn resume(
        &self,
        settings: &LiveSettings,
        facts: &RequestFacts,
        credentials: &Credentials,
    ) -> Option<Outcome> {
        let offer = facts.resume.as_ref()?;
        let resumed = match self.open(settings, offer, credentials)? {
            Ok((permissions, connection)) => {
                self.admit(settings, facts, &permissions, credentials, Some(connection))
            }
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

    /// What a ticket permits, and the id of the client's former connection. None: tickets are not
    /// accepted.
    fn open(
        &self,
        settings: &LiveSettings,
        offer: &ResumeOffer,
        credentials: &Credentials,
    ) -> Option<Result<(Permissions, Uuid), ResumeOutcome>> {
        // First: a gap, or a command that the window does not have yet, is later.
        let mut asked_at = (self.clock)();
        let identity = settings.rules.identity(credentials);
        let opened = self.tickets.open(offer, &identity, SystemTime::now())?;
        Some(opened.and_then(|opened| {
            let Opened {
                mut permissions,
                connection,
                cursor,
            } = opened;
            let view = self.window.reader().view();
            asked_at.commands = asked_at.commands.min(view.end());
            let position = view.find(&cursor)?;
            let list = permitted::rooms(&permissions).ok_or(ResumeOutcome::Invalid)?;
            let user = permissions.user_id.as_deref().map(Into::into);
            let Permitted { grants, who, .. } = Permitted::new(
                &self.interner,
                &self.throttles,
                Some(connection),
                (&permissions, list),
                user,
            );
            unchanged(&view, position, (connection, who.as_deref(), &grants))?;
            permissions.asked_at = Some(asked_at);
            Ok((permissions, connection))
        }))
    }
}

impl From<Unknown> for ResumeOutcome {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Epoch => Self::Epoch,
            Unknown::Age => Self::Age,
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
