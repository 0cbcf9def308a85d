//! Errors in a command, as sentences that explain what to correct.

use crate::command::{Name, REASON_BYTES_MAX, SELECTOR_VALUES_MAX, WITHIN_MS_MAX};
use crate::id::ID_BYTES_MAX;
use crate::room::RoomError;
use crate::who::{LABEL_BYTES_MAX, SESSION_BYTES_MAX, WhoError};

/// What is wrong with a command, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// The member that is wrong, such as `from[2]`; none when the whole is.
    pub member: Option<String>,
    /// What is wrong with it.
    pub problem: CommandProblem,
}

impl CommandError {
    pub(super) fn at(member: impl Into<String>, problem: CommandProblem) -> Self {
        Self {
            member: Some(member.into()),
            problem,
        }
    }
}

impl From<CommandProblem> for CommandError {
    fn from(problem: CommandProblem) -> Self {
        Self {
            member: None,
            problem,
        }
    }
}

/// Errors in a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandProblem {
    /// Not the JSON text of an object; holds the parser's message.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// Not the name of a command.
    #[error("there is no such command: use invalidate, permit, unsubscribe or disconnect")]
    Name,
    /// A member that this version does not support.
    #[error("this version does not know this member: leave it out")]
    MemberNotYet,
    /// `confirm` of a dry run.
    #[error("a dry run counts at this node alone: leave it out")]
    CountsHere,
    /// A member that no command has.
    #[error("no command has this member: correct its name, or leave it out")]
    Unknown,
    /// A member that this command does not have.
    #[error("{} has no such member: leave it out", .0.as_str())]
    Misplaced(Name),
    /// A member that is given several times.
    #[error("given more than once: give it once")]
    Repeated,
    /// No selector.
    #[error(
        "no connection is selected: give user, session, connection, label or room, or everyone: true"
    )]
    NoSelector,
    /// `everyone` is not `true`.
    #[error("must be true, or be left out")]
    NotEveryone,
    /// `everyone` and another selector.
    #[error("selects all connections: leave the other selectors out")]
    EveryoneAndOthers,
    /// `user` is not an id.
    #[error("must be a text or a number, and not empty")]
    User,
    /// `session` is not a name of a sign-in.
    #[error("must be a text of 1 to {SESSION_BYTES_MAX} bytes")]
    Session,
    /// `connection` is not an id of a connection.
    #[error("must be the id of a connection, such as 67e55044-10b1-426f-9247-bb680e5fe0c8")]
    Connection,
    /// `label` holds no labels.
    #[error("must be a text of 1 to {LABEL_BYTES_MAX} bytes, or a list of such texts, not empty")]
    Label,
    /// The selector has too many values.
    #[error("more than {SELECTOR_VALUES_MAX} values: send several commands")]
    TooManyValues,
    /// `permit` for many.
    #[error("permit takes the selectors user, session and connection only: send one for each user")]
    PermitsMany,
    /// A room is not a room, or a grant permits nothing.
    #[error("{0}")]
    Room(#[from] RoomError),
    /// `from` names no room.
    #[error("must be a list of at least one room")]
    From,
    /// `from` names more rooms than allowed.
    #[error("more than {0} rooms (limits.rooms_per_trigger): send several commands")]
    TooManyRooms(usize),
    /// `allowed_rooms` is missing or not a list of objects.
    #[error("must be the whole list of rooms, as in a bootstrap response")]
    AllowedRooms,
    /// A member of a bootstrap response is wrong.
    #[error("{0}")]
    Who(#[from] WhoError),
    /// `within` is not a span.
    #[error("must be a whole number of milliseconds, at most {WITHIN_MS_MAX}")]
    Within,
    /// `come_back` is not a known word.
    #[error("must be soon, later, sign-in or never")]
    ComeBack,
    /// `reason` is not a word.
    #[error("must be a word of 1 to {REASON_BYTES_MAX} letters, a to z, and hyphens")]
    Reason,
    /// `issued_before` is not a time.
    #[error("must be a whole number of seconds since 1970")]
    IssuedBefore,
    /// `confirm` is not a known word.
    #[error("must be everywhere, or be left out")]
    Confirm,
    /// `dry_run` is neither true nor false.
    #[error("must be true or false")]
    DryRun,
    /// `id` is not a short string or number.
    #[error("must be a text or a number of at most {ID_BYTES_MAX} bytes")]
    Id,
    /// `rooms` of a command that are not empty.
    #[error("must be [] in a command, or be left out: send the trigger as another element")]
    Rooms,
    /// `data` of a command.
    #[error("must be null in a command, or be left out: send the trigger as another element")]
    Data,
}
