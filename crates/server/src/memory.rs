//! The process's memory: when it gets short, newcomers and triggers are turned away first, and
//! those who are here go on.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::inbox;
use crate::live::Live;
use crate::node::Node;

/// How often the process is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// The process's memory as of the last look.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    resident: AtomicU64,
    limit: AtomicU64,
    short: AtomicBool,
}

impl Memory {
    /// What is resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Whether more is resident than may be.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// A sentence for `/ready` while it is short.
    pub(crate) fn reason(&self) -> Option<String> {
        let mib = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) >> 20;
        self.is_short().then(|| {
            let (resident, limit) = (mib(&self.resident), mib(&self.limit));
            format!(
                "memory: {resident} MiB are in use, limits.memory_bytes is {limit} MiB; visitors \
                 and triggers are turned away"
            )
        })
    }

    /// Takes note of a look; answers whether it changed what is done.
    fn note(&self, resident: u64, limit: u64) -> bool {
        self.resident.store(resident, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        let before = self.is_short();
        let now = is_short(before, resident, limit);
        self.short.store(now, Ordering::Relaxed);
        now != before
    }
}

/// Whether memory is short. It is over only when a tenth is free again: else newcomers would be
/// let in and turned away in turns.
fn is_short(before: bool, resident: u64, limit: u64) -> bool {
    let bound = if before { limit - limit / 10 } else { limit };
    limit != 0 && resident > bound
}

/// Looks at the process's memory until `shutdown`.
pub(crate) async fn watch(
    node: Arc<Node>,
    live: Live,
    shards: Vec<inbox::Sender>,
    shutdown: CancellationToken,
) {
    let allowance = allowance();
    loop {
        let limit = live.now().limits.memory_bounds(allowance).process as u64;
        if node.accounts.is_over() {
            // The shard whose clients hold most may be asleep.
            for shard in &shards {
                shard.wake();
            }
        }
        if let Some(resident) = resident()
            && node.memory.note(resident, limit)
        {
            if node.memory.is_short() {
                tracing::warn!(
                    resident,
                    limit,
                    "memory is short: turning visitors and triggers away"
                );
            } else {
                tracing::info!(resident, limit, "memory is no longer short");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// What of this process is in memory.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib(&status, "VmRSS:")
}

/// Memory that this process may have, in bytes: the least of the machine's memory and of the limits
/// of the control groups that it is in. None where the system does not say.
#[must_use]
pub fn allowance() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = group_files(&groups).into_iter().filter_map(|file| {
        // "max", where there is no limit, is no number.
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    let least = machine.into_iter().chain(groups).min()?;
    Some(usize::try_from(least).unwrap_or(usize::MAX))
}

/// The files that may hold a limit, for a process in these control groups: of each group and of
/// all above it.
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

/// The number behind `name` in a text of lines such as `VmRSS:  123 kB`, in bytes.
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
            assert_eq!(memory.note(resident, 100), changes, "{resident}");
            assert_eq!(memory.is_short(), short, "{resident}");
            assert_eq!(memory.reason().is_some(), short);
        }
        assert!(!memory.note(u64::MAX, 0));
        assert_eq!(memory.resident(), u64::MAX);
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
    fn the_system_says_what_this_process_has_and_may_have() {
        let (resident, allowance) = (resident().unwrap(), allowance().unwrap());
        assert!(
            resident > 100 << 10 && resident < allowance as u64,
            "{resident} {allowance}"
        );
    }
}
