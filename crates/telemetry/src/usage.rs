//! Resource usage of a process, as reported by the kernel: the same method for every server.

use std::collections::HashMap;
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// Reads the CPU time of a process, in nanoseconds, from the run times of its threads.
///
/// The counters in `/proc/PID/stat` move in steps of 10 ms, too coarse for a short run; those of
/// the threads are exact. They contain the work of the kernel on the thread's behalf: on
/// loopback that is also the receiver's side of a send.
#[derive(Debug)]
pub struct CpuClock {
    pid: u32,
    with_children: bool,
    // A thread that ended keeps its last figure.
    threads: HashMap<u32, u64>,
}

/// CPU time of a process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// User and system time together, exact.
    pub total: Duration,
    /// User time, in steps of 10 ms.
    pub user: Duration,
    /// System time, in steps of 10 ms.
    pub system: Duration,
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

impl CpuClock {
    /// A clock for the process `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            with_children: false,
            threads: HashMap::new(),
        }
    }

    /// A clock for the process `pid` and all its descendants.
    #[must_use]
    pub fn of_family(pid: u32) -> Self {
        Self {
            with_children: true,
            ..Self::new(pid)
        }
    }

    /// What the process has used until now.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn read(&mut self) -> io::Result<Cpu> {
        let mut cpu = self.read_one(self.pid)?;
        if self.with_children {
            for child in descendants(self.pid)? {
                // It may have ended since.
                if let Ok(more) = self.read_one(child) {
                    cpu.user += more.user;
                    cpu.system += more.system;
                }
            }
        }
        cpu.total = Duration::from_nanos(self.threads.values().sum());
        Ok(cpu)
    }

    fn read_one(&mut self, pid: u32) -> io::Result<Cpu> {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            let thread: Option<u32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
            let ran: Option<u64> = text.split(' ').next().and_then(|ns| ns.parse().ok());
            if let (Some(thread), Some(ran)) = (thread, ran) {
                let known: &mut u64 = self.threads.entry(thread).or_default();
                *known = ran.max(*known);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (user, system) = parse_stat(&stat).ok_or_else(|| unreadable("stat"))?;
        Ok(Cpu {
            total: Duration::ZERO,
            user,
            system,
        })
    }
}

/// The children of a process, their children, and so on.
fn descendants(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    // Missing if the kernel was built without it: then descendants are not known.
    let mut children = children(pid)?;
    while let Some(child) = children.pop() {
        found.push(child);
        // It may have ended since.
        children.extend(self::children(child).unwrap_or_default());
    }
    Ok(found)
}

fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(entry?.path().join("children")) else {
            continue;
        };
        found.extend(
            text.split_ascii_whitespace()
                .filter_map(|p| p.parse::<u32>().ok()),
        );
    }
    Ok(found)
}

/// User and system time from `/proc/PID/stat`. The name in parentheses may contain anything.
fn parse_stat(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || {
        // The unit is fixed at 1/100 s on Linux.
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks * 10))
    };
    Some((ticks()?, ticks()?))
}

/// Memory of a process, in bytes, from `/proc/PID/smaps_rollup`. Kernel memory (socket buffers)
/// is not in it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// All resident pages, code included.
    pub rss: u64,
    /// Anonymous pages: heap and stacks.
    pub anonymous: u64,
}

impl Memory {
    /// Current memory of the process `pid`.
    ///
    /// # Errors
    /// If the process has ended or its memory may not be read.
    pub fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        parse_rollup(&text).ok_or_else(|| unreadable("smaps_rollup"))
    }

    /// Current memory of the process `pid` and all its descendants. Shared pages count once for
    /// each.
    ///
    /// # Errors
    /// If the process has ended or its memory may not be read.
    pub fn read_family(pid: u32) -> io::Result<Self> {
        let mut sum = Self::read(pid)?;
        for child in descendants(pid)? {
            // It may have ended since.
            let more = Self::read(child).unwrap_or_default();
            sum.rss += more.rss;
            sum.anonymous += more.anonymous;
        }
        Ok(sum)
    }
}

/// The peak memory of a process since a moment.
#[derive(Debug)]
pub struct Peak {
    pid: u32,
}

impl Peak {
    /// Starts now.
    #[must_use]
    pub fn begin(pid: u32) -> Self {
        // If the system does not allow a reset, the peak is that of the whole process: more.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        Self { pid }
    }

    /// The most resident bytes since then.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn read(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        kilobytes(&text, "VmHWM:").ok_or_else(|| unreadable("status"))
    }
}

/// The bytes of a line such as `Rss:   12 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn parse_rollup(text: &str) -> Option<Memory> {
    Some(Memory {
        rss: kilobytes(text, "Rss:")?,
        anonymous: kilobytes(text, "Anonymous:")?,
    })
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot read {what}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::process::Stdio;
    use std::time::Instant;

    use super::*;

    #[test]
    fn own_work_is_measured() {
        let mut clock = CpuClock::new(std::process::id());
        let before = clock.read().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut sum = 0u64;
        loop {
            (0..1_000_000u64).for_each(|i| sum = std::hint::black_box(sum.wrapping_add(i)));
            let used = clock.read().unwrap() - before;
            if used.total >= Duration::from_millis(30) && used.user >= Duration::from_millis(10) {
                break;
            }
            assert!(Instant::now() < deadline, "no CPU time seen: {used:?}");
        }
    }

    #[test]
    fn the_usage_of_a_family_includes_descendants() {
        // The shell stays and waits for its child, which waits for us.
        let mut shell = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while descendants(shell.id()).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "no child seen");
        }
        let alone = Memory::read(shell.id()).unwrap();
        let family = Memory::read_family(shell.id()).unwrap();
        let mut clock = CpuClock::of_family(shell.id());
        clock.read().unwrap();
        let threads = clock.threads.len();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(family.rss > alone.rss, "{family:?} {alone:?}");
        assert_eq!(threads, 2);
    }

    #[test]
    fn the_usage_of_an_ended_thread_is_kept() {
        let mut clock = CpuClock::new(std::process::id());
        clock.threads.insert(u32::MAX, 5_000_000_000);
        assert!(clock.read().unwrap().total >= Duration::from_secs(5));
    }

    #[test]
    fn stat_with_an_awkward_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0";
        let expected = (Duration::from_millis(1500), Duration::from_millis(250));
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat("12 (a) S 1"), None);
    }

    #[test]
    fn a_peak_is_reported_after_it_has_passed() {
        let before = Memory::read(std::process::id()).unwrap().rss;
        let peak = Peak::begin(std::process::id());
        let many = vec![1u8; 32 << 20];
        assert_eq!(std::hint::black_box(&many)[1], 1);
        drop(many);
        assert!(peak.read().unwrap() > before + (16 << 20));
    }

    #[test]
    fn memory_is_read() {
        let memory = Memory::read(std::process::id()).unwrap();
        assert!(memory.rss >= memory.anonymous && memory.anonymous > 0);
        assert!(parse_rollup("Rss: x kB\nAnonymous: 1 kB\n").is_none());
    }
}
