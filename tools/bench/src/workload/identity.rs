//! Clients with an identity: a user, a session and two labels. With [`super::Rooms::Labelled`], one
//! of [`EVERY`] is in the room with triggers, and the label of all others can be invalidated.

use std::time::Duration;

/// The label of all but one of `EVERY` clients.
pub const LABEL: &str = "crowd";
/// One of so many connections is in the room with triggers.
pub(super) const EVERY: u32 = 20;

/// The room with triggers, and the rooms of the others together.
pub(super) const TARGETS: usize = 2;

/// Invalidations of the permissions of [`LABEL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The span of each.
    pub within: Duration,
    /// How many there are. Before each, the same is measured without it for as long.
    pub times: u32,
}

/// Whether a connection is in the room with triggers.
pub(super) fn is_listener(number: u32) -> bool {
    number.is_multiple_of(EVERY)
}

pub(super) fn target(number: u32) -> u32 {
    u32::from(!is_listener(number))
}

/// How many of the first connections have a target.
pub(super) fn receivers(target: u32, listening: usize) -> usize {
    let listeners = listening.div_ceil(EVERY as usize);
    match target {
        0 => listeners,
        _ => listening - listeners,
    }
}

/// The bootstrap response: all rooms, and who it is.
pub(super) fn bootstrap(number: &str) -> String {
    let label = match number.parse().is_ok_and(is_listener) {
        true => "listeners",
        false => LABEL,
    };
    format!(
        r#"{{"allowed_rooms":[{{"target":"bench","id":"*"}}],"user":{{"id":"{number}"}},"session":"s-{number:0>16}","labels":["tenant:bench","{label}"]}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_twenty_listens_and_the_others_have_the_label() {
        let listeners = (0..1_001).filter(|number| is_listener(*number)).count();
        assert_eq!(listeners, receivers(0, 1_001));
        assert_eq!(receivers(0, 1_001) + receivers(1, 1_001), 1_001);
        for number in [0, 1, 20, 21] {
            let text = bootstrap(&number.to_string());
            let response: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(response["labels"][1] == LABEL, target(number) == 1);
            assert_eq!(response["user"]["id"], number.to_string());
        }
    }
}
