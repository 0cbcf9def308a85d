//! What each tenant has used within the current hour: for bills. Without a clock and a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use ht_proto::tenant::TenantName;
use jiff::Timestamp;
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_hours(1);

/// An hour, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(u64);

impl Hour {
    /// The hour of a time.
    pub(crate) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self(since.unwrap_or_default().as_secs() / HOUR.as_secs())
    }

    /// When it begins.
    pub(crate) fn begin(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.saturating_mul(HOUR.as_secs()))
    }

    /// When it ends.
    pub(crate) fn end(self) -> SystemTime {
        self.begin() + HOUR
    }

    /// The hour with this text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let begin: Timestamp = format!("{text}:00:00Z").parse().ok()?;
        let hour = Self(u64::try_from(begin.as_second()).ok()? / HOUR.as_secs());
        (hour.to_string() == text).then_some(hour)
    }
}

impl fmt::Display for Hour {
    /// As `2026-11-30T12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = instant(self.begin());
        f.write_str(text.get(..13).unwrap_or(&text))
    }
}

/// A time, to the second, as `2026-11-30T12:41:00Z`.
fn instant(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = i64::try_from(since.unwrap_or_default().as_secs()).ok();
    let timestamp = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let timestamp = timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Counters of a tenant that only grow while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) connection_ms: u64,
    pub(crate) messages_in: u64,
    pub(crate) triggers: u64,
    pub(crate) publications: u64,
    pub(crate) deliveries: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bootstrap_calls: u64,
}

/// The most of something since it was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    pub(crate) connections: u64,
    pub(crate) window_bytes: u64,
}

impl Peaks {
    fn max(self, other: Self) -> Self {
        Self {
            connections: self.connections.max(other.connections),
            window_bytes: self.window_bytes.max(other.window_bytes),
        }
    }
}

/// The usage of all tenants within one hour.
#[derive(Debug)]
pub(crate) struct Ledger {
    node: String,
    boot: String,
    hour: Hour,
    accounts: BTreeMap<TenantName, Account>,
}

/// The usage of one tenant.
#[derive(Debug, Default)]
struct Account {
    /// When the hour began.
    begin: Sums,
    now: Sums,
    peaks: Peaks,
}

impl Ledger {
    /// Of this run of a node, in the hour of `now`.
    pub(crate) fn new(node: &str, boot: &str, now: SystemTime) -> Self {
        Self {
            node: node.to_owned(),
            boot: boot.to_owned(),
            hour: Hour::of(now),
            accounts: BTreeMap::new(),
        }
    }

    /// The current hour.
    pub(crate) fn hour(&self) -> Hour {
        self.hour
    }

