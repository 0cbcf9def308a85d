//! Rights of the API keys of the internal listener.

use ht_proto::labels;

use crate::config::Secret;

labels! {
    /// Something that a request to the internal listener does.
    pub enum Right {
        /// Publish triggers.
        Publish = "publish",
        /// Send objects with the member `command`.
        Command = "command",
        /// Read metrics.
        Read = "read",
        /// Read and change the list of tenants. It implies no other right.
        Admin = "admin",
    }
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Every right.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether this right is in the set.
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        let bits = rights.into_iter().map(|right| 1 << right as u8);
        Self(bits.fold(0, |set, bit: u8| set | bit))
    }
}

/// An API key with restricted rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestrictedKey {
    /// The key.
    pub key: Secret,
    /// Its rights.
    pub may: Rights,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        for set in 0..16_usize {
            let chosen = |right: &Right| set & (1 << *right as usize) != 0;
            let rights: Rights = Right::ALL.into_iter().filter(chosen).collect();
            for right in Right::ALL {
                assert_eq!(rights.has(right), chosen(&right), "{set} {right:?}");
            }
        }
        assert!(Right::ALL.into_iter().all(|right| Rights::ALL.has(right)));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = RestrictedKey {
            key: Secret("geheim".to_owned()),
            may: Rights::default(),
        };
        assert!(!format!("{key:?}").contains("geheim"));
    }
}
