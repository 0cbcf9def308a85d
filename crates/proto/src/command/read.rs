//! The strict reader of commands.

use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::command::{
    Action, ComeBack, Command, CommandError, CommandProblem, Confirm, Criteria, Disconnect, Name,
    Permit, REASON, REASON_BYTES_MAX, SELECTOR_VALUES_MAX, Selector, WITHIN_MS_MAX,
};
use crate::grant::GrantList;
use crate::id::id;
use crate::object::all_members;
use crate::room::{Room, RoomLimits};
use crate::tenant::TenantName;
use crate::who::{self, LABEL_BYTES_MAX, WhoError};

/// Every member that a command may have.
const MEMBERS: [&str; 22] = [
    "command",
    "user",
    "session",
    "connection",
    "label",
    "room",
    "everyone",
    "from",
    "allowed_rooms",
    "labels",
    "view",
    "expires_in",
    "come_back",
    "reason",
    "issued_before",
    "within",
    "confirm",
    "dry_run",
    "id",
    "tenant",
    "rooms",
    "data",
];

/// The last time that may be given: every JSON reader has whole numbers up to it.
const SECONDS_MAX: u64 = (1 << 53) - 1;

/// Longest name of a member that is quoted in an error, in bytes.
const NAME_SHOWN: usize = 64;

pub(super) fn command(body: &Bytes, text: &str, rooms_max: usize) -> Result<Command, CommandError> {
    let mut members = Members::of(text)?;
    let name = members.required("command", CommandProblem::Name, name)?;
    let selector = selector(&mut members)?;
    let action = match name {
        Name::Invalidate => Action::Invalidate {
            within_ms: members.optional("within", within)?.unwrap_or(0),
        },
        Name::Permit => Action::Permit(Box::new(permit(&mut members, &selector)?)),
        Name::Unsubscribe => Action::Unsubscribe {
            from: from(&mut members, rooms_max)?,
        },
        Name::Disconnect => Action::Disconnect(disconnect(&mut members)?),
    };
    let confirm = members.optional("confirm", confirm)?.unwrap_or_default();
    let dry_run = members.optional("dry_run", flag)?.unwrap_or(false);
    let id = members.optional("id", |json| id(json).ok_or(CommandProblem::Id))?;
    let tenant = members.optional("tenant", |json| Ok(TenantName::of_json(json)))?;
    let rooms = members.optional("rooms", |json| nothing(json, CommandProblem::Rooms))?;
    let data = members.optional("data", |json| match json {
        "null" => Ok(()),
        _ => Err(CommandProblem::Data),
    })?;
    if let Some((member, _)) = members.0.first() {
        return Err(CommandError::at(*member, CommandProblem::Misplaced(name)));
    }
    Ok(Command {
        text: for_nobody(body, text, rooms.is_some(), data.is_some()),
        id: id.flatten(),
        tenant,
        selector,
        action,
        confirm,
        dry_run,
    })
}

