//! Which settings a reload changes, and which of the changed ones need a restart.

use crate::config::Config;
use crate::config::kind::HeaderChange;
use crate::config::settings::{Values, changed, is_live};

/// The settings as they were written, to be compared when they are read again.
#[derive(Clone, Debug)]
pub struct Written {
    values: Values,
    /// The headers from variables of the Python version.
    legacy: Vec<HeaderChange>,
}

impl Written {
    pub(crate) fn new(values: Values, legacy: Vec<HeaderChange>) -> Self {
        Self { values, legacy }
    }

    /// The settings that differ, in the order of the documentation.
    fn changed(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = changed(&self.values, &other.values);
        if self.legacy != other.legacy && !keys.contains(&"backend.headers") {
            keys.push("backend.headers");
        }
        keys
    }
}

/// Result of a reload, by the names of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Settings that changed since the last reload and apply now.
    pub live: Vec<&'static str>,
    /// Settings that differ from the start and need a restart.
    pub fixed: Vec<&'static str>,
}

impl Config {
    /// The settings that differ in `new`. Live settings are compared with those of `self`, which
    /// are in force, and the others with `started`.
    #[must_use]
    pub fn changes(&self, started: &Written, new: &Self) -> Changes {
        let mut live = self.written.changed(&new.written);
        live.retain(|key| is_live(key));
        let mut fixed = started.changed(&new.written);
        fixed.retain(|key| !is_live(key));
        Changes { live, fixed }
    }
}
