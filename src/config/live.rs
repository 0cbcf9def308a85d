//! Which settings a reload changes, and which of the changed ones need a restart.

use crate::config::Config;
use crate::config::kind::HeaderChange;
use crate::config::settings::{Values, changed, is_live};

/// What was written, to be compared with what is written later.
#[derive(Clone, Debug)]
pub struct Written {
    values: Values,
    /// What the variables of the Python version say of headers.
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

/// What a reload comes to, by the names of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// What is new since the last reload and holds from now on.
    pub live: Vec<&'static str>,
    /// What is other than at the start and needs a restart.
    pub fixed: Vec<&'static str>,
}

impl Config {
    /// What is other in `new`. Of `self`, the live settings are those in force and `started` is
    /// what the process began with.
    #[must_use]
    pub fn changes(&self, started: &Written, new: &Self) -> Changes {
        let mut live = self.written.changed(&new.written);
        live.retain(|key| is_live(key));
        let mut fixed = started.changed(&new.written);
        fixed.retain(|key| !is_live(key));
        Changes { live, fixed }
    }
}
