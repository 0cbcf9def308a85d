//! Mistakes in the configuration: all of them are collected, each with its location.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WrittenAt {
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
    /// A file that holds nothing but the value, which is a secret.
    Secret {
        /// The file.
        path: PathBuf,
        /// Where it is named.
        named: Box<WrittenAt>,
    },
}

/// One mistake: where it is, which setting it is about and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where it was written.
    pub(crate) place: WrittenAt,
    /// The setting's path, such as `limits.message_bytes`; empty if it is about none.
    pub(crate) key: String,
    /// What is wrong and what is expected. Never holds a secret.
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        if !self.key.is_empty() && !self.place.is_variable() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

impl WrittenAt {
    /// The place alone, to follow the word "in".
    pub(crate) fn shown(&self) -> String {
        self.to_string().trim_end_matches(": ").to_owned()
    }

    /// The file; empty if it is none.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Dotenv { path, .. } | Self::Secret { path, .. } => path,
            Self::Default | Self::Variable(_) => Path::new(""),
        }
    }

    /// Whether it is a variable, whose name identifies the setting.
    pub(crate) fn is_variable(&self) -> bool {
        match self {
            Self::Variable(_) | Self::Dotenv { .. } => true,
            Self::Secret { named, .. } => named.is_variable(),
            Self::Default | Self::File { .. } => false,
        }
    }
}

/// The beginning of a line about this location.
impl fmt::Display for WrittenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::File { path, line: 0 } => write!(f, "{}: ", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}: ", path.display()),
            Self::Variable(name) => write!(f, "{name}: "),
            Self::Dotenv { path, line, name } => write!(f, "{}:{line}: {name}: ", path.display()),
            Self::Secret { path, named } => write!(f, "{named}{}: ", path.display()),
        }
    }
}

/// Every mistake of one configuration, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    /// Notes one.
    pub(crate) fn add(&mut self, place: &WrittenAt, key: &str, what: impl Into<String>) {
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

    /// Whether one of them is in this file.
    pub(crate) fn are_in(&self, path: &Path) -> bool {
        self.0.iter().any(|mistake| mistake.place.path() == path)
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
