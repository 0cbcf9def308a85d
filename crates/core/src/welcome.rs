//! How a connection begins.

use std::sync::Arc;

use bytes::Bytes;
use ht_frame::PerMessageDeflate;
use ht_proto::close::Close;
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;
use uuid::Uuid;

use crate::budget::cost;
use crate::command::{Action, Command, Ending};
use crate::grant::GrantSet;
use crate::select::{Candidate, Tested};
use crate::who::Who;

/// How a connection begins.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The connection's id.
    pub id: Uuid,
    /// The first message, text.
    pub message: Bytes,
    /// Whether the visitor may stay.
    pub admission: Admission,
    /// Who an admitted client is, where its API said so; equal ones share one.
    pub who: Option<Arc<Who>>,
    /// The position of the last command that had been given one when the API was asked about the
    /// client: its answer takes account of the commands up to there. Zero: there was none.
    pub asked_at: u64,
    /// The client takes messages that it did not ask for.
    pub events: bool,
    /// What the handshake agreed upon about compression.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol that the handshake chose.
    pub subprotocol: Option<Subprotocol>,
}

/// What a handshake agreed upon with a client.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// The connection's id.
    pub id: Uuid,
    /// What it agreed upon about compression.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol that it chose.
    pub subprotocol: Option<Subprotocol>,
    /// The client takes messages that it did not ask for.
    pub events: bool,
}

impl Welcome {
    /// What the handshake agreed upon.
    pub(crate) fn handshake(&self) -> Handshake {
        Handshake {
            id: self.id,
            deflate: self.deflate,
            subprotocol: self.subprotocol,
            events: self.events,
        }
    }

    /// Does to it what a command does that came after the API was asked. Returns what it cost, in units.
    pub(crate) fn apply(&mut self, command: &Command) -> u64 {
        let Admission::Admitted(grants) = &self.admission else {
            return 0;
        };
        let mut tested = Tested::default();
        let candidate = Candidate {
            id: self.id,
            who: self.who.as_deref(),
            grants,
        };
        let is_meant = command.selection.means(candidate, &mut tested);
        let units = command.selection.units() + tested.compared as u64 * cost::LOOK;
        match &command.action {
            _ if !is_meant => {}
            Action::Count | Action::Unsubscribe(_) => {}
            Action::Permit(permit) => {
                self.admission = Admission::Admitted(Arc::clone(&permit.grants));
                self.who = permit.who(self.who.as_deref()).map(Arc::new);
                self.message = permit.welcome.clone();
            }
            Action::Disconnect(ending) => self.refuse(Admission::Disconnected(ending.clone())),
        }
        units
    }

    /// Makes it one of a client that is not admitted.
    pub(crate) fn refuse(&mut self, admission: Admission) {
        self.admission = admission;
        self.who = None;
        self.message = Bytes::from_static(server::NOT_AUTHORIZED.as_bytes());
    }
}

/// Whether a visitor may stay.
#[derive(Clone, Debug)]
pub enum Admission {
    /// With these grants.
    Admitted(Arc<GrantSet>),
    /// No; it is closed for this reason after a moment.
    Refused(Close),
    /// No; it is closed for this reason at once, for what it says next may have no meaning.
    TurnedAway(Close),
    /// No: a command disconnected it on its way in.
    Disconnected(Ending),
}
