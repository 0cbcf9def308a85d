//! The last good list of tenants, on the disk: a node starts with it while the registry is away, or a
//! file has a mistake.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use tracing::error;

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
    /// The source that it is of.
    source: String,
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
    /// It is of another source.
    #[error("it is of another registry, or of other files")]
    Other,
    /// It is no such list.
    #[error("{0}")]
    Rubbish(Rubbish),
}

impl Copy {
    /// The copy of this source at a path.
    pub(crate) fn new(path: PathBuf, source: &str) -> Self {
        Self {
            path,
            source: source.to_owned(),
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
        let head = json!({ "of": self.source, "version": held.version });
        let tenants: Vec<&str> = held.tenants.values().map(AsRef::as_ref).collect();
        let head = head.to_string();
        let text = format!(
            "{},\n\"complete\":true,\"tenants\":[\n{}\n]}}\n",
            head.trim_end_matches('}'),
            tenants.join(",\n")
        );
        disk::replace(&self.path, text.as_bytes(), MODE)
    }

    /// The list, and how long ago its source had it.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub(crate) fn read(&self) -> Result<(Held, Duration), CopyError> {
        let (bytes, confirmed) = self.bytes()?;
        let held = Held::default().after(&bytes).map_err(CopyError::Rubbish)?;
        let head: Json = serde_json::from_slice(&bytes).unwrap_or_default();
        if head["of"].as_str() != Some(&self.source) {
            return Err(CopyError::Other);
        }
        let ago = confirmed.and_then(|at| SystemTime::now().duration_since(at).ok());
        let ago = ago.unwrap_or_default();
        Ok((held, ago))
    }

    /// Notes that the source has the same list now. Without that the copy only looks older.
    pub(crate) fn confirm(&self) {
        let opened = opening().open(&self.path);
        let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Writes a list that is in force. Where it cannot be written, the log says so.
    pub(crate) fn keep(&self, held: &Held) {
        if let Err(error) = self.write(held) {
            error!(
                file = %self.path.display(),
                %error,
                "tenants.copy could not be written: a node that starts with it has an old list. Make \
                 its directory writable for the gateway, and look at the disk"
            );
        }
    }

    /// Its bytes, and when it was confirmed.
    fn bytes(&self) -> Result<(Vec<u8>, Option<SystemTime>), CopyError> {
        let file = opening().open(&self.path).map_err(|error| {
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
        Ok((bytes, metadata.modified().ok()))
    }
}

/// How a copy is opened: of a named pipe, opening would wait for whoever writes to it.
fn opening() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NONBLOCK);
    options
}

/// `O_NONBLOCK` of Linux.
const O_NONBLOCK: i32 = 0o4000;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
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
        let hours = Duration::from_secs(7_200);
        let file = File::open(&path).unwrap();
        file.set_modified(SystemTime::now() - hours).unwrap();
        assert!(copy.read().unwrap().1 >= hours);
        copy.confirm();
        assert!(copy.read().unwrap().1 < Duration::from_secs(60));
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
        fs::write(&path, &whole).unwrap();
        let file = File::open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3_600))
            .unwrap();
        assert_eq!(copy.read().unwrap().1, Duration::ZERO);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(matches!(copy.read(), Err(CopyError::Foreign)));
        let folder = Copy::new(folder.path().to_owned(), "http://r/").read();
        assert!(matches!(folder, Err(CopyError::Foreign | CopyError::Io(_))));
    }
}
