//! Secrets in separate files, as Docker and Kubernetes mount them: `…_FILE` names the file.

use std::path::{Path, PathBuf};

use crate::config::names::variable_of;
use crate::config::read_text;
use crate::config::settings::{KEYS, is_secret};

/// The longest secret, in bytes: a guard against the wrong file.
const BYTES_MAX: usize = 64 << 10;

/// Settings whose value may be in a file of its own.
pub(crate) fn secrets() -> impl Iterator<Item = &'static str> {
    KEYS.iter().copied().filter(|key| is_secret(key))
}

/// The setting for which this one names a file: `internal.api_key_file` is for `internal.api_key`.
pub(crate) fn secret_of(key: &str) -> Option<&'static str> {
    let secret = key.strip_suffix("_file")?;
    secrets().find(|known| *known == secret)
}

/// The setting for which this variable names a file.
pub(crate) fn secret_of_variable(name: &str) -> Option<&'static str> {
    let secret = name.strip_suffix("_FILE")?;
    secrets().find(|known| variable_of(known) == secret)
}

/// The setting that names a file for a secret.
pub(crate) fn file_of(key: &str) -> String {
    format!("{key}_file")
}

/// Reads a secret. Trailing line ends are removed: editors and `echo` add one.
///
/// # Errors
/// A sentence with the reason, without the file's content.
pub(crate) fn read(folder: &Path, path: &Path) -> Result<String, String> {
    let error = |what: &str| format!("cannot read the secret in {}: {what}", path.display());
    let text = read_text(&folder.join(path)).map_err(|cause| error(&cause))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(error("it is empty"));
    }
    if secret.len() > BYTES_MAX {
        return Err(error(
            "it is larger than 64 KiB, so it is probably another file",
        ));
    }
    Ok(secret.to_owned())
}

/// Whether this process may not read the file, which another user may.
pub(crate) fn is_denied(folder: &Path, path: &Path) -> bool {
    let opened = std::fs::File::open(folder.join(path));
    opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The path in a text, without blanks at its ends; none if the text is empty.
pub(crate) fn path(text: &str) -> Option<PathBuf> {
    let text = text.trim();
    (!text.is_empty()).then(|| PathBuf::from(text))
}
