//! Triggers: what the API sends when it has news.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::command::{CommandError, CommandProblem};
use crate::id;
pub use crate::id::ID_BYTES_MAX as TRIGGER_ID_BYTES_MAX;
use crate::mark::without_mark;
use crate::object::{Members, members};
use crate::room::{Room, RoomLimits};
use crate::tenant::{TenantMember, TenantName, TenantNameError};

/// One trigger of the API: rooms and data.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The trigger's own JSON text, as it was sent.
    pub text: Bytes,
    /// The rooms, in the API's order, without repetitions.
    pub rooms: Vec<Room>,
    /// The JSON text of `data`, as it was sent.
    pub data: Bytes,
    /// Makes repeating idempotent: a string as its content, a number as its text.
    pub id: Option<Box<str>>,
    /// Whose it is.
    pub tenant: TenantMember,
    /// Its rooms are in the member `tenant_rooms`, where nobody finds them who knows no tenants.
    pub is_scoped: bool,
}

/// Bounds for what the API sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerLimits {
    /// Longest request or message, in bytes.
    pub bytes: usize,
    /// Triggers in one request.
    pub triggers: usize,
    /// Rooms in one trigger.
    pub rooms: usize,
}

/// The members of a trigger that are read.
pub(crate) const MEMBERS: [&str; 5] = ["rooms", "data", "id", "tenant", TENANT_ROOMS];

/// The rooms of a tenant's trigger in the log, beside empty `rooms`: whoever knows no tenants, such as
/// a node without them or of an earlier version, takes it for a trigger without rooms.
pub(crate) const TENANT_ROOMS: &str = "tenant_rooms";

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerError {
    /// The index of the trigger in the request, where there is an array of them.
    pub trigger: Option<usize>,
    /// The member that is wrong, such as `rooms[2]`; none when the whole is.
    pub member: Option<String>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Errors in a trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Longer than allowed.
    #[error("longer than {0} bytes (limits.trigger_bytes)")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// UTF-16 or UTF-32, by its byte order mark.
    #[error("it is UTF-16 or UTF-32: send UTF-8")]
    OtherUnicode,
    /// Not JSON; holds the parser's message.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// Neither an object nor, where that is allowed, an array of objects.
    #[error("a trigger is a JSON object with the members rooms and data")]
    NotAnObject,
    /// More triggers than allowed.
    #[error("more than {0} triggers in one request (limits.triggers_per_request)")]
    TooManyTriggers(usize),
    /// `rooms` is missing.
    #[error("rooms not specified")]
    NoRooms,
    /// `data` is missing.
    #[error("data not specified")]
    NoData,
    /// `rooms` is not a list.
    #[error("rooms must be a list of JSON objects")]
    RoomsNotAList,
    /// More rooms than allowed.
    #[error("more than {0} rooms in one trigger (limits.rooms_per_trigger)")]
    TooManyRooms(usize),
    /// A room is not a room.
    #[error("{0}")]
    Room(#[from] crate::room::RoomError),
    /// `id` is not a short string or number.
    #[error("id must be a string or a number of at most {TRIGGER_ID_BYTES_MAX} bytes")]
    Id,
    /// `tenant` is not the name of a tenant.
    #[error("{0}")]
    Tenant(#[from] TenantNameError),
    /// `tenant` names one that is not here.
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantName),
    /// It is of a tenant, and there are none.
    #[error("this gateway has no tenants: leave it out")]
    NoTenants,
    /// A trigger in the log names a tenant, and its rooms are where those of `main` are.
    #[error("the rooms of a tenant's trigger are in `tenant_rooms`, and `rooms` is empty")]
    PlainRooms,
    /// More tenants were named than a process can number.
    #[error("too many tenants were named since this node started: restart it")]
    TooManyTenants,
    /// It is a command, and an invalid one.
    #[error("{0}")]
    Command(CommandProblem),
}

impl std::error::Error for TriggerError {}

impl fmt::Display for TriggerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.trigger {
            let is_command = matches!(self.problem, Problem::Command(_));
            let what = if is_command { "command" } else { "trigger" };
            write!(f, "{what} {index}: ")?;
        }
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl From<Problem> for TriggerError {
    fn from(problem: Problem) -> Self {
        Self {
            trigger: None,
            member: None,
            problem,
        }
    }
}

impl From<CommandError> for TriggerError {
    fn from(error: CommandError) -> Self {
        Self {
            trigger: None,
            member: error.member,
            problem: Problem::Command(error.problem),
        }
    }
}

/// The triggers of one request.
#[derive(Clone, Debug)]
pub enum Request<T = Trigger> {
    /// A single object.
    One(T),
    /// An array of objects.
    Many(Vec<T>),
}

impl Request {
    /// Reads the body of a request: a trigger or an array of them.
    ///
    /// # Errors
    /// What is wrong with the first trigger that is wrong; none of the others may be executed.
    pub fn parse(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        Self::read(body, limits, |text| Trigger::read(body, text, limits))
    }
}

impl<T> Request<T> {
    /// Reads a body with one object or an array of them, each of them by `read`.
    pub(crate) fn read(
        body: &Bytes,
        limits: &TriggerLimits,
        read: impl Fn(&str) -> Result<T, TriggerError>,
    ) -> Result<Self, TriggerError> {
        let text = text_of(body, limits)?;
        let first = text.trim_ascii_start().as_bytes().first();
        if first != Some(&b'[') {
            return read(text).map(Self::One);
        }
        let texts: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string()))?;
        if texts.len() > limits.triggers {
            return Err(Problem::TooManyTriggers(limits.triggers).into());
        }
        let triggers = texts.iter().enumerate().map(|(index, text)| {
            read(text.get()).map_err(|error| TriggerError {
                trigger: Some(index),
                ..error
            })
        });
        triggers.collect::<Result<_, _>>().map(Self::Many)
    }
}

