//! File descriptors: clients never get the last ones, which are reserved for the API, the broker
//! and readiness probes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Descriptors that are reserved, if the process may have that many.
const KEPT: u64 = 200;

/// Number of descriptors for clients, and whether they are all in use.
#[derive(Debug)]
pub struct Descriptors {
    /// Maximum number of open descriptors of the process.
    limit: u64,
    /// The first reserved descriptor: the system assigns the lowest that is free, so all below are
    /// in use when it is seen.
    kept_from: u64,
    short: AtomicBool,
}

impl Descriptors {
    /// With the limit that the system sets for this process.
    pub fn of_process() -> Self {
        Self::new(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn new(limit: u64) -> Self {
        Self {
            limit,
            kept_from: limit - KEPT.min(limit / 4),
            short: AtomicBool::new(false),
        }
    }

    /// Checks a descriptor that was just opened. True: from now on there are none for clients.
    pub fn record_opened(&self, opened: &impl AsFd) -> bool {
        self.is_kept(opened) && !self.short.swap(true, Ordering::Relaxed)
    }

    /// Checks an error of `accept`. True: descriptors are exhausted, so that clients must wait.
    pub fn record_error(&self, error: &io::Error) -> bool {
        let errno = Errno::from_io_error(error);
        let lack = matches!(errno, Some(Errno::MFILE | Errno::NFILE));
        self.short.fetch_or(lack, Ordering::Relaxed);
        lack
    }

    /// Whether clients must wait.
    pub fn are_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Checks whether there is one for a client again, by opening one more for a moment.
    pub fn try_again(&self, open: &impl AsFd) -> bool {
        let probe = open.as_fd().try_clone_to_owned();
        let free = probe.is_ok_and(|probe| !self.is_kept(&probe));
        if free {
            self.short.store(false, Ordering::Relaxed);
        }
        free
    }

    /// Why the node may not receive traffic, if that is so.
    pub fn trouble(&self) -> Option<String> {
        let Self { limit, .. } = self;
        self.are_short().then(|| {
            format!("out of file descriptors: this process may open {limit} (LimitNOFILE)")
        })
    }

    fn is_kept(&self, opened: &impl AsFd) -> bool {
        let number = opened.as_fd().as_raw_fd();
        u64::try_from(number).is_ok_and(|number| number >= self.kept_from)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn clients_do_not_get_reserved_descriptors() {
        let open = |_| File::open("/dev/null").unwrap();
        let first: File = open(0);
        let number = u64::try_from(first.as_raw_fd()).unwrap();
        // As if a quarter of these were reserved, the next but three being the first.
        let few = Descriptors::new((number + 3) * 4 / 3 + 1);
        let mut opened: Vec<_> = Vec::new();
        while !opened.iter().any(|file| few.record_opened(file)) {
            assert!(!few.are_short());
            opened.push(open(0));
            assert!(opened.len() < 1_000);
        }
        assert!(few.are_short());
        assert!(!few.try_again(&first));
        assert!(few.trouble().is_some());
        // It is reported once.
        assert!(!opened.iter().any(|file| few.record_opened(file)));
        opened.clear();
        assert!(few.try_again(&first));
        assert!(!few.are_short());
        assert_eq!(few.trouble(), None);
    }

    #[test]
    fn only_descriptor_exhaustion_makes_clients_wait() {
        let plenty = Descriptors::new(u64::MAX);
        for (errno, lack) in [
            (Errno::NOMEM, false),
            (Errno::CONNABORTED, false),
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::PERM, false),
        ] {
            assert_eq!(plenty.record_error(&errno.into()), lack, "{errno}");
            assert!(plenty.try_again(&io::stderr()));
        }
        plenty.record_error(&Errno::MFILE.into());
        assert!(plenty.are_short());
        plenty.record_error(&Errno::PERM.into());
        assert!(plenty.are_short());
    }
}
