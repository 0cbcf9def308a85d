//! Bounds of the gateway's figures.

use std::fmt::Write;

use super::table::Series;
use super::{COALESCING, GATEWAY, Page, REFERENCE, short};
use crate::outcome::{Outcome, Resuming};
use crate::publish::Published;

/// `limits.outbox_bytes`, in MB.
const OUTBOX_MB: f64 = 1.048_576;

/// `backend.max_in_flight` by default.
const CALLS_MAX: f64 = 64.0;

/// What a turn of a thread may take, in ms.
const TURN_MS: f64 = 20.0;

/// A figure of the gateway whose median must not exceed a limit.
struct Bound {
    what: String,
    found: Series,
    limit: f64,
}

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let mut lines = String::new();
    for bound in page.all_bounds() {
        if let Some(median) = bound.found.median() {
            let verdict = if median <= bound.limit {
                "held"
            } else {
                "**missed**"
            };
            let _ = writeln!(
                lines,
                "| {} | {} | {} | {verdict} |",
                bound.what,
                bound.found.with_spread(),
                short(bound.limit)
            );
        }
    }
    if !lines.is_empty() {
        out.push_str(
            "\n## Bounds\n\nThe gateway with one thread, unless stated otherwise: the median of \
             the rounds, with the smallest and the largest in brackets.\n\n\
             | what | found | at most | |\n|---|---|---|---|\n",
        );
        out.push_str(&lines);
    }
}