impl Trigger {
    /// Reads a broker's message: one trigger.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        Self::read(body, text_of(body, limits)?, limits)
    }

    /// Reads the trigger in `text`, a part of `body`.
    fn read(body: &Bytes, text: &str, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        let found = members_of(text, &MEMBERS)?;
        Self::of(body, text, found, limits)
    }

    /// The trigger whose [`MEMBERS`] were found in `text`.
    pub(crate) fn of(
        body: &Bytes,
        text: &str,
        [rooms, data, id, tenant, tenant_rooms]: [Option<&str>; 5],
        limits: &TriggerLimits,
    ) -> Result<Self, TriggerError> {
        let tenant_rooms = tenant_rooms.filter(|_| tenant.is_some());
        let member = tenant_rooms.map_or("rooms", |_| TENANT_ROOMS);
        let rooms = tenant_rooms.or(rooms).ok_or(Problem::NoRooms);
        let rooms = rooms.map_err(within("rooms"))?;
        let data = data.ok_or(Problem::NoData).map_err(within("data"))?;
        let rooms = read_rooms(rooms, member, limits.rooms)?;
        let id = id.map_or(Some(None), id::id).ok_or(Problem::Id);
        Ok(Self {
            text: body.slice_ref(text.as_bytes()),
            rooms,
            data: own(body, data),
            id: id.map_err(within("id"))?,
            tenant: tenant.map(TenantName::of_json),
            is_scoped: tenant_rooms.is_some(),
        })
    }

    /// Moves its rooms to where only nodes with tenants look for them, and names its tenant. Members
    /// that no node reads are left out.
    pub(crate) fn scope(&mut self, name: &TenantName) {
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        // It was read before: it has both.
        let Ok([rooms, data, id, _, tenant_rooms]) = members_of(text, &MEMBERS) else {
            return;
        };
        let tenant_rooms = tenant_rooms.filter(|_| self.is_scoped);
        let (Some(rooms), Some(data)) = (tenant_rooms.or(rooms), data) else {
            return;
        };
        let id = id.filter(|_| self.id.is_some());
        let id = id.map_or(String::new(), |id| format!(r#","id":{id}"#));
        let before = format!(r#"{{"tenant":"{name}","{TENANT_ROOMS}":"#);
        let parts = [&*before, rooms, r#","rooms":[],"data":"#, data, &*id, "}"];
        self.text = parts.concat().into();
        self.tenant = Some(Ok(name.clone()));
        self.is_scoped = true;
    }
}

/// Data that is at least so long, and half of its body, shares the memory of the body.
pub const SHARED_MIN: usize = 256 << 10;

/// `data`, a part of `body`, to be kept for long: in general a copy. Otherwise few bytes could keep
/// a long body in memory, or the buffer that it was read into.
fn own(body: &Bytes, data: &str) -> Bytes {
    if data.len() >= SHARED_MIN && data.len() >= body.len() / 2 {
        body.slice_ref(data.as_bytes())
    } else {
        Bytes::copy_from_slice(data.as_bytes())
    }
}

/// The members with these names of the object in `text`.
pub(crate) fn members_of<'a, const N: usize>(
    text: &'a str,
    names: &[&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    match members(text, names) {
        Ok(Members::Object(found)) => Ok(found),
        Ok(Members::NotAnObject) => Err(Problem::NotAnObject),
        Err(error) => Err(Problem::NotJson(error.to_string())),
    }
}

/// The text of a body, checked against its limit.
pub(crate) fn text_of<'a>(body: &'a Bytes, limits: &TriggerLimits) -> Result<&'a str, Problem> {
    if body.len() > limits.bytes {
        return Err(Problem::TooLong(limits.bytes));
    }
    let text = without_mark(body).ok_or(Problem::OtherUnicode)?;
    simdutf8::basic::from_utf8(text).map_err(|_| Problem::NotUtf8)
}

/// Attributes a problem to this member. The member is spelled out only then.
fn within(member: impl fmt::Display) -> impl FnOnce(Problem) -> TriggerError {
    move |problem| TriggerError {
        trigger: None,
        member: Some(member.to_string()),
        problem,
    }
}

fn read_rooms(json: &str, member: &str, rooms_max: usize) -> Result<Vec<Room>, TriggerError> {
    let texts: Vec<&RawValue> = serde_json::from_str(json)
        .map_err(|_| Problem::RoomsNotAList)
        .map_err(within(member))?;
    if texts.len() > rooms_max {
        return Err(within(member)(Problem::TooManyRooms(rooms_max)));
    }
    let mut rooms = Vec::with_capacity(texts.len());
    let mut seen = HashSet::new();
    for (index, text) in texts.iter().enumerate() {
        let room = Room::parse(text.get(), RoomLimits::TRUSTED)
            .map_err(Problem::Room)
            .map_err(within(format_args!("{member}[{index}]")))?;
        if texts.len() == 1 || seen.insert(room.clone()) {
            rooms.push(room);
        }
    }
    // They may be kept for long.
    rooms.shrink_to_fit();
    Ok(rooms)
}

#[cfg(test)]
mod tests;
