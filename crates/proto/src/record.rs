//! Records: triggers and commands that the API sends to the log, in one order.

use bytes::Bytes;

use crate::command::{Command, Confirm};
use crate::tenant::{TenantMember, TenantName};
use crate::trigger::{
    MEMBERS, Problem, Request, Trigger, TriggerError, TriggerLimits, members_of, text_of,
};

/// One element of a request, or one message of a broker.
#[derive(Clone, Debug)]
pub enum Record {
    /// An object without the member `command`.
    Trigger(Trigger),
    /// An object with it.
    Command(Command),
}

impl From<Trigger> for Record {
    fn from(trigger: Trigger) -> Self {
        Self::Trigger(trigger)
    }
}

impl Record {
    /// Reads a broker's message: one record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        Self::read(body, text_of(body, limits)?, limits)
    }

    /// Reads the record in `text`, a part of `body`.
    fn read(body: &Bytes, text: &str, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        let [rooms, data, id, tenant, tenant_rooms] = MEMBERS;
        let names = [rooms, data, id, tenant, tenant_rooms, "command"];
        let [rooms, data, id, tenant, tenant_rooms, command] = members_of(text, &names)?;
        if command.is_none() {
            let found = [rooms, data, id, tenant, tenant_rooms];
            return Trigger::of(body, text, found, limits).map(Self::Trigger);
        }
        let command = Command::read(body, text, limits.rooms)?;
        if command.text.len() > limits.bytes {
            return Err(Problem::TooLong(limits.bytes).into());
        }
        Ok(Self::Command(command))
    }

    /// The confirmation that its sender waits for.
    #[must_use]
    pub fn confirm(&self) -> Confirm {
        match self {
            Self::Trigger(_) => Confirm::Here,
            Self::Command(command) => command.confirm,
        }
    }

    /// Its member `tenant`.
    #[must_use]
    pub fn tenant(&self) -> &TenantMember {
        match self {
            Self::Trigger(trigger) => &trigger.tenant,
            Self::Command(command) => &command.tenant,
        }
    }

    /// Whether only nodes with tenants find out what it is about. A trigger may have a member
    /// `tenant` that means nothing, beside the `rooms` of `main`.
    #[must_use]
    pub fn is_scoped(&self) -> bool {
        match self {
            Self::Trigger(trigger) => trigger.is_scoped,
            Self::Command(command) => command.tenant.is_some(),
        }
    }

    /// The tenant other than `main` that it is of, once it has the form that it has in the log.
    #[must_use]
    pub fn scope(&self) -> Option<&TenantName> {
        let name = self.tenant().as_ref()?.as_ref().ok()?;
        (self.is_scoped() && !name.is_main()).then_some(name)
    }

    /// Gives it the form that a record of this tenant has in the log: its text names the tenant, and
    /// a trigger has its rooms in `tenant_rooms`.
    pub fn name_tenant(&mut self, name: &TenantName) {
        match self {
            Self::Trigger(trigger) => trigger.scope(name),
            Self::Command(command) if command.tenant.is_none() => {
                // Every record is an object with members.
                let object = command.text.trim_ascii_start();
                let members = object.strip_prefix(b"{").unwrap_or(object);
                command.text = [format!(r#"{{"tenant":"{name}","#).as_bytes(), members]
                    .concat()
                    .into();
                command.tenant = Some(Ok(name.clone()));
            }
            Self::Command(_) => {}
        }
    }

    /// Its JSON text, as it is in the log.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        match self {
            Self::Trigger(trigger) => &trigger.text,
            Self::Command(command) => &command.text,
        }
    }
}