    /// Whether another hour has begun. A clock that is set back begins none: what is used until it
    /// has caught up is of the current hour.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        Hour::of(now) > self.hour
    }

    /// What a tenant has used since the process started, and its peaks since they were last noted.
    pub(crate) fn note(&mut self, tenant: &TenantName, sums: Sums, peaks: Peaks) {
        let account = match self.accounts.get_mut(tenant) {
            Some(account) => account,
            None => self.accounts.entry(tenant.clone()).or_default(),
        };
        account.now = sums;
        account.peaks = account.peaks.max(peaks);
    }

    /// A line of JSON for each tenant that has used something. `until`: when that was noted.
    /// `is_complete`: nothing will be added.
    pub(crate) fn lines(&self, until: SystemTime, is_complete: bool) -> String {
        let mut lines = String::new();
        for (tenant, account) in &self.accounts {
            if let Some(record) = self.record(tenant, account, until, is_complete) {
                lines.push_str(&record.to_string());
                lines.push('\n');
            }
        }
        lines
    }

    fn record(
        &self,
        tenant: &TenantName,
        account: &Account,
        until: SystemTime,
        is_complete: bool,
    ) -> Option<Value> {
        let Account {
            begin, now, peaks, ..
        } = account;
        if now == begin && *peaks == Peaks::default() {
            return None;
        }
        let (hour, node, boot) = (self.hour, &self.node, &self.boot);
        // Whole seconds of the sums, so that no part of a second is lost between two hours.
        let seconds = now.connection_ms / 1_000 - begin.connection_ms / 1_000;
        Some(json!({
            "id": format!("{tenant}/{hour}/{node}/{boot}"),
            "tenant": tenant.as_str(),
            "hour": instant(hour.begin()),
            "node": node,
            "boot": boot,
            "until": instant(until.clamp(hour.begin(), hour.end())),
            "complete": is_complete,
            "connection_seconds": seconds,
            "connections_peak": peaks.connections,
            "messages_in": now.messages_in - begin.messages_in,
            "triggers": now.triggers - begin.triggers,
            "publications": now.publications - begin.publications,
            "deliveries": now.deliveries - begin.deliveries,
            "bytes_out": now.bytes_out - begin.bytes_out,
            "bootstrap_calls": now.bootstrap_calls - begin.bootstrap_calls,
            "window_bytes_peak": peaks.window_bytes,
        }))
    }

    /// The hour of `now` begins, with nothing used.
    pub(crate) fn begin(&mut self, now: SystemTime) {
        self.hour = self.hour.max(Hour::of(now));
        for account in self.accounts.values_mut() {
            account.begin = account.now;
            account.peaks = Peaks::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        let since = text.parse::<Timestamp>().unwrap().as_millisecond();
        SystemTime::UNIX_EPOCH + Duration::from_millis(since.try_into().unwrap())
    }

    fn sums(count: u64) -> Sums {
        Sums {
            connection_ms: count * 1_000 + 999,
            messages_in: count,
            triggers: count,
            publications: count,
            deliveries: count,
            bytes_out: count,
            bootstrap_calls: count,
        }
    }

    fn records(ledger: &Ledger, until: SystemTime) -> Vec<Value> {
        let lines = ledger.lines(until, false);
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn an_hour_has_a_text_and_bounds() {
        let hour = Hour::of(at("2026-11-30T12:59:59.9Z"));
        assert_eq!(hour.to_string(), "2026-11-30T12");
        assert_eq!(hour.begin(), at("2026-11-30T12:00:00Z"));
        assert_eq!(hour.end(), at("2026-11-30T13:00:00Z"));
        assert_eq!(Hour::parse("2026-11-30T12"), Some(hour));
        for text in [
            "",
            "2026-11-30",
            "2026-11-30T25",
            "2026-11-30T1",
            "x",
            "2026-11-30T12:00",
        ] {
            assert_eq!(Hour::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_hour_has_what_was_used_in_it() {
        let (acme, idle) = ("acme".parse().unwrap(), "idle".parse().unwrap());
        let mut ledger = Ledger::new("a", "b00t", at("2026-11-30T12:10:00Z"));
        let peaks = |connections| Peaks {
            connections,
            window_bytes: 10 * connections,
        };
        ledger.note(&acme, sums(0), peaks(7));
        ledger.note(&acme, sums(5), peaks(3));
        ledger.note(&idle, Sums::default(), Peaks::default());
        let until = at("2026-11-30T12:41:00.7Z");
        assert!(!ledger.is_over(until));
        let expected = json!({
            "id": "acme/2026-11-30T12/a/b00t",
            "tenant": "acme",
            "hour": "2026-11-30T12:00:00Z",
            "node": "a",
            "boot": "b00t",
            "until": "2026-11-30T12:41:00Z",
            "complete": false,
            "connection_seconds": 5,
            "connections_peak": 7,
            "messages_in": 5,
            "triggers": 5,
            "publications": 5,
            "deliveries": 5,
            "bytes_out": 5,
            "bootstrap_calls": 5,
            "window_bytes_peak": 70,
        });
        assert_eq!(records(&ledger, until), [expected]);

        let next = at("2026-11-30T13:00:00.2Z");
        assert!(ledger.is_over(next));
        let last = &records(&ledger, next)[0];
        assert_eq!(last["until"], "2026-11-30T13:00:00Z");
        ledger.begin(next);
        assert_eq!(records(&ledger, next), [] as [Value; 0]);
        ledger.note(&acme, sums(12), peaks(2));
        let record = &records(&ledger, at("2026-11-30T13:01:00Z"))[0];
        assert_eq!(record["id"], "acme/2026-11-30T13/a/b00t");
        assert_eq!(
            (&record["deliveries"], &record["connections_peak"]),
            (&json!(7), &json!(2))
        );
        assert_eq!(record["connection_seconds"], 7);
    }

    #[test]
    fn a_clock_that_is_set_back_begins_no_hour() {
        let acme = "acme".parse().unwrap();
        let mut ledger = Ledger::new("a", "b00t", at("2026-11-30T13:00:01Z"));
        let before = at("2026-11-30T12:59:59Z");
        assert!(!ledger.is_over(before));
        ledger.note(&acme, sums(5), Peaks::default());
        let record = &records(&ledger, before)[0];
        assert_eq!(record["hour"], "2026-11-30T13:00:00Z");
        assert_eq!(record["until"], "2026-11-30T13:00:00Z");
        ledger.begin(before);
        assert_eq!(ledger.hour().to_string(), "2026-11-30T13");
        assert!(ledger.is_over(at("2026-11-30T14:00:00Z")));
    }
}
