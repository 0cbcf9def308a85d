//! Sizes that have to fit each other.

use crate::config::mistake::Mistakes;
use crate::config::settings::Values;

/// The longest subscribe that the other limits allow must fit.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    /// `{"type":"subscribe","room":,"requestId":}`, with white space and some members to spare.
    const ENVELOPE: usize = 256;
    let (room, request_id) = (&values.limits_room_bytes, &values.limits_request_id_bytes);
    let message = &values.limits_message_bytes;
    let needed = room.value + request_id.value + ENVELOPE;
    if message.value < needed {
        let what = format!(
            "{} bytes are less than the longest subscribe, which limits.room_bytes ({}) and \
             limits.request_id_bytes ({}) allow to be {needed}: raise this, or lower those",
            message.value, room.value, request_id.value
        );
        mistakes.add(&message.place, "limits.message_bytes", &what);
    }
}
