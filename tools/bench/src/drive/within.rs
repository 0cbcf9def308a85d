//! Invalidations of many clients, spread over a span, while others receive triggers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{DriveError, Run, micros};
use crate::backend::{BUSIEST, Calls, Counted};
use crate::client::FleetError;
use crate::command::{self, Done};
use crate::endpoint::{EndpointAt, Post};
use crate::outcome::{Invalidating, Span};
use crate::workload::{LABEL, Spread};

impl Run<'_> {
    /// Measures deliveries for the length of the span, first without an invalidation and then with
    /// one, as often as the workload asks for.
    pub(super) fn invalidate(
        &mut self,
        spread: Spread,
        endpoint: &EndpointAt,
        calls: &Calls,
    ) -> Result<Invalidating, DriveError> {
        let &EndpointAt::Http(address, Post::Trigger) = endpoint else {
            return Err(FleetError::Unable("commands").into());
        };
        self.phase(self.workload.warm_up)?;
        let mut found = Invalidating {
            within_seconds: spread.within.as_secs_f64(),
            answer_after_us: micros(self.workload.answer_after),
            ..Invalidating::default()
        };
        for _ in 0..spread.times {
            let without = self.span(spread.within)?;
            calls.take();
            let (with, done, counted) = self.spread_once(spread, address, calls)?;
            let all = done.matched.unwrap_or(0);
            let per_call = (with.cpu_us - without.cpu_us) / counted.calls.max(1) as f64;
            found.labelled = found.labelled.max(all);
            found.in_flight_most = found.in_flight_most.max(counted.in_flight_most);
            let mean = counted.calls as f64 * BUSIEST.as_secs_f64() / found.within_seconds;
            found.spans.push(Span {
                calls: counted.calls,
                busiest: counted.busiest as f64 / mean.max(f64::MIN_POSITIVE),
                command_us: micros(done.took),
                call_us: per_call,
                p99_us: (without.p99_us, with.p99_us),
                longest_us: (without.longest_us, with.longest_us),
            });
            if counted.calls != all || all == 0 {
                let why = format!("{all} clients were selected, and {} called", counted.calls);
                self.invalid.get_or_insert(why);
            }
        }
        Ok(found)
    }

    /// One invalidation, sent while triggers are, until all its calls are made.
    fn spread_once(
        &mut self,
        spread: Spread,
        address: SocketAddr,
        calls: &Calls,
    ) -> Result<(Figures, Done, Counted), DriveError> {
        let (figures, done) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| command::invalidate(address, LABEL, spread.within));
            let figures = self.span(spread.within);
            let done = sending.join().unwrap_or_else(|_| {
                let problem = "the thread that sends the command panicked";
                Err(io::Error::other(problem))
            });
            (figures, done)
        });
        let (figures, done) = (figures?, done.map_err(DriveError::Publish)?);
        let mut last = (calls.received(), Instant::now());
        while last.0 < done.matched.unwrap_or(0) && last.1.elapsed() < self.workload.patience {
            self.pump(Duration::from_millis(10))?;
            if calls.received() > last.0 {
                last = (calls.received(), Instant::now());
            }
        }
        // The last answers arrive, and no further call is made.
        self.pump(self.workload.answer_after + self.workload.settle)?;
        Ok((figures, done, calls.take()))
    }

    /// Sends triggers for so long.
    pub(super) fn span(&mut self, during: Duration) -> Result<Figures, DriveError> {
        self.fleet.clear_latency();
        let cpu = self.cpu()?;
        self.phase(during)?;
        let cpu = self.cpu()? - cpu;
        let latency = &self.fleet.tally().latency;
        Ok(Figures {
            cpu_us: micros(cpu.total),
            p99_us: micros(latency.quantile(0.99)),
            longest_us: micros(latency.longest()),
        })
    }
}

/// Figures of the deliveries of a span.
pub(super) struct Figures {
    pub(super) cpu_us: f64,
    pub(super) p99_us: f64,
    pub(super) longest_us: f64,
}
