//! Why no grant permits a room: the closest of the grants, and where it differs.

use std::fmt::Write as _;
use std::iter;

use ht_proto::excerpt;
use ht_proto::room::Room;

use crate::budget::cost;

/// Most grants that are compared with a refused room.
pub const GRANTS_MAX: usize = 64;

/// Most keys that are named; of further ones the number is.
const KEYS_MAX: usize = 3;

/// Bytes of a key or a value that are shown.
const SHOWN_BYTES: usize = 40;

/// Longest text of an explanation, in bytes.
pub const REASON_BYTES_MAX: usize = 640;

/// Why a room was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// A sentence for the author of the API or of the page; at most [`REASON_BYTES_MAX`] bytes.
    pub text: String,
    /// What the comparison cost, in the units of [`crate::budget`].
    pub units: u64,
}

/// Explains why none of `grants` permits `room`. Only the first [`GRANTS_MAX`] are compared: those
/// with the same keys should come first.
pub fn explain<'a>(grants: impl IntoIterator<Item = &'a Room>, room: &Room) -> Explanation {
    let mut grants = grants.into_iter();
    let mut units = 0;
    let mut compared = 0;
    let mut closest: Option<(Distance, &Room)> = None;
    for grant in grants.by_ref().take(GRANTS_MAX) {
        compared += 1;
        units += cost::compare(grant.len() + room.len());
        let known = closest.map_or(usize::MAX, |(distance, _)| distance.keys);
        let distance = Distance::of(grant, room, known);
        if closest.is_none_or(|(known, _)| distance < known) {
            closest = Some((distance, grant));
        }
    }
    let mut text = String::from("not granted; ");
    match closest {
        None => text.push_str("there are no grants"),
        Some((distance, grant)) => {
            if grants.next().is_some() {
                let _ = write!(
                    text,
                    "the closest of the {compared} grants compared differs in "
                );
            } else {
                text.push_str("the closest grant differs in ");
            }
            put_differences(&mut text, grant, room, distance.keys);
        }
    }
    units += cost::parse(text.len());
    Explanation { text, units }
}

/// How far a grant is from permitting a room; less is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    /// Keys in which they differ.
    keys: usize,
    /// Their only difference is not just one of type, as between `1` and `"1"`.
    is_of_content: bool,
}

impl Distance {
    /// Counts no further than one beyond `keys_max`.
    fn of(grant: &Room, room: &Room, keys_max: usize) -> Self {
        let mut differences = differences(grant, room).take(keys_max.saturating_add(1));
        let first = differences.next();
        let keys = usize::from(first.is_some()) + differences.count();
        let is_of_type = keys == 1 && first.is_some_and(|first| first.is_of_type());
        Self {
            keys,
            is_of_content: !is_of_type,
        }
    }
}

/// A key with a value that the grant does not permit, or that only one of them has.
#[derive(Clone, Copy)]
struct Difference<'a> {
    key: &'a [u8],
    granted: Option<&'a [u8]>,
    asked: Option<&'a [u8]>,
}

impl Difference<'_> {
    /// Whether the values have different types and look the same, but for quotes.
    fn is_of_type(&self) -> bool {
        let (Some(granted), Some(asked)) = (self.granted, self.asked) else {
            return false;
        };
        excerpt::kind(granted) != excerpt::kind(asked)
            && excerpt::name(granted, SHOWN_BYTES) == excerpt::name(asked, SHOWN_BYTES)
    }
}

/// Where `grant` does not permit `room`, in the order of the keys.
fn differences<'a>(grant: &'a Room, room: &'a Room) -> impl Iterator<Item = Difference<'a>> {
    let mut granted = grant.members().peekable();
    let mut asked = room.members().peekable();
    let pairs = iter::from_fn(move || {
        let key = match (granted.peek(), asked.peek()) {
            (Some(&(one, _)), Some(&(other, _))) => one.min(other),
            (Some(&(key, _)), None) | (None, Some(&(key, _))) => key,
            (None, None) => return None,
        };
        let granted = granted.next_if(|&(own, _)| own == key);
        let asked = asked.next_if(|&(own, _)| own == key);
        Some(Difference {
            key,
            granted: granted.map(|(_, value)| value),
            asked: asked.map(|(_, value)| value),
        })
    });
    pairs.filter(|pair| {
        let is_wildcard = pair.granted == Some(Room::STAR) && pair.asked.is_some();
        !is_wildcard && pair.granted != pair.asked
    })
}

fn put_differences(text: &mut String, grant: &Room, room: &Room, keys: usize) {
    for (number, difference) in differences(grant, room).take(KEYS_MAX).enumerate() {
        if number > 0 {
            text.push_str("; ");
        }
        let key = excerpt::name(difference.key, SHOWN_BYTES);
        let _ = write!(text, "`{key}`: granted ");
        put_value(text, difference.granted);
        text.push_str(", asked ");
        put_value(text, difference.asked);
    }
    let more = keys.saturating_sub(KEYS_MAX);
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
}

fn put_value(text: &mut String, value: Option<&[u8]>) {
    let Some(value) = value else {
        text.push_str("nothing");
        return;
    };
    let (shown, kind) = (excerpt::text(value, SHOWN_BYTES), excerpt::kind(value));
    text.push_str(&shown);
    if kind != shown {
        let _ = write!(text, " ({kind})");
    }
}

#[cfg(test)]
mod tests;
