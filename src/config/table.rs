//! Definitions by a table of settings: values, how they are read and compared, and their
//! documentation.

use crate::config::kind::Kind;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::Node;

/// A setting's value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    /// The value: what was written, or the default.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) place: WrittenAt,
}

/// What was written for each setting.
pub(crate) trait Lookup {
    /// What was written for a setting, the strongest first.
    fn of(&self, key: &str) -> impl Iterator<Item = &Node>;
}

/// Documentation of one setting.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Its path, such as `limits.message_bytes`.
    pub(crate) key: &'static str,
    /// What may be written.
    pub(crate) expects: String,
    /// The default as it is written in the file.
    pub(crate) default: String,
    /// What it does.
    pub(crate) doc: &'static str,
    /// What may be written, as a JSON schema.
    pub(crate) schema: serde_json::Value,
}

/// Whether a reload applies a setting: `live`, or only a `restart` does.
macro_rules! is_live {
    (live) => {
        true
    };
    (restart) => {
        false
    };
}

/// Whether the value may be in a file of its own.
macro_rules! is_secret {
    () => {
        false
    };
    (secret) => {
        true
    };
}

/// Defines settings by rows: field, type, `live` or `restart`, `secret` where the value may be in a
/// file of its own, path, kind, default, documentation.
macro_rules! settings {
    ($(
        $field:ident: $type:ty, $applied:ident $($secret:ident)? $key:literal, $kind:expr,
        $default:expr, $doc:literal;
    )*) => {
        /// The value of every setting.
        #[derive(Clone, Debug)]
        pub(crate) struct Values {
            $(#[doc = $doc] pub(crate) $field: $crate::config::table::Found<$type>,)*
        }

        /// Reads every setting; what is missing or wrong has its default.
        pub(crate) fn read(
            written: &impl $crate::config::table::Lookup,
            mistakes: &mut $crate::config::mistake::Mistakes,
        ) -> Values {
            Values {
                $($field: $crate::config::table::take(written, $key, &$kind, $default, mistakes),)*
            }
        }

        /// Every setting, in the order of the documentation.
        pub(crate) fn described() -> Vec<$crate::config::table::Described> {
            vec![$($crate::config::table::Described {
                key: $key,
                expects: $crate::config::kind::Kind::expects(&$kind),
                default: $crate::config::kind::Kind::show(&$kind, &$default),
                doc: $doc,
                schema: $crate::config::kind::Kind::schema(&$kind),
            },)*]
        }

        /// The settings that differ, in the order of the documentation.
        #[allow(dead_code)] // Not every table needs everything.
        pub(crate) fn changed(one: &Values, other: &Values) -> Vec<&'static str> {
            let differ = [$(($key, one.$field.value != other.$field.value),)*];
            differ.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
        }

        /// The path of every setting.
        pub(crate) const KEYS: &[&str] = &[$($key,)*];

        /// Whether a reload applies the setting. All others need a restart.
        #[allow(dead_code)]
        pub(crate) fn is_live(key: &str) -> bool {
            match key {
                $($key => $crate::config::table::is_live!($applied),)*
                _ => false,
            }
        }

        /// Whether the setting's value may be in a file of its own.
        #[allow(dead_code)]
        pub(crate) fn is_secret(key: &str) -> bool {
            match key {
                $($key => $crate::config::table::is_secret!($($secret)?),)*
                _ => false,
            }
        }
    };
}

pub(crate) use {is_live, is_secret, settings};

/// Reads one setting; what is missing or wrong has its default.
pub(crate) fn take<K: Kind>(
    written: &impl Lookup,
    key: &str,
    kind: &K,
    default: K::Value,
    mistakes: &mut Mistakes,
) -> Found<K::Value> {
    let mut found = Found {
        value: default,
        place: WrittenAt::Default,
    };
    // The first layer counts; the others are read all the same, to report their mistakes too.
    for (depth, node) in written.of(key).enumerate() {
        let value = kind.take(node, key, mistakes);
        if depth == 0 {
            found.place = node.place.clone();
            if let Some(value) = value {
                found.value = value;
            }
        }
    }
    found
}
