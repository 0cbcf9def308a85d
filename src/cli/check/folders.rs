//! Folders in which the gateway writes files while it runs.

use std::path::Path;

use rustix::fs::{Access, access};

use crate::cli::finding::Finding::{self, Fix, Works};
use crate::config::Config;

/// Whether the files can be written that the configuration names.
pub(super) fn written(config: &Config) -> Vec<(&'static str, Finding)> {
    let usage = config.server.usage.file.as_ref();
    let usage = usage.map(|file| ("usage.file", file.clone()));
    let copy = config.tenancy.copy().map(|file| ("tenants.copy", file));
    let files = usage.into_iter().chain(copy);
    files.map(|(name, file)| (name, folder_of(&file))).collect()
}

/// Whether a file can be made, and replaced, in its folder.
fn folder_of(file: &Path) -> Finding {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let shown = folder.display();
    if !folder.exists() {
        return Fix(format!(
            "there is no folder {shown}: make it, and give it to the user of the service"
        ));
    }
    if !folder.is_dir() {
        return Fix(format!("{shown} is no folder"));
    }
    match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Works(format!("{shown} is writable")),
        Err(cause) => Fix(format!(
            "this user may not write to {shown} ({cause}): run this as the user of the service, or \
             give the folder to it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_missing_or_none_is_to_be_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, part) in [
            (
                folder.path().join("no/usage.jsonl"),
                Some("there is no folder"),
            ),
            (file.join("usage.jsonl"), Some("is no folder")),
            (folder.path().join("usage.jsonl"), None),
        ] {
            match (folder_of(&path), part) {
                (Fix(what), Some(part)) => assert!(what.contains(part), "{what}"),
                (Works(_), None) => {}
                (Fix(what) | Works(what) | Finding::Note(what), _) => {
                    panic!("{}: {what}", path.display())
                }
            }
        }
    }
}
