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
        let [rooms, data, id, tenant] = MEMBERS;
        let names = [rooms, data, id, tenant, "command"];
        let [rooms, data, id, tenant, command] = members_of(text, &names)?;
        if command.is_none() {
            return Trigger::of(body, text, [rooms, data, id, tenant], limits).map(Self::Trigger);
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

    /// Puts the member `tenant` into its text, before all others, unless it has one.
    pub fn name_tenant(&mut self, name: &TenantName) {
        if self.tenant().is_some() {
            return;
        }
        let (text, tenant) = match self {
            Self::Trigger(trigger) => (&mut trigger.text, &mut trigger.tenant),
            Self::Command(command) => (&mut command.text, &mut command.tenant),
        };
        // Every record is an object with members.
        let object = text.trim_ascii_start();
        let members = object.strip_prefix(b"{").unwrap_or(object);
        *text = [format!(r#"{{"tenant":"{name}","#).as_bytes(), members]
            .concat()
            .into();
        *tenant = Some(Ok(name.clone()));
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
    fn the_tenant_is_put_in_front_and_read_again() {
        let acme: TenantName = "acme".parse().unwrap();
        for (text, expected) in [
            (TRIGGER, r#"{"tenant":"acme","rooms":[{"a":1}],"data":1}"#),
            (
                " {\n\"rooms\": [], \"data\": 1} ",
                "{\"tenant\":\"acme\",\n\"rooms\": [], \"data\": 1} ",
            ),
            (
                COMMAND,
                r#"{"tenant":"acme","command":"invalidate","user":7,"rooms":[],"data":null}"#,
            ),
            (
                r#"{"rooms":[],"data":1,"tenant":"other"}"#,
                r#"{"rooms":[],"data":1,"tenant":"other"}"#,
            ),
        ] {
            let Ok(Request::One(mut record)) = records(text) else {
                panic!("{text}");
            };
            record.name_tenant(&acme);
            assert_eq!(record.text(), expected);
            let again = Record::parse(record.text(), &LIMITS).unwrap();
            assert_eq!(again.tenant(), record.tenant(), "{text}");
            let name = again.tenant().as_ref().unwrap().as_ref().unwrap().as_str();
            assert_eq!(
                name,
                if expected.contains("other") {
                    "other"
                } else {
                    "acme"
                }
            );
        }
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
