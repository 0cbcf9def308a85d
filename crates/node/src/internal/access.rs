//! What a request may do: its API key, and the rights of that.

use ht_edge::respond;
use ht_edge::respond::Body;
use ht_proto::trigger::{Request, Trigger};
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::config::{Right, Rights};
use crate::internal::{Internal, keys};

/// Result of checking a request's API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It carries a configured key, which has these rights.
    Key(Rights),
    /// No key is configured.
    Open,
    /// It carries no key, or an unknown one.
    Unknown,
}

impl Access {
    /// Checks the request's key and counts its use.
    pub(super) fn of(internal: &Internal, headers: &HeaderMap) -> Self {
        let settings = internal.live.now();
        if settings.api_keys.is_empty() && settings.keys.is_empty() {
            return Self::Open;
        }
        match keys::used(headers, &settings.api_keys, &settings.keys) {
            Some((position, rights)) => {
                internal.counters.api_key_uses.add(position);
                Self::Key(rights)
            }
            None => Self::Unknown,
        }
    }

    /// Whether the request may do this.
    pub(super) fn may(self, right: Right) -> bool {
        match self {
            Self::Key(rights) => rights.has(right),
            Self::Open => true,
            Self::Unknown => false,
        }
    }

    /// The first trigger that the request may not send: its index, and the right that it needs.
    fn missing(self, triggers: &[Trigger]) -> Option<(usize, Right)> {
        let missing = |trigger: &Trigger| {
            let needed = needed(trigger).into_iter().flatten();
            needed.into_iter().find(|right| !self.may(*right))
        };
        let mut triggers = triggers.iter().enumerate();
        triggers.find_map(|(index, trigger)| Some((index, missing(trigger)?)))
    }
}

/// The rights that a trigger needs. A command is a trigger for nobody to this version, and more to
/// a later one that shares a broker with it.
fn needed(trigger: &Trigger) -> [Option<Right>; 2] {
    let is_published = !trigger.has_command || !trigger.rooms.is_empty();
    [
        trigger.has_command.then_some(Right::Command),
        is_published.then_some(Right::Publish),
    ]
}

/// Checks that the request may send all of these triggers.
pub(super) fn check(
    internal: &Internal,
    access: Access,
    request: &Request,
) -> Result<(), Box<Response<Body>>> {
    let (triggers, is_list) = match request {
        Request::One(trigger) => (std::slice::from_ref(trigger), false),
        Request::Many(triggers) => (triggers.as_slice(), true),
    };
    let Some((index, right)) = access.missing(triggers) else {
        return Ok(());
    };
    let index = is_list.then_some(index);
    Err(Box::new(forbidden(internal, right, index)))
}

/// Says which right the key of a request lacks, and for which of its triggers. Logs it.
pub(super) fn forbidden(
    internal: &Internal,
    right: Right,
    trigger: Option<usize>,
) -> Response<Body> {
    let right = right.as_str();
    if let Some(suppressed) = internal.throttles.allow("key-rights") {
        tracing::warn!(
            right,
            suppressed,
            "refused an internal request: its key lacks a right. Add it to `may` of the key in \
             internal.keys, or have the program send another key"
        );
    }
    let sentence = format!(
        "this key lacks the right {right}: send another one, or add it to `may` of this key in \
         internal.keys"
    );
    let body = match trigger {
        Some(index) => json!({"error": format!("trigger {index}: {sentence}"), "trigger": index}),
        None => json!({ "error": sentence }),
    };
    respond::json(StatusCode::FORBIDDEN, &body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ht_proto::trigger::TriggerLimits;

    use super::*;

    const LIMITS: TriggerLimits = TriggerLimits {
        bytes: 1_000,
        triggers: 10,
        rooms: 10,
    };

    #[test]
    fn each_trigger_needs_its_right() {
        let trigger = r#"{"rooms": [{"a": 1}], "data": 1}"#;
        let nobody = r#"{"rooms": [], "data": null}"#;
        let command = r#"{"command": "disconnect", "user": 7, "rooms": [], "data": null}"#;
        let escaped = r#"{"c\u006fmmand": null, "rooms": [], "data": null}"#;
        let both = r#"{"command": "disconnect", "rooms": [{"a": 1}], "data": null}"#;
        for (rights, triggers, missing) in [
            (&[Right::Publish][..], &[trigger, nobody][..], None),
            (
                &[Right::Publish],
                &[trigger, command],
                Some((1, Right::Command)),
            ),
            (&[Right::Publish], &[escaped], Some((0, Right::Command))),
            (&[Right::Publish], &[both], Some((0, Right::Command))),
            (&[Right::Command], &[command, escaped], None),
            (
                &[Right::Command],
                &[command, nobody],
                Some((1, Right::Publish)),
            ),
            (&[Right::Command], &[both], Some((0, Right::Publish))),
            (
                &[Right::Publish, Right::Command],
                &[trigger, command, both],
                None,
            ),
            (&[Right::Read], &[trigger], Some((0, Right::Publish))),
            (&[], &[command], Some((0, Right::Command))),
            (&[], &[], None),
        ] {
            let read = |text: &&str| {
                let body = Bytes::copy_from_slice(text.as_bytes());
                Trigger::parse(&body, &LIMITS).unwrap()
            };
            let read: Vec<_> = triggers.iter().map(read).collect();
            let access = Access::Key(rights.iter().copied().collect());
            assert_eq!(access.missing(&read), missing, "{rights:?} {triggers:?}");
            assert_eq!(Access::Open.missing(&read), None);
            assert_eq!(Access::Key(Rights::ALL).missing(&read), None);
        }
    }
}