impl Request<Record> {
    /// Reads the body of a request: a trigger, a command, or an array of them in their order.
    ///
    /// # Errors
    /// What is wrong with the first record that is wrong; none of the others may be executed.
    pub fn of_records(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        Self::read(body, limits, |text| Record::read(body, text, limits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TriggerLimits = TriggerLimits {
        bytes: 300,
        triggers: 3,
        rooms: 2,
    };

    fn records(text: &str) -> Result<Request<Record>, TriggerError> {
        Request::of_records(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
    }

    const TRIGGER: &str = r#"{"rooms":[{"a":1}],"data":1}"#;

    const COMMAND: &str = r#"{"command":"invalidate","user":7,"rooms":[],"data":null}"#;

    #[test]
    fn triggers_and_commands_keep_their_order() {
        let Ok(Request::Many(many)) = records(&format!("[{COMMAND}, {TRIGGER}, {COMMAND}]")) else {
            panic!("an array of records");
        };
        assert!(matches!(
            many[..],
            [Record::Command(_), Record::Trigger(_), Record::Command(_)]
        ));
        let texts = [COMMAND, TRIGGER, COMMAND];
        assert!(many.iter().map(Record::text).eq(texts));
        let one = records(&format!(" {COMMAND} "));
        assert!(matches!(one, Ok(Request::One(Record::Command(_)))));
        assert!(matches!(
            records(TRIGGER),
            Ok(Request::One(Record::Trigger(_)))
        ));
        assert!(matches!(records("[]"), Ok(Request::Many(many)) if many.is_empty()));
    }

    #[test]
    fn the_form_in_the_log_names_the_tenant_and_hides_its_rooms() {
        let acme: TenantName = "acme".parse().unwrap();
        let moved = r#"{"tenant":"acme","tenant_rooms":[{"a":1}],"rooms":[],"data":1}"#;
        for (text, expected) in [
            (TRIGGER, moved),
            (
                " {\n\"rooms\": [], \"data\": [ 1 ], \"id\": 7} ",
                r#"{"tenant":"acme","tenant_rooms":[],"rooms":[],"data":[ 1 ],"id":7}"#,
            ),
            // Whatever else it has: of equal members the last counts, however they are spelled.
            (
                r#"{"rooms":[{"b":2}],"\u0072ooms":[{"a":1}],"more":2,"data":1,"id":null}"#,
                moved,
            ),
            (r#"{"rooms":[{"a":1}],"data":1,"tenant":"acme"}"#, moved),
            (
                r#"{"rooms":[{"a":1}],"tenant_rooms":[{"b":2}],"data":1}"#,
                moved,
            ),
            (moved, moved),
            (
                COMMAND,
                r#"{"tenant":"acme","command":"invalidate","user":7,"rooms":[],"data":null}"#,
            ),
        ] {
            let Ok(Request::One(mut record)) = records(text) else {
                panic!("{text}");
            };
            record.name_tenant(&acme);
            assert_eq!(record.text(), expected);
            assert_eq!(record.scope(), Some(&acme));
            let again = Record::parse(record.text(), &LIMITS).unwrap();
            assert_eq!(again.scope(), Some(&acme), "{text}");
            if let (Record::Trigger(trigger), Record::Trigger(again)) = (record, again) {
                assert_eq!(again.rooms, trigger.rooms, "{text}");
                assert_eq!(again.data, trigger.data, "{text}");
                assert_eq!(again.id, trigger.id, "{text}");
            }
        }
    }

    #[test]
    fn whoever_knows_no_tenants_finds_no_rooms_in_the_form_in_the_log() {
        let Ok(Request::One(mut record)) = records(TRIGGER) else {
            panic!("a trigger");
        };
        record.name_tenant(&"acme".parse().unwrap());
        let json: serde_json::Value = serde_json::from_slice(record.text()).unwrap();
        // As a trigger of Python 3.1: both members, and nothing to deliver.
        assert_eq!(json["rooms"], serde_json::json!([]));
        assert_eq!(json["data"], 1);
    }

    #[test]
    fn rooms_of_a_tenant_need_a_tenant() {
        let text = r#"{"rooms":[{"a":1}],"tenant_rooms":7,"data":1}"#;
        let Ok(Request::One(Record::Trigger(trigger))) = records(text) else {
            panic!("a trigger of main");
        };
        assert!(!trigger.is_scoped && trigger.rooms.len() == 1);
        let text = r#"{"tenant":"a","rooms":[{"a":1}],"tenant_rooms":[1],"data":1}"#;
        assert_eq!(
            records(text).unwrap_err().to_string(),
            "tenant_rooms[0]: a room is a JSON object"
        );
    }

    #[test]
    fn whatever_the_tenant_is_the_record_is_read() {
        for (json, is_valid) in [
            (r#""a""#, true),
            ("7", false),
            (r#""A""#, false),
            ("{}", false),
        ] {
            for text in [
                format!(r#"{{"rooms":[],"data":1,"tenant":{json}}}"#),
                format!(r#"{{"command":"invalidate","user":7,"tenant":{json}}}"#),
            ] {
                let Ok(Request::One(record)) = records(&text) else {
                    panic!("{text}");
                };
                let tenant = record.tenant().as_ref();
                assert_eq!(tenant.map(Result::is_ok), Some(is_valid), "{text}");
            }
        }
    }

    #[test]
    fn mistake_is_reported_with_its_index() {
        let bad_trigger = r#"{"rooms":[1],"data":1}"#;
        let bad_command = r#"{"command":"invalidate","usr":7}"#;
        for (text, message) in [
            (
                format!("[{COMMAND},{bad_trigger},{bad_command}]"),
                "trigger 1: rooms[0]: a room is a JSON object",
            ),
            (
                format!("[{TRIGGER},{bad_command},{bad_trigger}]"),
                "command 1: usr: no command has this member: correct its name, or leave it out",
            ),
            (
                format!("[{TRIGGER},{}]", r#"{"command":"disconnect"}"#),
                "command 1: no connection is selected: give user, session, connection, label or \
                 room, or everyone: true",
            ),
            (
                r#"{"command":null,"user":7,"rooms":[],"data":null}"#.to_owned(),
                "command: there is no such command: use invalidate, permit, unsubscribe or disconnect",
            ),
            (
                format!("[{COMMAND},1]"),
                "trigger 1: a trigger is a JSON object with the members rooms and data",
            ),
            (
                format!("[{COMMAND},{COMMAND},{COMMAND},{COMMAND}]"),
                "more than 3 triggers in one request (limits.triggers_per_request)",
            ),
        ] {
            assert_eq!(records(&text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn the_form_on_a_broker_is_within_the_limit_too() {
        let command = |labels: usize| {
            let label = "x".repeat(labels);
            format!(r#"{{"command":"invalidate","label":["{label}","{label}"]}}"#)
        };
        let Ok(Request::One(record)) = records(&command(115)) else {
            panic!("fits");
        };
        assert!(record.text().len() <= LIMITS.bytes);
        let error = records(&command(120)).unwrap_err();
        assert!(command(120).len() < LIMITS.bytes);
        assert_eq!(error.problem, Problem::TooLong(LIMITS.bytes));
    }

    proptest! {
        #[test]
        fn a_record_without_command_is_read_as_a_trigger_is(
            text in r#"\{"(rooms|data|id)":(\[\]|\[\{\}\]|1|null|"x")(,"(rooms|data|id)":(\[\{"a":1\}\]|null|7)){0,2}\}"#
        ) {
            let body = Bytes::from(text);
            let trigger = Trigger::parse(&body, &LIMITS);
            match Record::parse(&body, &LIMITS) {
                Ok(Record::Trigger(record)) => {
                    let trigger = trigger.expect("read as well");
                    prop_assert_eq!(record.rooms, trigger.rooms);
                    prop_assert_eq!(record.data, trigger.data);
                    prop_assert_eq!(record.id, trigger.id);
                    prop_assert_eq!(record.text, trigger.text);
                }
                Ok(Record::Command(command)) => panic!("{command:?}"),
                Err(error) => prop_assert_eq!(error, trigger.expect_err("wrong as well")),
            }
        }
    }
}
