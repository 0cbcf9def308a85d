//! Process metrics (`process_*`), by the names that Prometheus' client libraries use.

use std::fs;
use std::sync::OnceLock;

/// A snapshot of the process. Values that the system does not report are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
    pub(super) start_seconds: Option<f64>,
    pub(super) threads: Option<f64>,
}

/// Fields of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    /// User and system time, in clock ticks.
    cpu: u64,
    threads: u64,
    /// Start time in clock ticks since boot.
    start: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    /// Reads the values of this process. Blocks: counting many open files takes time.
    pub(super) fn look() -> Self {
        let stat = fs::read_to_string("/proc/self/stat");
        let stat = stat.ok().and_then(|text| Stat::parse(&text));
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as f64;
        Self {
            cpu_seconds: stat.map(|stat| stat.cpu as f64 / ticks),
            resident_bytes: stat.map(|stat| stat.resident_pages as f64 * page),
            virtual_bytes: stat.map(|stat| stat.virtual_bytes as f64),
            open_fds: open_fds().map(|count| count as f64),
            max_fds: max_fds().map(|max| max as f64),
            start_seconds: stat.and_then(|stat| start_seconds(stat.start as f64 / ticks)),
            threads: stat.map(|stat| stat.threads as f64),
        }
    }
}

impl Stat {
    /// See proc_pid_stat(5).
    fn parse(text: &str) -> Option<Self> {
        // The program name may contain blanks and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        // The state, which is the first field after the name, is field 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: number(14)?.checked_add(number(15)?)?,
            threads: number(20)?,
            start: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

fn open_fds() -> Option<usize> {
    // From Linux 6.2 on the size is the count; before it is zero.
    let counted = fs::metadata("/proc/self/fd").ok()?.len();
    if counted > 0 {
        return usize::try_from(counted).ok();
    }
    // One of them is the descriptor of this directory.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1))
}

#[cfg(unix)]
fn max_fds() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Start time of the process in Unix time, from its seconds since boot. Computed once, so that
/// setting the clock does not change it.
fn start_seconds(after_boot: f64) -> Option<f64> {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    *START.get_or_init(|| Some(booted_seconds()? + after_boot))
}

/// Boot time in Unix time. Not read from `/proc/stat`, which systemd's `ProcSubset=pid` hides.
#[cfg(target_os = "linux")]
fn booted_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let seconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    Some(seconds(ClockId::Realtime) - seconds(ClockId::Boottime))
}

#[cfg(not(target_os = "linux"))]
fn booted_seconds() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn fields_are_found_after_any_program_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 1234 66 13 14 15 16 17 0 5000 999424 321 18 19";
        let expected = Stat {
            cpu: 1_300,
            threads: 17,
            start: 5_000,
            virtual_bytes: 999_424,
            resident_pages: 321,
        };
        for name in ["high-templar", "a) b (c", ") S 1 2"] {
            let text = format!("4711 ({name}) {fields}\n");
            assert_eq!(Stat::parse(&text), Some(expected), "{name}");
        }
        for text in ["", "4711 (x)", "4711 (x) S 1 2 3", "4711 x S"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn values_of_this_process_match_the_system() {
        let before = Process::look();
        let files: Vec<_> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = Process::look();
        // Other tests open and close files in this process, too, if they share one.
        assert!(after.open_fds.unwrap() >= files.len() as f64);
        assert!(after.open_fds < after.max_fds, "{after:?}");
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert!(after.threads.unwrap() >= 1.0);
        assert!(
            after.resident_bytes.unwrap() > 100_000.0 && after.resident_bytes < after.virtual_bytes
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - after.start_seconds.unwrap();
        assert!((-1.0..3_600.0).contains(&age), "{age}");
        assert_eq!(before.start_seconds, after.start_seconds);
    }
}
