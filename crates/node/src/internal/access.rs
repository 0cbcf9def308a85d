//! Authorization of a request: its API key, and the rights of that key.

use ht_edge::respond;
use ht_edge::respond::Body;
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use ht_proto::trigger::Request;
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::config::{Right, Rights};
use crate::internal::{Internal, keys};

/// Result of checking a request's API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It carries a configured key, which has these rights; if it belongs to a tenant, over what is
    /// that tenant's.
    Key(Rights, Option<TenantId>),
    /// No key is configured.
    Open,
    /// It carries no key, or an unknown one.
    Unknown,
}

impl Access {
    /// Checks the request's key and counts its use.
    pub(super) fn of(internal: &Internal, headers: &HeaderMap) -> Self {
        let (settings, tenants) = (internal.live.now(), internal.tenants());
        let has_keys = !settings.api_keys.is_empty() || !settings.keys.is_empty();
        // Where there are tenants, a request without a key could act for all of them.
        if !has_keys && !tenants.are_enabled() {
            return Self::Open;
        }
        if let Some((position, rights)) = keys::used(headers, &settings.api_keys, &settings.keys) {
            internal.counters.api_key_uses.add(position);
            return Self::Key(rights, None);
        }
        let of_tenant = keys::given(headers).and_then(|key| tenants.of_key(key));
        of_tenant.map_or(Self::Unknown, |(tenant, rights)| {
            Self::Key(rights, Some(tenant))
        })
    }

    /// The tenant that its key belongs to.
    pub(super) fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Key(_, tenant) => tenant,
            Self::Open | Self::Unknown => None,
        }
    }

    /// Whether the request has this right.
    pub(super) fn may(self, right: Right) -> bool {
        match self {
            Self::Key(rights, _) => rights.has(right),
            Self::Open => true,
            Self::Unknown => false,
        }
    }

    /// The first record that the request may not send: its index, and the missing right.
    fn missing(self, records: &[Record]) -> Option<(usize, Right)> {
        let mut needed = records.iter().map(needed).enumerate();
        needed.find(|(_, right)| !self.may(*right))
    }
}

/// The right that a record needs.
fn needed(record: &Record) -> Right {
    match record {
        Record::Trigger(_) => Right::Publish,
        Record::Command(command) if command.dry_run => Right::Read,
        Record::Command(_) => Right::Command,
    }
}

/// Checks that the request may send all of these triggers and commands.
pub(super) fn check(
    internal: &Internal,
    access: Access,
    request: &Request<Record>,
) -> Result<(), Box<Response<Body>>> {
    let (records, is_list) = match request {
        Request::One(record) => (std::slice::from_ref(record), false),
        Request::Many(records) => (records.as_slice(), true),
    };
    let Some((index, right)) = access.missing(records) else {
        return Ok(());
    };
    let index = is_list.then_some(index);
    Err(Box::new(lacks_right(internal, access, right, index)))
}

/// The response that names the missing right of a key, and the trigger that needs it. Logs it.
pub(super) fn lacks_right(
    internal: &Internal,
    access: Access,
    right: Right,
    trigger: Option<usize>,
) -> Response<Body> {
    let tenant = access.tenant().and_then(|id| internal.tenants().get(id));
    if tenant.is_some() && right == Right::Admin {
        let sentence = "this is about all tenants, and this key belongs to one: send a key of \
                        internal.api_key, or one of internal.keys with the right admin";
        return forbidden(sentence, trigger);
    }
    let right = right.as_str();
    let (keys, whose) = match &tenant {
        Some(tenant) => (
            "publish_keys",
            format!(" of the tenant {}", tenant.name().as_str()),
        ),
        None => ("internal.keys", String::new()),
    };
    if let Some(suppressed) = internal.throttles.allow("key-rights") {
        tracing::warn!(
            right,
            suppressed,
            "refused an internal request: its key lacks a right. Add it to `may` of the key in \
             {keys}{whose}, or have the program send another key"
        );
    }
    let sentence = format!(
        "this key lacks the right {right}: send another one, or add it to `may` of this key in \
         {keys}{whose}"
    );
    forbidden(&sentence, trigger)
}

/// 403 with this sentence; of a list, about the trigger with this index.
pub(super) fn forbidden(sentence: &str, trigger: Option<usize>) -> Response<Body> {
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
    fn each_record_needs_its_right() {
        let trigger = r#"{"rooms": [{"a": 1}], "data": 1}"#;
        let nobody = r#"{"rooms": [], "data": null}"#;
        let command = r#"{"command": "disconnect", "user": 7, "rooms": [], "data": null}"#;
        let escaped = r#"{"c\u006fmmand": "disconnect", "user": 7}"#;
        let dry_run = r#"{"command": "disconnect", "user": 7, "dry_run": true}"#;
        for (rights, records, missing) in [
            (&[Right::Publish][..], &[trigger, nobody][..], None),
            (
                &[Right::Publish],
                &[trigger, command],
                Some((1, Right::Command)),
            ),
            (&[Right::Publish], &[escaped], Some((0, Right::Command))),
            (&[Right::Publish], &[dry_run], Some((0, Right::Read))),
            (&[Right::Command], &[command, escaped], None),
            (
                &[Right::Command],
                &[command, nobody],
                Some((1, Right::Publish)),
            ),
            (&[Right::Command], &[dry_run], Some((0, Right::Read))),
            (&[Right::Publish, Right::Command], &[trigger, command], None),
            (&[Right::Read], &[trigger], Some((0, Right::Publish))),
            (&[Right::Read], &[dry_run], None),
            (&[Right::Admin], &[trigger], Some((0, Right::Publish))),
            (&[Right::Admin], &[command], Some((0, Right::Command))),
            (&[Right::Admin], &[dry_run], Some((0, Right::Read))),
            (&[], &[command], Some((0, Right::Command))),
            (&[], &[], None),
        ] {
            let read = |text: &&str| {
                let body = Bytes::copy_from_slice(text.as_bytes());
                Record::parse(&body, &LIMITS).unwrap()
            };
            let read: Vec<_> = records.iter().map(read).collect();
            let access = Access::Key(rights.iter().copied().collect(), None);
            assert_eq!(access.missing(&read), missing, "{rights:?} {records:?}");
            assert_eq!(Access::Open.missing(&read), None);
            assert_eq!(Access::Key(Rights::ALL, None).missing(&read), None);
        }
    }
}
