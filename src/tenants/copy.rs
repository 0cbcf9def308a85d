//! The last good list of a registry, on the disk: a node starts with it while the registry is away.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use crate::tenants::disk;
use crate::tenants::registry::{Held, Rubbish};

/// Only its owner may read where the APIs of tenants are.
const MODE: u32 = 0o600;

/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 20;

/// The file of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    path: PathBuf,
    /// The registry that it is of.
    url: String,
}

/// Why a copy is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// There is none.
    #[error("there is none")]
    None,
    /// The file system.
    #[error("{0}")]
    Io(io::Error),
    /// Somebody else could have written it.
    #[error("others than its owner may write to it, or it is no regular file")]
    Foreign,
    /// It is of another registry.
    #[error("it is of another registry")]
    Other,
    /// It is no such list.
    #[error("{0}")]
    Rubbish(Rubbish),
}

impl Copy {
    /// The copy of this registry at a path.
    pub(crate) fn new(path: PathBuf, url: &str) -> Self {
        Self {
            path,
            url: url.to_owned(),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a list.
    ///
    /// # Errors
    /// Those of the file system. Then the old one is there as before.
    pub(crate) fn write(&self, held: &Held) -> io::Result<()> {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let head = json!({ "registry": self.url, "at": at.as_secs(), "version": held.version });
        let tenants: Vec<&str> = held.tenants.values().map(AsRef::as_ref).collect();
        let head = head.to_string();
        let text = format!(
            "{},\n\"complete\":true,\"tenants\":[\n{}\n]}}\n",
            head.trim_end_matches('}'),
            tenants.join(",\n")
        );
        disk::replace(&self.path, text.as_bytes(), MODE)
    }

    /// The list, and how long ago it was written.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub(crate) fn read(&self) -> Result<(Held, Duration), CopyError> {
        let bytes = self.bytes()?;
        let held = Held::default().after(&bytes).map_err(CopyError::Rubbish)?;
        let head: Json = serde_json::from_slice(&bytes).unwrap_or_default();
        if head["registry"].as_str() != Some(&self.url) {
            return Err(CopyError::Other);
        }
        let at = Duration::from_secs(head["at"].as_u64().unwrap_or_default());
        let at = UNIX_EPOCH.checked_add(at);
        let ago = at.and_then(|at| SystemTime::now().duration_since(at).ok());
        let ago = ago.unwrap_or_default();
        Ok((held, ago))
    }

    fn bytes(&self) -> Result<Vec<u8>, CopyError> {
        let mut options = OpenOptions::new();
        // Of a named pipe, opening would wait for whoever writes to it.
        let options = options.read(true).custom_flags(O_NONBLOCK);
        let file = options.open(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                CopyError::None
            } else {
                CopyError::Io(error)
            }
        })?;
        let metadata = file.metadata().map_err(CopyError::Io)?;
        if !metadata.is_file() || metadata.mode() & OTHERS_WRITE != 0 {
            return Err(CopyError::Foreign);
        }
        let mut bytes = Vec::new();
        file.take(BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(CopyError::Io)?;
        Ok(bytes)
    }
}

/// `O_NONBLOCK` of Linux.
const O_NONBLOCK: i32 = 0o4000;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn held() -> Held {
        let answer =
            json!({ "version": "7", "tenants": [{ "name": "a" }, { "name": "b", "x": "\u{e9}" }] });
        Held::default()
            .after(answer.to_string().as_bytes())
            .unwrap()
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let copy = Copy::new(path.clone(), "http://r/");
        assert!(matches!(copy.read(), Err(CopyError::None)));
        for held in [held(), Held::default()] {
            copy.write(&held).unwrap();
            let (found, ago) = copy.read().unwrap();
            assert_eq!(found, held);
            assert!(ago < Duration::from_secs(60), "{ago:?}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        }
        let other = Copy::new(path, "http://other/").read();
        assert!(matches!(other, Err(CopyError::Other)));
    }

    #[test]
    fn what_is_no_copy_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let copy = Copy::new(path.clone(), "http://r/");
        copy.write(&held()).unwrap();
        let whole = fs::read(&path).unwrap();
        // No part of a copy is one.
        for length in 0..whole.len() - 1 {
            fs::write(&path, &whole[..length]).unwrap();
            let found = copy.read();
            assert!(
                matches!(found, Err(CopyError::Rubbish(_))),
                "{length}: {found:?}"
            );
        }
        // Its age is unknown, and it is good all the same.
        let mut text: Json = serde_json::from_slice(&whole).unwrap();
        text["at"] = u64::MAX.into();
        fs::write(&path, text.to_string()).unwrap();
        assert_eq!(copy.read().unwrap().1, Duration::ZERO);
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(matches!(copy.read(), Err(CopyError::Foreign)));
        let folder = Copy::new(folder.path().to_owned(), "http://r/").read();
        assert!(matches!(folder, Err(CopyError::Foreign | CopyError::Io(_))));
    }
}
