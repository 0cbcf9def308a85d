//! Admission of a connection.

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
use crate::stream::Opening;
use crate::who::Who;

/// The initial state of a connection.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The connection's id.
    pub id: Uuid,
    /// The first message, text.
    pub message: Bytes,
    /// Whether the client is admitted.
    pub admission: Admission,
    /// An admitted client's identity, where its API gave one; equal ones share one.
    pub who: Option<Arc<Who>>,
    /// The position of the last command when the API was queried about the client: its answer
    /// includes the effect of the commands up to there. Zero: there was none.
    pub asked_at: u64,
    /// The number of the last gap then: the effect of commands that were lost in a later one is
    /// missing in its answer.
    pub gap: u32,
    /// How long the API's answer holds, in milliseconds; none: until the connection ends.
    pub expires_in: Option<u64>,
    /// The client authenticated with a token, and can send another one to replace it.
    pub has_token: bool,
    /// The id of the former connection of a client whose resume ticket let it in: the answer is that
    /// of the ticket.
    pub resumed: Option<Uuid>,
    /// The position of a later command that makes the answer void, so that the API is queried again
    /// before the client is sent anything. None, until [`Shard::catch_up`] finds one.
    ///
    /// [`Shard::catch_up`]: crate::shard::Shard::catch_up
    pub invalidated_at: Option<u64>,
    /// The client accepts unsolicited messages.
    pub events: bool,
    /// The compression that the handshake negotiated.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol that the handshake selected.
    pub subprotocol: Option<Subprotocol>,
    /// What the client asks for over HTTP; none: it has a WebSocket.
    pub stream: Option<Box<Opening>>,
}

/// Options that a handshake negotiated with a client.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// The connection's id.
    pub id: Uuid,
    /// Its compression.
    pub deflate: Option<PerMessageDeflate>,
    /// Its subprotocol.
    pub subprotocol: Option<Subprotocol>,
    /// The client accepts unsolicited messages.
    pub events: bool,
}

impl Welcome {
    /// The negotiated options.
    pub(crate) fn handshake(&self) -> Handshake {
        Handshake {
            id: self.id,
            deflate: self.deflate,
            subprotocol: self.subprotocol,
            events: self.events,
        }
    }

    /// Applies a command newer than the API's answer to it; with `recheck` the API can be queried
    /// again. Returns the cost, in units.
    pub(crate) fn apply(&mut self, command: &Command, recheck: bool) -> u64 {
        let Admission::Admitted(grants) = &self.admission else {
            return 0;
        };
        let mut tested = Tested::default();
        let mut is_meant = false;
        for id in self.resumed.into_iter().chain([self.id]) {
            let candidate = Candidate {
                id,
                who: self.who.as_deref(),
                grants,
            };
            is_meant |= command.selection.means(candidate, &mut tested);
        }
        let units = command.selection.units() + tested.compared as u64 * cost::LOOK;
        match &command.action {
            _ if !is_meant => {}
            Action::Count | Action::Unsubscribe(_) => {}
            Action::Permit(permit) => {
                self.admission = Admission::Admitted(Arc::clone(&permit.grants));
                self.who = permit.who(self.who.as_deref()).map(Arc::new);
                self.message = permit.welcome.clone();
                self.expires_in = permit.expires_in;
                self.invalidated_at = None;
            }
            Action::Disconnect(ending) => self.refuse(Admission::Disconnected(ending.clone())),
            Action::Invalidate { .. } if recheck => self.invalidated_at = Some(command.position),
            Action::Invalidate { .. } => self.refuse(Admission::Refused(Close::PERMISSIONS)),
        }
        units
    }

    /// Turns it into one of a refused client.
    pub(crate) fn refuse(&mut self, admission: Admission) {
        self.admission = admission;
        self.who = None;
        self.message = Bytes::from_static(server::NOT_AUTHORIZED.as_bytes());
    }
}

/// Whether a client is admitted.
#[derive(Clone, Debug)]
pub enum Admission {
    /// With these grants.
    Admitted(Arc<GrantSet>),
    /// No; it is closed for this reason after a short delay.
    Refused(Close),
    /// No; it is closed for this reason at once, because its further input may be meaningless.
    TurnedAway(Close),
    /// No: a command disconnected it during its admission.
    Disconnected(Ending),
}
