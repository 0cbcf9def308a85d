//! The setting `python_variables`.

use crate::config::kind::Choice;

/// When the variables of the Python version count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PythonVariables {
    /// Always, but those of an `.env` file nearby only if no newer setting names the API.
    Auto,
    /// Wherever they are set.
    Always,
    /// Nowhere.
    Never,
}

impl Choice for PythonVariables {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}
