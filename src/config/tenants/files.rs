//! Files of tenants: one file of several, or a folder with a file for each.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::tenants::document::{Document, of_one, of_several};
use crate::config::{plain, read_text_up_to};

/// The longest file of several tenants, in bytes: a guard against the wrong file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The longest file of one tenant, in bytes.
pub(crate) const TENANT_BYTES_MAX: u64 = 256 << 10;

/// What distinguishes two states of files without reading them.
pub(crate) type Stamp = Vec<(PathBuf, u64, i64, i64, u64)>;

/// The tenants in a file or a folder; `shown` is its path as it was named.
pub(crate) fn read(path: &Path, shown: &Path, mistakes: &mut Mistakes) -> Vec<Document> {
    let at = |path: &Path| WrittenAt::File {
        path: path.to_owned(),
        line: 0,
    };
    match files(path) {
        Ok(None) => match read_text_up_to(path, FILE_BYTES_MAX) {
            Ok(text) => of_several(&text, shown, mistakes),
            Err(cause) => {
                mistakes.add(
                    &at(shown),
                    "tenants.file",
                    format!("cannot read it: {cause}"),
                );
                Vec::new()
            }
        },
        Ok(Some(files)) => {
            let mut found = Vec::with_capacity(files.len());
            for file in files {
                let shown = shown.join(file.file_name().unwrap_or_default());
                found.push(match read_text_up_to(&file, TENANT_BYTES_MAX) {
                    Ok(text) => of_one(&text, &shown),
                    Err(cause) => {
                        let mut broken = Mistakes::default();
                        broken.add(&at(&shown), "", format!("cannot read it: {cause}"));
                        Document::broken(&shown, broken)
                    }
                });
            }
            found
        }
        Err(cause) => {
            let what = format!("cannot read it: {}", plain(&cause));
            mistakes.add(&at(shown), "tenants.file", what);
            Vec::new()
        }
    }
}

/// The files of tenants in a folder, in the order of their names; none if it is a file. Hidden files
/// and those with other endings are no tenants.
fn files(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = file.extension().and_then(|ending| ending.to_str());
        if !is_hidden && matches!(ending, Some("toml" | "json")) {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(Some(files))
}

/// The state of a file or a folder.
///
/// # Errors
/// If it is not there, or cannot be looked at.
pub(crate) fn stamp(path: &Path) -> io::Result<Stamp> {
    let files = match files(path)? {
        Some(files) => files,
        None => vec![path.to_owned()],
    };
    let stamp = |file: PathBuf| {
        let data = fs::metadata(&file)?;
        Ok((
            file,
            data.ino(),
            data.mtime(),
            data.mtime_nsec(),
            data.len(),
        ))
    };
    files.into_iter().map(stamp).collect()
}