/// The members that were not read yet.
struct Members<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Result<Self, CommandError> {
        let all =
            all_members(text).map_err(|error| CommandProblem::NotAnObject(error.to_string()))?;
        let mut members = Vec::with_capacity(all.len().min(MEMBERS.len()));
        for (name, value) in all {
            let Some(known) = MEMBERS.into_iter().find(|known| *known == name) else {
                let shown = &name[..name.floor_char_boundary(NAME_SHOWN)];
                return Err(CommandError::at(shown, CommandProblem::Unknown));
            };
            if members.iter().any(|(other, _)| *other == known) {
                return Err(CommandError::at(known, CommandProblem::Repeated));
            }
            members.push((known, value));
        }
        Ok(Self(members))
    }

    /// Takes the value of a member, if it is present, parsed by `read`.
    fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, CommandProblem>,
    ) -> Result<Option<T>, CommandError> {
        let Some(index) = self.0.iter().position(|(member, _)| *member == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(index);
        read(value)
            .map(Some)
            .map_err(|error| CommandError::at(name, error))
    }

    /// The same of a required member.
    fn required<T>(
        &mut self,
        name: &'static str,
        missing: CommandProblem,
        read: impl FnOnce(&'a str) -> Result<T, CommandProblem>,
    ) -> Result<T, CommandError> {
        self.optional(name, read)?
            .ok_or_else(|| CommandError::at(name, missing))
    }
}

fn selector(members: &mut Members<'_>) -> Result<Selector, CommandError> {
    let everyone = members.optional("everyone", |json| match json {
        "true" => Ok(()),
        _ => Err(CommandProblem::NotEveryone),
    })?;
    let criteria = Criteria {
        user: members.optional("user", user)?,
        session: members.optional("session", session)?,
        connection: members.optional("connection", connection)?,
        labels: members.optional("label", labels)?.unwrap_or_default(),
        room: members.optional("room", room)?,
    };
    match (everyone, criteria == Criteria::default()) {
        (Some(()), true) => Ok(Selector::Everyone),
        (Some(()), false) => Err(CommandError::at(
            "everyone",
            CommandProblem::EveryoneAndOthers,
        )),
        (None, true) => Err(CommandProblem::NoSelector.into()),
        (None, false) => Ok(Selector::Those(Box::new(criteria))),
    }
}

fn permit(members: &mut Members<'_>, selector: &Selector) -> Result<Permit, CommandError> {
    let is_many = match selector {
        Selector::Everyone => Some("everyone"),
        Selector::Those(those) if !those.labels.is_empty() => Some("label"),
        Selector::Those(those) if those.room.is_some() => Some("room"),
        Selector::Those(_) => None,
    };
    if let Some(member) = is_many {
        return Err(CommandError::at(member, CommandProblem::PermitsMany));
    }
    let allowed_rooms =
        members.required("allowed_rooms", CommandProblem::AllowedRooms, |json| {
            let list = GrantList::parse(json).map_err(|_| CommandProblem::AllowedRooms)?;
            match list.unusable {
                Some(unusable) => Err(unusable.problem.into()),
                None => Ok(list),
            }
        })?;
    Ok(Permit {
        allowed_rooms,
        labels: members
            .optional("labels", who(who::labels))?
            .unwrap_or_default(),
        view: members.optional("view", who(who::view))?.flatten(),
        expires_in: members
            .optional("expires_in", who(who::expires_in))?
            .flatten(),
    })
}

/// An error of the bootstrap response reader as one of commands.
fn who<'a, T>(
    read: impl FnOnce(&'a str) -> Result<T, WhoError>,
) -> impl FnOnce(&'a str) -> Result<T, CommandProblem> {
    |json| read(json).map_err(CommandProblem::Who)
}

fn from(members: &mut Members<'_>, rooms_max: usize) -> Result<Vec<Room>, CommandError> {
    let items = members.required("from", CommandProblem::From, |json| {
        serde_json::from_str::<Vec<&RawValue>>(json).map_err(|_| CommandProblem::From)
    })?;
    match items.len() {
        0 => return Err(CommandError::at("from", CommandProblem::From)),
        many if many > rooms_max => {
            return Err(CommandError::at(
                "from",
                CommandProblem::TooManyRooms(rooms_max),
            ));
        }
        _ => {}
    }
    let rooms = items.into_iter().enumerate().map(|(index, item)| {
        room(item.get()).map_err(|error| CommandError::at(format!("from[{index}]"), error))
    });
    rooms.collect()
}

fn disconnect(members: &mut Members<'_>) -> Result<Disconnect, CommandError> {
    let come_back = members.optional("come_back", |json| {
        let word = text(json).ok_or(CommandProblem::ComeBack)?;
        let found = ComeBack::ALL.into_iter().find(|one| one.as_str() == &*word);
        found.ok_or(CommandProblem::ComeBack)
    })?;
    let issued_before = members.optional("issued_before", |json| {
        let seconds = serde_json::from_str(json).ok();
        let seconds = seconds.filter(|seconds| *seconds <= SECONDS_MAX);
        seconds.ok_or(CommandProblem::IssuedBefore)
    })?;
    Ok(Disconnect {
        come_back: come_back.unwrap_or(ComeBack::SignIn),
        reason: members
            .optional("reason", reason)?
            .unwrap_or_else(|| REASON.into()),
        issued_before,
    })
}

fn name(json: &str) -> Result<Name, CommandProblem> {
    let word = text(json).ok_or(CommandProblem::Name)?;
    let found = Name::ALL.into_iter().find(|name| name.as_str() == &*word);
    found.ok_or(CommandProblem::Name)
}

fn user(json: &str) -> Result<Box<str>, CommandProblem> {
    let user = who::user(json).filter(|user| !user.is_empty());
    user.ok_or(CommandProblem::User)
}

fn session(json: &str) -> Result<Box<str>, CommandProblem> {
    who::session(json)
        .ok()
        .flatten()
        .ok_or(CommandProblem::Session)
}

fn connection(json: &str) -> Result<Uuid, CommandProblem> {
    let id = text(json).ok_or(CommandProblem::Connection)?;
    Uuid::try_parse(&id).map_err(|_| CommandProblem::Connection)
}

/// One label, or several of which any matches.
fn labels(json: &str) -> Result<Box<[Box<str>]>, CommandProblem> {
    let labels = match text(json) {
        Some(label) => Some(vec![label]),
        None => serde_json::from_str::<Vec<Box<str>>>(json).ok(),
    };
    let mut labels = labels.ok_or(CommandProblem::Label)?;
    if labels.len() > SELECTOR_VALUES_MAX {
        return Err(CommandProblem::TooManyValues);
    }
    let mut lengths = labels.iter().map(|label| label.len());
    if labels.is_empty() || !lengths.all(|bytes| (1..=LABEL_BYTES_MAX).contains(&bytes)) {
        return Err(CommandProblem::Label);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels.into())
}

fn room(json: &str) -> Result<Room, CommandProblem> {
    Ok(Room::parse(json, RoomLimits::TRUSTED)?)
}

fn within(json: &str) -> Result<u32, CommandProblem> {
    let span = serde_json::from_str(json).ok();
    let span = span.filter(|span| *span <= WITHIN_MS_MAX);
    span.ok_or(CommandProblem::Within)
}

fn reason(json: &str) -> Result<Box<str>, CommandProblem> {
    let word = text(json).ok_or(CommandProblem::Reason)?;
    let is_word = word
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let fits = (1..=REASON_BYTES_MAX).contains(&word.len());
    (is_word && fits)
        .then_some(word)
        .ok_or(CommandProblem::Reason)
}

fn confirm(json: &str) -> Result<Confirm, CommandProblem> {
    match text(json).as_deref() {
        Some("everywhere") => Ok(Confirm::Everywhere),
        _ => Err(CommandProblem::Confirm),
    }
}

fn flag(json: &str) -> Result<bool, CommandProblem> {
    serde_json::from_str(json).map_err(|_| CommandProblem::DryRun)
}

/// A list without an element.
fn nothing(json: &str, error: CommandProblem) -> Result<(), CommandProblem> {
    match serde_json::from_str::<Vec<&RawValue>>(json) {
        Ok(items) if items.is_empty() => Ok(()),
        _ => Err(error),
    }
}

/// The content of a JSON string.
fn text(json: &str) -> Option<Box<str>> {
    serde_json::from_str(json).ok()
}

/// The text of a command as one of a trigger without rooms.
fn for_nobody(body: &Bytes, text: &str, has_rooms: bool, has_data: bool) -> Bytes {
    let text = text.trim_ascii();
    let members = match (has_rooms, has_data) {
        (true, true) => return body.slice_ref(text.as_bytes()),
        (true, false) => r#", "data": null}"#,
        (false, true) => r#", "rooms": []}"#,
        (false, false) => r#", "rooms": [], "data": null}"#,
    };
    let object = text.strip_suffix('}').unwrap_or(text).trim_ascii_end();
    [object, members].concat().into()
}
