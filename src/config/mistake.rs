//! Mistakes in the configuration: all of them are collected, each with its place.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it is the default.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A line of an `.env` file.
    Dotenv {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
}

/// One mistake: where it is, which setting it is about and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where it was written.
    pub(crate) place: Place,
    /// The setting's path, such as `limits.message_bytes`; empty if it is about none.
    pub(crate) key: String,
    /// What is wrong and what is expected. Never holds a secret.
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => {}
            Place::File { path, line: 0 } => write!(f, "{}: ", path.display())?,
            Place::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            Place::Variable(name) => return write!(f, "{name}: {}", self.what),
            Place::Dotenv { path, line, name } => {
                return write!(f, "{}:{line}: {name}: {}", path.display(), self.what);
            }
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Every mistake of one configuration, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    /// Notes one.
    pub(crate) fn add(&mut self, place: &Place, key: &str, what: impl Into<String>) {
        self.0.push(Mistake {
            place: place.clone(),
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each as a line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(ToString::to_string)
    }

    /// Whether one is about this setting.
    pub(crate) fn about(&self, key: &str) -> bool {
        self.0.iter().any(|mistake| mistake.key == key)
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has a mistake:")?,
            n => write!(f, "the configuration has {n} mistakes:")?,
        }
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}
