//! The file of the window (`window.file`): a process writes it when it has shut down gracefully, and
//! the next process goes on with it, so that clients recover across a restart.
//!
//! A file is used once: it is deleted before anything is served, because a process that dies later
//! may have given positions that the file does not know.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ht_broker::Broker;
use ht_broker::order::Order;
use ht_core::window::WindowLimits;
use ht_proto::room::Room;
use ht_proto::saved::{Saved, SavedError};
use ht_proto::tenant::TenantName;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use tokio::time::timeout;

use crate::config::ServerConfig;
use crate::node::Node;
use crate::window::{NodeWindow, Snapshot};

/// Bytes of an id in the file, at most.
const ID_BYTES: usize = 512;

/// Bytes of a window with nothing in it, at most.
const EMPTY_BYTES: usize = 64 << 10;

/// What a file has more than the window counts for the same entries: at most so many times.
const LONGER: usize = 2;

/// A clock may be set back by so much between two processes.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// Only its owner may read what was published.
const MODE: u32 = 0o600;

/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// A shutdown does not wait longer for the disk.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The file of the window.
#[derive(Clone, Debug)]
pub(crate) struct WindowFile {
    path: PathBuf,
    bytes_max: u64,
    age_max: Duration,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Saved(#[from] SavedError),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("others than its owner may write to it, or it has another owner")]
    Foreign,
    #[error("it has {0} bytes, more than a window of window.bytes")]
    TooLong(u64),
    #[error("it is older than window.age")]
    Old,
    #[error("it was saved in the future: is the clock right?")]
    Future,
}

impl WindowFile {
    /// That of a node. None where the log of the broker retains what it carried: every process reads
    /// it there.
    pub(crate) fn of(
        config: &ServerConfig,
        limits: WindowLimits,
        broker: Option<&Broker>,
    ) -> Option<Self> {
        let path = config.window_file.clone()?;
        if broker.is_some_and(Broker::retains) {
            return None;
        }
        Some(Self::new(path, limits, config.limits.trigger_ids))
    }

    /// Begins the order of a node: with what the last process saved, or a new one. `has_broker`:
    /// entries were published while the node was away.
    pub(crate) fn begin(
        &self,
        node: &mut Node,
        config: &ServerConfig,
        limits: WindowLimits,
        has_broker: bool,
    ) -> Order {
        let limits_of_ids = config.ids();
        let Some((saved, ago)) = self.take() else {
            return Order::new(node.window.epoch(), limits_of_ids);
        };
        let Saved {
            order,
            ids,
            entries,
        } = saved;
        tracing::info!(
            epoch = %order.epoch,
            position = order.last.get(),
            entries = entries.len(),
            age_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
            "window.file: continuing the order of the last process"
        );
        let key = |tenant, room: &Room| node.interest.key(tenant, room);
        let tenant = |name: &TenantName| node.tenants.id(name);
        let saved = (order, entries);
        let window = NodeWindow::continued(limits, saved, ago, key, tenant, has_broker);
        let ids = ids.into_iter().filter_map(|saved| {
            let id = tenant(&saved.tenant)?.scope(saved.id.into());
            Some((id, saved.position))
        });
        let ids: Vec<_> = ids.collect();
        node.window = Arc::new(window);
        Order::continued(order.epoch, order.last, ids, limits_of_ids)
    }

    /// Saves what nothing is added to any more. Never takes longer than [`SAVE_TIMEOUT`].
    pub(crate) async fn end(self, snapshot: Snapshot) {
        let path = self.path.clone();
        let saving = tokio::task::spawn_blocking(move || {
            let entries = snapshot.entries();
            let saved = self.save(|out| snapshot.write(out));
            saved.map(|bytes| (bytes, entries))
        });
        let saved = match timeout(SAVE_TIMEOUT, saving).await {
            Ok(Ok(saved)) => saved,
            Ok(Err(panicked)) => Err(io::Error::other(panicked)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match saved {
            Ok((bytes, entries)) => tracing::info!(
                file = %path.display(),
                bytes,
                entries,
                "window.file: saved for the next process"
            ),
            Err(error) => tracing::warn!(
                file = %path.display(),
                %error,
                "window.file could not be written: after the restart clients fetch again instead \
                 of recovering. Make its directory writable for the gateway, and look at the disk"
            ),
        }
    }

    /// The file at this path, of a window with these limits and so many ids.
    pub(crate) fn new(path: PathBuf, limits: WindowLimits, ids_max: usize) -> Self {
        let ids = ids_max.saturating_mul(ID_BYTES);
        let bytes = limits.bytes.saturating_mul(LONGER);
        let bytes_max = bytes.saturating_add(ids).saturating_add(EMPTY_BYTES);
        Self {
            path,
            bytes_max: u64::try_from(bytes_max).unwrap_or(u64::MAX),
            age_max: Duration::from_millis(limits.age),
        }
    }

    /// Takes the window that the last process saved, and how long ago that was. `None` if there is
    /// none that can be used: what is wrong is logged.
    pub(crate) fn take(&self) -> Option<(Saved, Duration)> {
        let taken = self.try_take();
        if let Err(error) = self
            .make_temporary()
            .and_then(|_| fs::remove_file(self.temporary()))
        {
            tracing::warn!(
                file = %self.path.display(),
                %error,
                "window.file cannot be written: after the next restart clients will fetch again \
                 instead of recovering. Make its directory writable for the gateway"
            );
        }
        match taken {
            Ok(taken) => taken,
            Err(cause) => {
                tracing::warn!(
                    file = %self.path.display(),
                    %cause,
                    "window.file is ignored: a new epoch begins, and clients fetch again instead \
                     of recovering"
                );
                None
            }
        }
    }

    fn try_take(&self) -> Result<Option<(Saved, Duration)>, Unusable> {
        let read = match self.read() {
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read,
        };
        // Whatever it is: it is never used again. One that stays could be.
        fs::remove_file(&self.path)?;
        self.sync_directory()?;
        let saved = Saved::parse(&read?)?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(saved.order.at);
        let ago = match SystemTime::now().duration_since(at) {
            Ok(ago) => ago,
            Err(ahead) if ahead.duration() <= CLOCK_STEP => Duration::ZERO,
            Err(_) => return Err(Unusable::Future),
        };
        if ago > self.age_max {
            return Err(Unusable::Old);
        }
        Ok(Some((saved, ago)))
    }

    fn read(&self) -> Result<Vec<u8>, Unusable> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Unusable::NotAFile);
        }
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & OTHERS_WRITE != 0 {
            return Err(Unusable::Foreign);
        }
        let mut bytes = Vec::new();
        file.take(self.bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > self.bytes_max {
            return Err(Unusable::TooLong(metadata.len()));
        }
        Ok(bytes)
    }

    /// Saves a window. A file is there only once it is complete.
    ///
    /// # Errors
    /// Those of the file system and of `write`.
    pub(crate) fn save(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut out = BufWriter::new(self.make_temporary()?);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(self.temporary(), &self.path)?;
        self.sync_directory()?;
        Ok(bytes)
    }

    /// A new file beside it, which nobody else has open.
    fn make_temporary(&self) -> io::Result<File> {
        let path = self.temporary();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(MODE).open(path)
    }

    fn temporary(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".new");
        path.into()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests;