impl Page<'_> {
    fn all_bounds(&self) -> Vec<Bound> {
        let mut all = Vec::new();
        self.delivery_bounds(&mut all);
        self.connection_bounds(&mut all);
        self.slow_bounds(&mut all);
        self.rights_bounds(&mut all);
        self.publish_bounds(&mut all);
        self.resume_bounds(&mut all);
        all
    }

    fn delivery_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        for (workload, what) in [
            (
                "fan1k",
                "CPU per delivery to 1,000 at 20,000/s, × floor-write",
            ),
            (
                "fan5k",
                "CPU per delivery to 5,000 at 20,000/s, × floor-write",
            ),
        ] {
            add(what, self.cpu_ratio(workload, GATEWAY, REFERENCE), 1.10);
        }
        for (workload, what) in [
            (
                "fan1k-max",
                "CPU per delivery to 1,000 flat out, × floor-coalesce",
            ),
            (
                "fan5k-max",
                "CPU per delivery to 5,000 flat out, × floor-coalesce",
            ),
        ] {
            add(what, self.cpu_ratio(workload, GATEWAY, COALESCING), 1.30);
        }
        let what = "CPU per unicast delivery at 2,000/s, × floor-write";
        add(what, self.cpu_ratio("uni5k", GATEWAY, REFERENCE), 1.50);
        for threads in [2, 4] {
            let server = format!("{GATEWAY}, {threads} threads");
            for (workload, kind) in [("fan1k", "fan-out to 1,000"), ("uni5k", "unicast")] {
                let what = format!("CPU per delivery with {threads} threads, {kind}, × one thread");
                add(&what, self.cpu_ratio(workload, &server, GATEWAY), 1.05);
            }
        }
        let deflated = self.cpu("deflate", GATEWAY);
        let what = "CPU per compressed delivery, × uncompressed";
        add(what, deflated.over(&self.cpu("json", GATEWAY)), 1.25);
    }

    fn connection_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        let of = |workload: &str, figure: fn(&Outcome) -> Option<f64>| {
            self.series(workload, GATEWAY, figure)
        };
        for (workload, what) in [
            (
                "idle10k",
                "resident bytes per idle connection, 10,000 of them",
            ),
            (
                "idle19k",
                "resident bytes per idle connection, 19,000 of them",
            ),
        ] {
            add(what, of(workload, |o| Some(o.joining.rss_bytes)), 1_200.0);
        }
        let further = of("many", |o| o.subscribing.map(|s| s.rss_bytes));
        add("resident bytes per further subscription", further, 400.0);
        let pinging = of("idle10k", |o| {
            Some(o.idling?.pinging.as_ref()?.cores * 100.0)
        });
        let what = "% of a core while 10,000 connections ping every 30 s";
        add(what, pinging, 1.5);
        let call = of("storm", |o| o.storming?.backend_call_us).median();
        let called = call.map_or_else(String::new, |us| {
            format!(", of which the backend call by itself {}", short(us))
        });
        let what = format!("µs CPU for connect, bootstrap and subscribe{called}");
        add(&what, of("storm", |o| Some(o.storming?.join_us)), 150.0);
    }

    fn rights_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        let resident = |workload| self.series(workload, GATEWAY, |o| Some(o.joining.rss_bytes));
        let kept = |workload| self.series(workload, GATEWAY, |o| o.credentials_bytes);
        let (on, off) = ("identity", "identity-off");
        let what = "resident bytes per idle connection with a user, a session and two labels";
        add(what, resident(off), 1_200.0);
        let what = "resident bytes that its kept credentials add";
        add(what, resident(on).less(&resident(off)), 800.0);
        add("kept credentials, counted", kept(on), 800.0);
        let what = "kept credentials with `permissions.recheck` off";
        add(what, kept(off), 0.0);
        for (workload, what) in [
            ("within", "an invalidate of 18,050 within 11 s"),
            ("within60", "an invalidate of 18,050 within 60 s"),
        ] {
            let most = self.series(workload, GATEWAY, |o| {
                Some(o.invalidating.as_ref()?.in_flight_most as f64)
            });
            add(
                &format!("calls of the API in flight, {what}"),
                most,
                CALLS_MAX,
            );
            let p99 = self.spans(workload, GATEWAY, |s| s.p99_us.1 / s.p99_us.0);
            add(
                &format!("p99 of others during {what}, × without it"),
                p99,
                1.20,
            );
        }
    }

    fn resume_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        let of = |figure: fn(&Resuming) -> f64| {
            self.series("resume10k", GATEWAY, |o| o.resuming.as_ref().map(figure))
        };
        let what = "p99 of others while 10,000 clients resume at once, × without them";
        add(what, of(|r| r.p99_us.1 / r.p99_us.0), 2.0);
        let what = "ms of the longest turn meanwhile";
        add(what, of(|r| r.longest_turn_us / 1e3), TURN_MS);
    }

    fn publish_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        let what = "µs CPU of a trigger that nobody subscribed to, of a stream";
        add(what, self.published(|one| one.ingest.cpu_us), 20.0);
        let what = "publications a second past a gateway with a stream, × through it";
        let ratio = |one: &Published| one.bare.per_second / one.gateway.per_second;
        add(what, self.published(ratio), 1.25);
        let what = "the same, past it and read back, × through it";
        let ratio = |one: &Published| one.read_back.per_second / one.gateway.per_second;
        add(what, self.published(ratio), 1.25);
        let what = "ms that `POST /trigger/` takes longer than a bare confirm, p50";
        let longer = |one: &Published| (one.gateway.p50_us - one.bare.p50_us) / 1e3;
        add(what, self.published(longer), 1.5);
    }

    fn slow_bounds(&self, all: &mut Vec<Bound>) {
        let mut add = |what: &str, found, limit| {
            let what = what.to_owned();
            all.push(Bound { what, found, limit });
        };
        let p99 = |workload| self.series(workload, GATEWAY, |o| o.delivering.map(|d| d.p99_us));
        let what = "p99 beside 1 % slow readers, × without them";
        add(what, p99("slow").over(&p99("slow-none")), 1.20);
        let stalling = |figure: fn(&crate::outcome::Stalling) -> f64| {
            self.series("slow", GATEWAY, |o| o.stalling.as_ref().map(figure))
        };
        // Both runs fill the same window, which is no slow reader's.
        let growth = |workload| {
            self.series(workload, GATEWAY, |o| {
                let growth = o.stalling.as_ref().map(|s| s.peak_growth_bytes);
                growth.map(|bytes| bytes as f64 / 1e6)
            })
        };
        let more = growth("slow").less(&growth("slow-none"));
        let each = more.over(&stalling(|s| s.stalled.max(1) as f64));
        let what =
            "MB that each slow reader adds to the peak of memory (the limit, and half for copies)";
        add(what, each, OUTBOX_MB * 1.5);
        let spared = stalling(|s| {
            let counted = s.evictions.unwrap_or(0) as f64;
            s.stalled as f64 - counted.min(s.closed as f64)
        });
        add("slow readers not evicted, closed and counted", spared, 0.0);
    }
}
