//! Commands: sent by the API when permissions change or sessions are to end.

mod error;
mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

pub use crate::command::error::{CommandError, CommandProblem};
use crate::grant::GrantList;
use crate::labels;
use crate::room::Room;
use crate::tenant::TenantMember;

/// Most values in the selector of one command.
pub const SELECTOR_VALUES_MAX: usize = 1_000;

/// Longest span over which an `invalidate` is spread, in milliseconds.
pub const WITHIN_MS_MAX: u32 = 3_600_000;

/// Longest word of a `reason`, in bytes.
pub const REASON_BYTES_MAX: usize = 32;

/// The reason of a `disconnect` that gives none.
pub const REASON: &str = "ended";

/// One command of the API: an action on selected connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its JSON text, as it was sent, and with the members `rooms` and `data` of a trigger without
    /// rooms: a reader without support for commands delivers nothing.
    pub text: Bytes,
    /// Makes repeating idempotent, as that of a trigger does.
    pub id: Option<Box<str>>,
    /// Whose it is.
    pub tenant: TenantMember,
    /// The selected connections.
    pub selector: Selector,
    /// The action.
    pub action: Action,
    /// The confirmation that the answer waits for.
    pub confirm: Confirm,
    /// Only count the selected connections.
    pub dry_run: bool,
}

/// Which connections a command selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All of them.
    Everyone,
    /// Those that match every given member.
    Those(Box<Criteria>),
}

/// Criteria for the connections that a command selects. At least one member is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// The user has this id: a number as its text.
    pub user: Option<Box<str>>,
    /// The sign-in has this name.
    pub session: Option<Box<str>>,
    /// The connection has this id.
    pub connection: Option<Uuid>,
    /// The client has one of these labels; none given: any. Sorted, none twice.
    pub labels: Box<[Box<str>]>,
    /// The grants permit a room that meets this one, which may have `*`.
    pub room: Option<Room>,
}

/// The action of a command on the connections that it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Query the API again for their permissions.
    Invalidate {
        /// The query for each connection is made at a random time within so many milliseconds.
        within_ms: u32,
    },
    /// Replace their permissions.
    Permit(Box<Permit>),
    /// Drop subscriptions.
    Unsubscribe {
        /// Those to rooms that one of these equals or, by `*`, covers.
        from: Vec<Room>,
    },
    /// Close them.
    Disconnect(Disconnect),
}

/// A whole new bootstrap response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The rooms. Every one of them permits something.
    pub allowed_rooms: GrantList,
    /// The labels, sorted and without repetitions.
    pub labels: Box<[Box<str>]>,
    /// The view of publications.
    pub view: Option<Box<str>>,
    /// How long all of it holds; none: until the connection ends.
    pub expires_in: Option<Duration>,
}

/// How connections are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// What their clients should do then.
    pub come_back: ComeBack,
    /// The reason in the close frame: a word of `a` to `z` and `-`.
    pub reason: Box<str>,
    /// Only those whose token was issued before this moment, in seconds since 1970.
    pub issued_before: Option<u64>,
}

labels! {
    /// The names of the commands.
    pub enum Name {
        /// [`Action::Invalidate`].
        Invalidate = "invalidate",
        /// [`Action::Permit`].
        Permit = "permit",
        /// [`Action::Unsubscribe`].
        Unsubscribe = "unsubscribe",
        /// [`Action::Disconnect`].
        Disconnect = "disconnect",
    }
}

labels! {
    /// How a client should react when a command disconnects it.
    pub enum ComeBack {
        /// Reconnect at once.
        Soon = "soon",
        /// Reconnect after a delay.
        Later = "later",
        /// Reconnect once the user has signed in again.
        SignIn = "sign-in",
        /// Do not reconnect.
        Never = "never",
    }
}

impl ComeBack {
    /// The corresponding close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Soon => 4003,
            Self::Later => 4103,
            Self::SignIn => 4303,
            Self::Never => 4203,
        }
    }
}

/// The confirmation that the answer to a command waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Confirm {
    /// That this node has executed it.
    #[default]
    Here,
    /// That every node has.
    Everywhere,
}

impl Action {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> Name {
        match self {
            Self::Invalidate { .. } => Name::Invalidate,
            Self::Permit(_) => Name::Permit,
            Self::Unsubscribe { .. } => Name::Unsubscribe,
            Self::Disconnect(_) => Name::Disconnect,
        }
    }
}

impl Command {
    /// Whether a gateway of this version executes all of it.
    ///
    /// # Errors
    /// The unsupported part: a partially executed command would be worse than none.
    pub fn supported(&self) -> Result<(), CommandError> {
        let not_yet = |member| Err(CommandError::at(member, CommandProblem::MemberNotYet));
        match &self.action {
            Action::Disconnect(disconnect) if disconnect.issued_before.is_some() => {
                return not_yet("issued_before");
            }
            Action::Permit(_)
            | Action::Unsubscribe { .. }
            | Action::Disconnect(_)
            | Action::Invalidate { .. } => {}
        }
        // One that only counts does so on one node.
        if self.dry_run && self.confirm == Confirm::Everywhere {
            return Err(CommandError::at("confirm", CommandProblem::CountsHere));
        }
        Ok(())
    }

    /// Reads the command in `text`, the text of a JSON object that is a part of `body`; `from` has
    /// at most `rooms_max` rooms.
    ///
    /// What is wrong with it. A member that no such command has is an error, because a selector
    /// that is misspelt would otherwise make the command select more connections.
    pub(crate) fn read(body: &Bytes, text: &str, rooms_max: usize) -> Result<Self, CommandError> {
        read::command(body, text, rooms_max)
    }
}
