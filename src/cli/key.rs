//! The API key of the internal listener, from the command line or the environment.

use std::path::{Path, PathBuf};

use crate::config::{first_key, secret_file};

/// The key that the internal listener may ask for.
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// API key (internal.api_key); of a list the first one
    #[arg(
        long,
        value_name = "KEY",
        env = "HT_INTERNAL__API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// File that contains the API key
    #[arg(long, value_name = "FILE", env = "HT_INTERNAL__API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
}

// Not derived: the key is a secret.
impl std::fmt::Debug for KeyArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyArgs").finish_non_exhaustive()
    }
}

impl KeyArgs {
    /// The key, if one was given, as text or as a file.
    pub(super) fn get(&self) -> anyhow::Result<Option<String>> {
        if let Some(key) = self.api_key.as_ref().filter(|key| !key.is_empty()) {
            return Ok(Some(first_key(key, false)));
        }
        let file = self.api_key_file.as_ref();
        file.filter(|path| !path.as_os_str().is_empty())
            .map(|path| secret_file::read(Path::new(""), path).map_err(anyhow::Error::msg))
            .map(|text| text.map(|text| first_key(&text, true)))
            .transpose()
    }
}
