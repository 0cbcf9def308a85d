//! Results of a run, as text and as JSON.

use ht_telemetry::latency::Latency;
use serde::Serialize;

/// Cores that this program, which has one thread, uses when it is itself the bottleneck.
const BUSY: f64 = 0.9;

/// Results of a run. Times are in the unit that their name ends with.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) connections: usize,
    /// From the first handshake to the last reply.
    pub(super) joining_s: f64,
    /// Connect, bootstrap call and subscribe, for one client.
    pub(super) connect_ms: Spread,
    pub(super) triggers: u64,
    pub(super) triggers_per_s_asked: u32,
    pub(super) triggers_per_s: f64,
    pub(super) data_bytes: usize,
    pub(super) deliveries: u64,
    pub(super) deliveries_per_s: f64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) out_of_order: u64,
    /// Publications of other programs to the room meanwhile.
    pub(super) foreign: u64,
    pub(super) ended: u64,
    pub(super) first_end: Option<String>,
    /// From the publisher's write to the client's read.
    pub(super) latency_ms: Spread,
    /// CPU of this program. At 1, a whole core, it is the bottleneck.
    pub(super) own_cores: f64,
    /// Usage of the process that `--pid` names.
    pub(super) gateway: Option<Usage>,
}

/// What the gateway's process used.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) cpu_us_per_delivery: f64,
    /// CPU during the deliveries: 1 is a whole core.
    pub(super) cores: f64,
    /// Resident bytes that each connection added; none if there were too few to measure it.
    pub(super) bytes_per_connection: Option<f64>,
}

/// Quantiles of durations, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Spread {
    pub(super) fn of(latency: &Latency) -> Self {
        let quantile = |share| latency.quantile(share).as_secs_f64() * 1e3;
        Self {
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: latency.longest().as_secs_f64() * 1e3,
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            p50,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, longest {max:.2} ms"
        )
    }
}

impl Report {
    /// Whether every delivery arrived once and in order, and no connection ended.
    pub(super) fn is_clean(&self) -> bool {
        [self.lost, self.doubled, self.out_of_order, self.ended] == [0; 4]
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "connections  {} within {:.2} s",
            self.connections, self.joining_s
        )?;
        writeln!(f, "  each       {}", self.connect_ms)?;
        writeln!(
            f,
            "triggers     {} of {} bytes, {:.1} a second ({} requested)",
            self.triggers, self.data_bytes, self.triggers_per_s, self.triggers_per_s_asked
        )?;
        writeln!(
            f,
            "deliveries   {}, {:.0} a second",
            self.deliveries, self.deliveries_per_s
        )?;
        writeln!(
            f,
            "  faults     {} lost, {} doubled, {} out of order, {} connections ended",
            self.lost, self.doubled, self.out_of_order, self.ended
        )?;
        if let Some(why) = &self.first_end {
            writeln!(f, "             the first: {why}")?;
        }
        write!(f, "latency      {}", self.latency_ms)?;
        if self.foreign > 0 {
            let foreign = self.foreign;
            write!(
                f,
                "\nforeign      {foreign} publications of other programs to this room"
            )?;
        }
        if let Some(usage) = &self.gateway {
            let Usage {
                cpu_us_per_delivery,
                cores,
                ..
            } = usage;
            write!(
                f,
                "\ngateway      {cpu_us_per_delivery:.2} µs CPU a delivery, {cores:.2} cores"
            )?;
            if let Some(bytes) = usage.bytes_per_connection {
                write!(f, ", {bytes:.0} resident bytes a connection")?;
            }
        }
        write!(f, "\nthis program {:.2} cores", self.own_cores)?;
        if self.own_cores > BUSY {
            write!(
                f,
                ": it is the bottleneck, not the gateway; use fewer connections or a lower rate"
            )?;
        }
        Ok(())
    }
}
