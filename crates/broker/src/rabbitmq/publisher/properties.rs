//! What a message states beside its body.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::log::{Kind, NewEntry};
use crate::numbers::Sequence;
use crate::rabbitmq::numbering;
use crate::rabbitmq::publisher::{NOTE_TYPE, PROBE_TYPE};

/// The header that names the tenant of a message, for other consumers of the exchange. Nodes find it
/// in the message.
const TENANT: &str = "tenant";

/// The delivery mode of messages that outlive a restart of the broker (AMQP 0-9-1, 4.2.6).
const PERSISTENT: u8 = 2;

/// Those of an entry. `sequence`: its number; without one it goes to a stream.
pub(super) fn of(entry: &NewEntry, sequence: Option<&Sequence>) -> BasicProperties {
    let mut properties = message(&entry.key);
    match entry.kind {
        Kind::Trigger => {}
        Kind::Note => properties = properties.with_type(NOTE_TYPE.into()),
        Kind::Probe => properties = properties.with_type(PROBE_TYPE.into()),
    }
    if sequence.is_none() {
        properties = properties.with_delivery_mode(PERSISTENT);
    }
    let mut headers = sequence.map_or_else(FieldTable::default, numbering::headers);
    if let Some(tenant) = &entry.tenant {
        let name = AMQPValue::LongString(tenant.as_str().into());
        headers.insert(TENANT.into(), name);
    }
    if headers.inner().is_empty() {
        return properties;
    }
    properties.with_headers(headers)
}

/// Those of any message with this key.
pub(super) fn message(key: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(key.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_tenant_is_stated_beside_the_number_and_on_a_stream() {
        let entry = |tenant: Option<&str>| NewEntry {
            kind: Kind::Trigger,
            key: "k".into(),
            tenant: tenant.map(|name| name.parse().unwrap()),
            body: Bytes::new(),
        };
        let sequence = Sequence::parse("0123456789abcdef0123456789abcdef 1 1");
        assert!(sequence.is_some());
        for (tenant, sequence) in [
            (None, None),
            (Some("acme"), None),
            (None, sequence.as_ref()),
            (Some("acme"), sequence.as_ref()),
        ] {
            let properties = of(&entry(tenant), sequence);
            let headers = properties.headers().clone().unwrap_or_default();
            let found = match headers.inner().get(TENANT) {
                Some(AMQPValue::LongString(name)) => Some(name.to_string()),
                _ => None,
            };
            assert_eq!(found.as_deref(), tenant);
            let others = headers.inner().len() - usize::from(tenant.is_some());
            assert_eq!(others, usize::from(sequence.is_some()));
        }
    }
}
