//! The files of usage records: one for each hour and run of the node, replaced as a whole at each
//! checkpoint. So a crash loses what was counted since the last one, and nothing is counted twice.
//!
//! With `usage.jsonl` as the configured file, they are, in the same folder:
//!
//! - `usage.HOUR.BOOT.open.jsonl`: the current hour of a run, up to its last checkpoint
//! - `usage.HOUR.BOOT.jsonl`: an hour to which nothing will be added
//! - `usage.HOUR.BOOT.sent.jsonl`: the same, accepted by the receiver
//! - `usage.BOOT.lock`: locked for as long as that run lasts

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::usage::ledger::Hour;

/// Only its owner may read who pays for what.
const MODE: u32 = 0o600;

/// The end of the name where the configured one has none.
const EXTENSION: &str = "jsonl";

/// The files of a run.
#[derive(Debug)]
pub(crate) struct UsageFiles {
    folder: PathBuf,
    stem: String,
    extension: String,
    boot: String,
    /// Locked. None: it could not be made yet.
    lock: Option<File>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    Sent,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    hour: Hour,
    boot: String,
    state: State,
}

impl UsageFiles {
    /// Those beside the configured file, of this run. Nothing is read or written yet.
    pub(crate) fn new(file: &Path, boot: &str) -> Self {
        let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let folder = file.parent().filter(|path| !path.as_os_str().is_empty());
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            stem: text(file.file_stem()).unwrap_or_else(|| "usage".to_owned()),
            extension: text(file.extension()).unwrap_or_else(|| EXTENSION.to_owned()),
            boot: boot.to_owned(),
            lock: None,
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces what this run has written of an hour. A later crash leaves either the old or the new
    /// lines.
    pub(crate) fn checkpoint(&mut self, hour: Hour, lines: &str) -> io::Result<()> {
        self.take_lock()?;
        let path = self.path(hour, State::Open);
        if lines.is_empty() && !path.exists() {
            return Ok(());
        }
        let temporary = self.folder.join(format!("{}.{}.new", self.stem, self.boot));
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(MODE);
        let mut file = options.open(&temporary)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        self.sync()
    }

    /// The same, with the last lines of this hour.
    pub(crate) fn complete(&mut self, hour: Hour, lines: &str) -> io::Result<()> {
        self.checkpoint(hour, lines)?;
        let open = self.path(hour, State::Open);
        if open.exists() {
            fs::rename(&open, self.path(hour, State::Complete))?;
            self.sync()?;
        }
        Ok(())
    }

    /// Completes the hours of runs that have ended without doing so. Returns how many files they
    /// left.
    pub(crate) fn recover(&mut self) -> io::Result<usize> {
        self.take_lock()?;
        let mut recovered = 0;
        for name in self.names()? {
            if name.state != State::Open || name.boot == self.boot || self.is_running(&name.boot)? {
                continue;
            }
            let path = |state| {
                self.folder.join(self.text(&Name {
                    state,
                    ..name.clone()
                }))
            };
            match fs::rename(path(State::Open), path(State::Complete)) {
                // Another run that has just started did the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map(|()| recovered += 1)?,
            }
        }
        self.remove_locks()?;
        self.sync()?;
        Ok(recovered)
    }

    /// The files that are complete and were not sent yet, the oldest first.
    pub(crate) fn unsent(&self) -> io::Result<Vec<PathBuf>> {
        let mut names = self.names()?;
        names.retain(|name| name.state == State::Complete);
        names.sort_by(|one, other| (one.hour, &one.boot).cmp(&(other.hour, &other.boot)));
        Ok(names
            .iter()
            .map(|name| self.folder.join(self.text(name)))
            .collect())
    }

    /// The receiver has accepted a file.
    pub(crate) fn sent(&self, path: &Path) -> io::Result<()> {
        let name = path
            .file_name()
            .and_then(|name| self.parse(&name.to_string_lossy()));
        let Some(name) = name else {
            return Ok(());
        };
        let sent = Name {
            state: State::Sent,
            ..name
        };
        fs::rename(path, self.folder.join(self.text(&sent)))?;
        self.sync()
    }

    /// Removes files of hours that ended before `keep`. Returns how many of them were complete and
    /// not sent.
    pub(crate) fn remove_old(&self, now: SystemTime, keep: Duration) -> io::Result<usize> {
        let mut unsent = 0;
        for name in self.names()? {
            let is_old = name.hour.end() + keep < now;
            if name.state != State::Open && is_old {
                fs::remove_file(self.folder.join(self.text(&name)))?;
                unsent += usize::from(name.state == State::Complete);
            }
        }
        Ok(unsent)
    }

    /// Removes what only a run needs.
    pub(crate) fn end(&mut self) {
        if self.lock.take().is_some() {
            // It is removed with the next start otherwise.
            let _ = fs::remove_file(self.lock_path(&self.boot));
        }
    }

    fn path(&self, hour: Hour, state: State) -> PathBuf {
        let boot = self.boot.clone();
        self.folder.join(self.text(&Name { hour, boot, state }))
    }

    fn lock_path(&self, boot: &str) -> PathBuf {
        self.folder.join(format!("{}.{boot}.lock", self.stem))
    }

    fn text(&self, name: &Name) -> String {
        let Name { hour, boot, state } = name;
        let state = match state {
            State::Open => ".open",
            State::Complete => "",
            State::Sent => ".sent",
        };
        format!("{}.{hour}.{boot}{state}.{}", self.stem, self.extension)
    }

    fn parse(&self, text: &str) -> Option<Name> {
        let rest = text.strip_prefix(&self.stem)?.strip_prefix('.')?;
        let rest = rest.strip_suffix(&self.extension)?.strip_suffix('.')?;
        let mut parts = rest.split('.');
        let (hour, boot) = (Hour::parse(parts.next()?)?, parts.next()?.to_owned());
        let state = match parts.next() {
            None => State::Complete,
            Some("open") => State::Open,
            Some("sent") => State::Sent,
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Name { hour, boot, state })
    }

    fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.extend(self.parse(&entry?.file_name().to_string_lossy()));
        }
        Ok(names)
    }

    fn take_lock(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(MODE);
            let file = options.open(self.lock_path(&self.boot))?;
            file.lock()?;
            self.lock = Some(file);
        }
        Ok(())
    }

    /// Whether a run still has its lock.
    fn is_running(&self, boot: &str) -> io::Result<bool> {
        let file = match File::open(self.lock_path(boot)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes the locks of runs that have ended.
    fn remove_locks(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let boot = name
                .strip_prefix(&self.stem)
                .and_then(|rest| rest.strip_prefix('.'));
            let boot = boot.and_then(|rest| rest.strip_suffix(".lock"));
            if let Some(boot) = boot.filter(|boot| *boot != self.boot)
                && !self.is_running(boot)?
            {
                match fs::remove_file(self.lock_path(boot)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Renames are on the disk when this returns.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests;
