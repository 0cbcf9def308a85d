//! Picking members out of a JSON object as raw text, in one pass and without copying.

use std::borrow::Cow;
use std::fmt;

use serde::de::Deserialize;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// Why a text is no JSON object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// Not JSON from this place on; both count from 1.
    NotJson {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// JSON, but not an object.
    NotObject,
}

/// The raw values of the wanted members of an object; of several with one name the last. The
/// whole text is checked to be JSON.
pub(super) fn members<'a, const N: usize>(
    json: &'a str,
    wanted: [&str; N],
) -> Result<[Option<&'a str>; N], Mistake> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let found = Wanted(wanted)
        .deserialize(&mut deserializer)
        .and_then(|found| deserializer.end().map(|()| found));
    found.map_err(|error| match serde_json::from_str::<IgnoredAny>(json) {
        Ok(_) if error.is_data() => Mistake::NotObject,
        Ok(_) => not_json(&error),
        Err(error) => not_json(&error),
    })
}

/// Where the text stops being JSON. The error's own words may quote the text, so they are dropped.
fn not_json(error: &serde_json::Error) -> Mistake {
    Mistake::NotJson {
        line: error.line(),
        column: error.column(),
    }
}

struct Wanted<'w, const N: usize>([&'w str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Wanted<'_, N> {
    type Value = [Option<&'de str>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Key(key)) = map.next_key()? {
            match self.0.iter().position(|wanted| *wanted == key) {
                // One name may be wanted twice: both places get the value.
                Some(first) => {
                    let raw = map.next_value::<&RawValue>()?.get();
                    for (place, wanted) in found.iter_mut().zip(self.0).skip(first) {
                        if wanted == key {
                            *place = Some(raw);
                        }
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// A member's name, borrowed unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
