//! What a run found, one JSON object on one line.

use serde::Deserialize;
use serde::Serialize;

use crate::check::Faults;

/// The findings of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The name of the workload, as the caller calls it.
    pub workload: String,
    /// The server.
    pub server: String,
    /// What it says about its version.
    pub version: String,
    /// Which repetition this was.
    pub round: u32,
    /// Connections, each with one subscription.
    pub connections: usize,
    /// Figures of the way in.
    pub joining: Joining,
    /// Figures of the deliveries, where there were any.
    pub delivering: Option<Delivering>,
    /// What went wrong.
    pub faults: Faults,
    /// Why the run proves nothing. `None`: it is valid.
    pub invalid: Option<String>,
}

/// Figures of the way in and of idling.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// Server CPU for connect, bootstrap and subscribe together, in µs a connection.
    pub cpu_us: f64,
    /// Wall-clock time, in µs a connection.
    pub wall_us: f64,
    /// Resident bytes that each idle connection added (`Rss`).
    pub rss_bytes: f64,
    /// The same without file pages such as code (`Anonymous`).
    pub anonymous_bytes: f64,
    /// Resident bytes of the server before, with its warm-up connections.
    pub baseline_rss_bytes: u64,
}

/// Figures of the deliveries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Delivering {
    /// Deliveries while CPU was counted.
    pub deliveries: u64,
    /// Deliveries a second.
    pub per_second: f64,
    /// Server CPU, user and system, in µs a delivery.
    pub cpu_us: f64,
    /// CPU of what stands beside the server, such as a broker, in µs a delivery: not in `cpu_us`.
    #[serde(default)]
    pub beside_us: f64,
    /// The user's share of it, 0 to 1, from coarse counters.
    pub user_share: f64,
    /// Bytes of a frame, header included.
    pub frame_bytes: usize,
    /// Latency from the publisher's send to the client's read, in µs: half of all within.
    pub p50_us: f64,
    /// 99 % within.
    pub p99_us: f64,
    /// 99.9 % within.
    pub p999_us: f64,
    /// The longest.
    pub longest_us: f64,
    /// How far the publisher was behind its time at worst, in µs.
    pub publisher_late_us: f64,
    /// CPU of the driver: 1 is a whole core, and then the driver is what was measured.
    pub driver_cores: f64,
}
