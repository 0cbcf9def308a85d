//! Commands of the window between two processes of a node: whom they selected.

use bytes::Bytes;
use ht_core::command::{Action, Command};
use ht_core::select::Selection;
use ht_proto::command::Selector;
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use ht_proto::trigger::TriggerLimits;
use serde_json::{Value, json};

use crate::commands::{COMMAND_BYTES, PARSED, selection};

/// The text from which [`read`] reads whom a command selected.
pub(crate) fn write(selection: &Selection) -> Vec<u8> {
    let Selection {
        users,
        sessions,
        connections,
        labels,
        rooms,
        everyone,
        ..
    } = selection;
    let mut text = json!({ "command": "invalidate" });
    if *everyone {
        text["everyone"] = true.into();
    }
    if let Some(user) = users.first() {
        text["user"] = (**user).into();
    }
    if let Some(session) = sessions.first() {
        text["session"] = (**session).into();
    }
    if let Some(connection) = connections.first() {
        text["connection"] = connection.to_string().into();
    }
    if !labels.is_empty() {
        text["label"] = labels.iter().map(|label| Value::from(&**label)).collect();
    }
    let room = rooms
        .first()
        .map(|room| serde_json::from_str(&room.to_json()));
    if let Some(Ok(room)) = room {
        text["room"] = room;
    }
    text.to_string().into_bytes()
}

/// A command of another process of the node, of which only matters whom it selected. One that is not
/// understood selected everyone.
pub(crate) fn read(position: u64, tenant: TenantId, text: &Bytes) -> Command {
    let limits = TriggerLimits {
        bytes: usize::MAX,
        triggers: 1,
        rooms: 1,
    };
    let selector = match Record::parse(text, &limits) {
        Ok(Record::Command(command)) => command.selector,
        Ok(Record::Trigger(_)) | Err(_) => Selector::Everyone,
    };
    Command {
        position,
        selection: selection(selector, tenant),
        action: Action::Count,
        bytes: COMMAND_BYTES + PARSED * text.len(),
    }
}

#[cfg(test)]
mod tests {
    use ht_proto::command::Criteria;
    use ht_proto::room::{Room, RoomLimits};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_selection_is_read_as_it_was_written() {
        let acme = TenantId::new(1);
        let those = |criteria| selection(Selector::Those(Box::new(criteria)), acme);
        let room = |text| Room::parse(text, RoomLimits::TRUSTED).ok();
        for selection in [
            selection(Selector::Everyone, acme),
            those(Criteria {
                user: Some("7".into()),
                ..Criteria::default()
            }),
            those(Criteria {
                user: Some("\"ü\"".into()),
                session: Some("s".into()),
                connection: Some(Uuid::from_u128(7)),
                labels: ["a".into(), "b".into()].into(),
                room: room(r#"{"a":"*","b":[1,{"c":null}]}"#),
            }),
        ] {
            let read = read(9, acme, &write(&selection).into());
            assert_eq!((read.position, read.selection), (9, selection));
        }
    }

    #[test]
    fn what_is_not_understood_selected_everyone() {
        for text in [
            "",
            "{}",
            r#"{"command":"invalidate"}"#,
            r#"{"rooms":[],"data":1}"#,
        ] {
            let Selection {
                everyone, tenant, ..
            } = read(1, TenantId::new(1), &text.into()).selection;
            assert!(everyone && tenant == TenantId::new(1), "{text}");
        }
    }
}
