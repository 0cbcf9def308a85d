//! File descriptors: clients never get the last ones, which belong to the API, the broker and
//! whoever asks whether this node is ready.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Descriptors that are kept from clients, where the process may have that many.
const KEPT: u64 = 200;

/// How many descriptors there are for clients, and whether they are all in use.
#[derive(Debug)]
pub struct Descriptors {
    /// What the process may have open.
    limit: u64,
    /// The first descriptor that is kept from clients: the system gives out the lowest that is
    /// free, so all below are in use when it is seen.
    kept_from: u64,
    short: AtomicBool,
}

impl Descriptors {
    /// As the system limits this process.
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

    /// Looks at a descriptor that was just opened. True: from now on there are none for clients.
    pub fn record_opened(&self, opened: &impl AsFd) -> bool {
        self.is_kept(opened) && !self.short.swap(true, Ordering::Relaxed)
    }

    /// Looks at an error of `accept`. True: it is a lack of descriptors, so that clients must wait.
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

    /// Looks whether there is one for a client again, by opening one more for a moment.
    pub fn try_again(&self, open: &impl AsFd) -> bool {
        let probe = open.as_fd().try_clone_to_owned();
        let free = probe.is_ok_and(|probe| !self.is_kept(&probe));
        if free {
            self.short.store(false, Ordering::Relaxed);
        }
        free
    }

    /// Why the node may not get traffic, if that is so.
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
    fn visitors_do_not_get_the_last_ones() {
        let open = |_| File::open("/dev/null").unwrap();
        let first: File = open(0);
        let number = u64::try_from(first.as_raw_fd()).unwrap();
        // As if a quarter of these were kept, the next but three being the first.
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
        // It is told once.
        assert!(!opened.iter().any(|file| few.record_opened(file)));
        opened.clear();
        assert!(few.try_again(&first));
        assert!(!few.are_short());
        assert_eq!(few.trouble(), None);
    }

    #[test]
    fn only_a_lack_makes_visitors_wait() {
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
