//! One run in one line.

use std::fmt::Write;

use crate::outcome::Outcome;

/// Result of a run.
#[must_use]
pub fn one_line(outcome: &Outcome) -> String {
    let joining = &outcome.joining;
    let mut line = format!(
        "{} {} round {}: {:.0} µs and {:.0} B (anonymous {:.0} B) a connection",
        outcome.workload,
        outcome.server,
        outcome.round,
        joining.cpu_us,
        joining.rss_bytes,
        joining.anonymous_bytes,
    );
    // Writing to a text does not fail.
    let _ = more(outcome, &mut line);
    if let Some(why) = &outcome.invalid {
        let _ = write!(line, "; INVALID: {why} {:?}", outcome.faults);
    }
    line
}

fn more(outcome: &Outcome, line: &mut String) -> std::fmt::Result {
    if let Some(found) = &outcome.subscribing {
        write!(
            line,
            "; {:.2} µs and {:.0} B a further subscription",
            found.cpu_us, found.rss_bytes
        )?;
    }
    if let Some(found) = &outcome.idling {
        write!(line, "; silent {:.3} %", found.silent_cores * 100.0)?;
        if let Some(pinging) = &found.pinging {
            write!(line, ", pinging {:.3} % of a core", pinging.cores * 100.0)?;
        }
    }
    if let Some(found) = &outcome.storming {
        write!(
            line,
            "; {:.0} µs a cycle, {:.0} µs to come ({:.0} µs the backend call), {:.0}/s, \
             driver {:.0} %",
            found.cycle_us,
            found.join_us,
            found.backend_call_us.unwrap_or(0.0),
            found.per_second,
            found.driver_cores * 100.0,
        )?;
    }
    if let Some(found) = &outcome.delivering {
        write!(
            line,
            "; {:.2} µs a delivery ({:.0} % user), {:.0}/s, p50 {:.0} µs, p99 {:.0} µs, \
             driver {:.0} %, late {:.0} µs",
            found.cpu_us,
            found.user_share * 100.0,
            found.per_second,
            found.p50_us,
            found.p99_us,
            found.driver_cores * 100.0,
            found.publisher_late_us,
        )?;
        if found.beside_us > 0.0 {
            write!(line, "; {:.2} µs a delivery beside it", found.beside_us)?;
        }
    }
    if let Some(bytes) = outcome.credentials_bytes {
        write!(line, "; {bytes:.0} B of credentials counted")?;
    }
    if let Some(found) = &outcome.resuming {
        write!(
            line,
            "; {} resumed over {} entries within {:.2} s, {:.0} µs each, p99 of others {:.0} and {:.0} µs, \
             longest turn {:.1} ms",
            found.clients,
            found.entries,
            found.took_us / 1e6,
            found.cpu_us,
            found.p99_us.0,
            found.p99_us.1,
            found.longest_turn_us / 1e3
        )?;
    }
    if let Some(found) = &outcome.invalidating {
        write!(
            line,
            "; {} invalidated within {} s, {} calls in flight",
            found.labelled, found.within_seconds, found.in_flight_most
        )?;
        for span in &found.spans {
            write!(
                line,
                "; {} calls, busiest x {:.2}, {:.0} µs each, command {:.1} ms, p99 {:.0} and {:.0} \
                 µs, longest {:.0} and {:.0} µs",
                span.calls,
                span.busiest,
                span.call_us,
                span.command_us / 1e3,
                span.p99_us.0,
                span.p99_us.1,
                span.longest_us.0,
                span.longest_us.1,
            )?;
        }
    }
    if let Some(found) = outcome.stalling.filter(|s| s.stalled > 0) {
        write!(
            line,
            "; {} of {} stalled readers closed, peak {:+.1} MB",
            found.closed,
            found.stalled,
            found.peak_growth_bytes as f64 / 1e6
        )?;
    }
    Ok(())
}
