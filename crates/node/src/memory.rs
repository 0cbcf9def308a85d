//! The process's memory: when it gets short, new connections and triggers are rejected first, and
//! open connections are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The process's memory at the last sample.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    resident: AtomicU64,
    /// What is allocated, if the allocator reports it; else what is resident.
    allocated: AtomicU64,
    limit: AtomicU64,
    short: AtomicBool,
}

impl Memory {
    /// What is resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// What is allocated, in bytes; what is resident if that is not known.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Whether more is used than allowed.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// A sentence for `/ready` while it is short.
    pub(crate) fn reason(&self) -> Option<String> {
        let mib = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) >> 20;
        self.is_short().then(|| {
            let (resident, limit) = (mib(&self.resident), mib(&self.limit));
            format!(
                "memory: {resident} MiB are in use, limits.memory_bytes is {limit} MiB; new clients \
                 and triggers are rejected"
            )
        })
    }

    /// Whether the allocated memory decides: while less is resident than allowed, it does not.
    pub(crate) fn needs_allocated(&self, resident: u64, limit: u64) -> bool {
        self.is_short() || (limit != 0 && resident > limit)
    }

    /// Records a sample; returns whether the state changed.
    pub(crate) fn note(&self, resident: u64, allocated: Option<u64>, limit: u64) -> bool {
        self.resident.store(resident, Ordering::Relaxed);
        let known = allocated.unwrap_or(resident);
        self.allocated.store(known, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        let before = self.is_short();
        let now = is_short(before, used(resident, allocated), limit);
        self.short.store(now, Ordering::Relaxed);
        now != before
    }
}

/// Memory in use. The allocator retains freed memory for a while, and returns no page that still
/// contains an allocation: by resident memory alone an empty node would remain short of memory. So
/// it counts at most the allocated memory plus a quarter for the allocator's own overhead.
fn used(resident: u64, allocated: Option<u64>) -> u64 {
    allocated.map_or(resident, |bytes| {
        resident.min(bytes.saturating_add(bytes / 4))
    })
}

/// Whether memory is short. The state ends only when a tenth is free again: otherwise new
/// connections would alternately be admitted and rejected.
fn is_short(before: bool, used: u64, limit: u64) -> bool {
    let bound = if before { limit - limit / 10 } else { limit };
    limit != 0 && used > bound
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib(&status, "VmRSS:")
}

/// Memory that this process may have, in bytes: the minimum of the machine's memory and of the
/// limits of its control groups. None if the system does not report it.
#[must_use]
pub fn allowance() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib(&text, "MemTotal:"));
    // A service may see only the files of its own process (systemd's ProcSubset=pid).
    let machine = machine.or_else(machine_bytes);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = group_files(&groups).into_iter().filter_map(|file| {
        // "max", which means no limit, is not a number.
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    let least = machine.into_iter().chain(groups).min()?;
    Some(usize::try_from(least).unwrap_or(usize::MAX))
}

/// Memory of the machine, from the system call.
#[cfg(target_os = "linux")]
#[allow(
    clippy::useless_conversion,
    reason = "the field has 32 bits on some machines"
)]
fn machine_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    let bytes = u64::from(info.totalram).checked_mul(u64::from(info.mem_unit))?;
    (bytes > 0).then_some(bytes)
}

#[cfg(not(target_os = "linux"))]
fn machine_bytes() -> Option<u64> {
    None
}

/// The files that may hold a limit, for a process in these control groups: of each group and of all
/// its ancestors.
fn group_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        let above = path.ancestors();
        files.extend(above.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// The number after `name` in a text of lines such as `VmRSS:  123 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_above_the_limit_and_until_a_tenth_is_free() {
        let memory = Memory::default();
        for (resident, changes, short) in [
            (100, false, false),
            (101, true, true),
            (91, false, true),
            (90, true, false),
            (100, false, false),
        ] {
            assert_eq!(memory.note(resident, None, 100), changes, "{resident}");
            assert_eq!(memory.is_short(), short, "{resident}");
            assert_eq!(memory.reason().is_some(), short);
        }
        assert!(!memory.note(u64::MAX, None, 0));
        assert_eq!(memory.resident(), u64::MAX);
    }

    #[test]
    fn resident_memory_that_is_not_allocated_does_not_keep_it_short() {
        let memory = Memory::default();
        for (resident, allocated, short) in [
            (120, 90, true),
            // All clients have disconnected: the allocator still has the pages.
            (120, 73, true),
            (120, 72, false),
            (120, 20, false),
            (101, 80, false),
            (102, 82, true),
            (85, 99, false),
        ] {
            // If it is not sampled, it changes nothing.
            if !memory.needs_allocated(resident, 100) {
                for allocated in [0, allocated, 1_000] {
                    assert!(!memory.note(resident, Some(allocated), 100));
                }
            }
            memory.note(resident, Some(allocated), 100);
            assert_eq!(memory.is_short(), short, "{resident} {allocated}");
            assert_eq!(
                (memory.resident(), memory.allocated()),
                (resident, allocated)
            );
        }
    }

    #[test]
    fn control_groups_of_both_versions_are_found() {
        let files = |groups| {
            let files = group_files(groups).into_iter();
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            files("0::/system.slice/x.service\n"),
            [
                "/sys/fs/cgroup/system.slice/x.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("12:cpu,cpuacct:/a\n4:memory:/a\n"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert!(files("0:\nrubbish\n").is_empty());
    }

    #[test]
    fn the_system_reports_usage_and_limit_of_this_process() {
        let (resident, allowance) = (resident_bytes().unwrap(), allowance().unwrap());
        assert!(
            resident > 100 << 10 && resident < allowance as u64,
            "{resident} {allowance}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_the_machine_is_known_without_a_file() {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        assert_eq!(machine_bytes(), kib(&text, "MemTotal:"));
    }
}
