//! Sizes that have to fit each other.

use crate::config::mistake::WrittenAt;
use crate::config::settings::Values;

/// `{"type":"subscribe","room":,"requestId":}`, with white space and some members to spare.
const ENVELOPE: usize = 256;

/// The longest message of a client. The default grows with the longest subscribe that
/// `limits.room_bytes` and `limits.request_id_bytes` allow, so that raising either is enough.
pub(crate) fn message_bytes(values: &Values) -> usize {
    let written = &values.limits_message_bytes;
    let longest = values.limits_room_bytes.value + values.limits_request_id_bytes.value + ENVELOPE;
    if written.place == WrittenAt::Default {
        written.value.max(longest)
    } else {
        written.value
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::good;

    #[test]
    fn the_default_message_holds_the_longest_subscribe() {
        for (limits, bytes) in [
            ("", 64 << 10),
            ("room_bytes = \"128KiB\"", (128 << 10) + 1_024 + 256),
            (
                "room_bytes = \"60KiB\"\nrequest_id_bytes = \"64KiB\"",
                (124 << 10) + 256,
            ),
            ("message_bytes = 2048", 2_048),
            ("message_bytes = \"1MiB\"\nroom_bytes = 1024", 1 << 20),
        ] {
            let url = "[backend]\nurl = \"http://127.0.0.1/\"\n";
            let config = good(&format!("{url}[limits]\n{limits}\n"), &[]);
            assert_eq!(config.server.session.message_bytes, bytes, "{limits}");
        }
    }
}
