//! Result of a run, as one line of JSON.

use serde::{Deserialize, Serialize};

use crate::check::Faults;
use crate::drive::Label;

/// Result of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The name of the workload, given by the caller.
    pub workload: String,
    /// The server.
    pub server: String,
    /// Its version.
    pub version: String,
    /// Number of the repetition.
    pub round: u32,
    /// Connections, each with one subscription at first.
    pub connections: usize,
    /// Figures of joining.
    pub joining: Joining,
    /// Figures of further subscriptions, if any.
    pub subscribing: Option<Subscribing>,
    /// Figures of idle connections, if measured.
    pub idling: Option<Idling>,
    /// Figures of connection churn, if measured.
    pub storming: Option<Storming>,
    /// Figures of the deliveries, if any.
    pub delivering: Option<Delivering>,
    /// Figures of slow consumers, and the memory of deliveries.
    pub stalling: Option<Stalling>,
    /// Figures of invalidations, if any.
    #[serde(default)]
    pub invalidating: Option<Invalidating>,
    /// Figures of clients that resume at once, if any.
    #[serde(default)]
    pub resuming: Option<Resuming>,
    /// Bytes of kept credentials that the server counts for each connection, if asked for.
    #[serde(default)]
    pub credentials_bytes: Option<f64>,
    /// The rate in deliveries a second, if it was lower than that of the workload.
    #[serde(default)]
    pub rate_max: Option<u32>,
    /// Faults.
    pub faults: Faults,
    /// Why the run is invalid; `None` if it is valid.
    pub invalid: Option<String>,
}

impl Outcome {
    /// An empty result.
    #[must_use]
    pub fn new(label: Label, version: String, connections: usize) -> Self {
        Self {
            workload: label.workload,
            server: label.server,
            version,
            round: label.round,
            connections,
            joining: Joining::default(),
            subscribing: None,
            idling: None,
            storming: None,
            delivering: None,
            stalling: None,
            invalidating: None,
            resuming: None,
            credentials_bytes: None,
            rate_max: None,
            faults: Faults::default(),
            invalid: None,
        }
    }
}

/// Figures of joining, and the memory of idle connections.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
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

/// Figures of subscriptions after the first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Subscribing {
    /// How many there were.
    pub subscriptions: u64,
    /// Server CPU in µs for each.
    pub cpu_us: f64,
    /// Wall-clock time in µs for each.
    pub wall_us: f64,
    /// Resident bytes that each added (`Rss`).
    pub rss_bytes: f64,
    /// The same without file pages.
    pub anonymous_bytes: f64,
}

/// Figures of idle connections.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Idling {
    /// How long they were silent.
    pub silent_seconds: f64,
    /// Server CPU meanwhile: 1 is a whole core.
    pub silent_cores: f64,
    /// While all of them pinged, if they did.
    pub pinging: Option<Pinging>,
}

/// Figures of connections that only ping.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pinging {
    /// How long they pinged.
    pub seconds: f64,
    /// Interval between two pings of a connection.
    pub interval_seconds: f64,
    /// Pings in all, each of them answered.
    pub pings: u64,
    /// Server CPU meanwhile: 1 is a whole core.
    pub cores: f64,
}

/// Figures of connection churn.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Storming {
    /// Clients that connected and left.
    pub cycles: u64,
    /// How many of them a second.
    pub per_second: f64,
    /// Server CPU for each: connect, bootstrap, subscribe, leave, in µs.
    pub cycle_us: f64,
    /// Server CPU for each client that stays: the same without leaving, in µs.
    pub join_us: f64,
    /// Maximum delay of a client against its schedule, in µs.
    pub latest_us: f64,
    /// CPU of the driver: at 1, a whole core, the driver is the bottleneck.
    pub driver_cores: f64,
    /// Resident bytes of the server before.
    pub rss_before_bytes: u64,
    /// Resident bytes of the server after, after all clients left.
    pub rss_after_bytes: u64,
    /// CPU of the backend call alone, in µs, measured in a separate process.
    pub backend_call_us: Option<f64>,
}

/// Figures of slow consumers, and the memory of deliveries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stalling {
    /// Readers that stopped when counting began.
    pub stalled: usize,
    /// How many of them the server closed.
    pub closed: usize,
    /// Evictions of slow consumers, from its metrics.
    pub evictions: Option<u64>,
    /// Maximum growth of its resident memory during the triggers.
    pub peak_growth_bytes: u64,
}

/// Figures of invalidations that are spread over a span, while other clients receive triggers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Invalidating {
    /// Connections that each selected.
    pub labelled: usize,
    /// The span, in seconds.
    pub within_seconds: f64,
    /// After how long the API responds, in µs.
    pub answer_after_us: f64,
    /// Maximum number of calls in flight, counted by the API.
    pub in_flight_most: usize,
    /// The invalidations.
    pub spans: Vec<Span>,
}

/// Figures of one invalidation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Span {
    /// Calls of the API.
    pub calls: usize,
    /// Calls in the busiest tenth of a second, divided by the mean.
    pub busiest: f64,
    /// Time from the command to its response, in µs.
    pub command_us: f64,
    /// Server CPU of each call in µs: what it took more than in the span before.
    pub call_us: f64,
    /// 99 % of the deliveries to others within, in µs: in the span before, and meanwhile.
    pub p99_us: (f64, f64),
    /// The longest, likewise.
    pub longest_us: (f64, f64),
}

/// Figures of clients that were away and resume at once, while other clients receive triggers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Resuming {
    /// How many resumed.
    pub clients: usize,
    /// Entries in the server's window.
    pub entries: u64,
    /// Publications that each had missed.
    pub missed: u64,
    /// Until the last client was sent them, in µs.
    pub took_us: f64,
    /// Server CPU for each client in µs: what it took more than in the span before.
    pub cpu_us: f64,
    /// 99 % of the deliveries to others within, in µs: in the span before, and meanwhile.
    pub p99_us: (f64, f64),
    /// The longest, likewise.
    pub longest_us: (f64, f64),
    /// The longest turn of one of the server's threads, in µs.
    pub longest_turn_us: f64,
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
    /// CPU of processes that the server depends on, such as a broker, in µs a delivery: not in
    /// `cpu_us`.
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
    /// Maximum delay of the publisher against its schedule, in µs.
    pub publisher_late_us: f64,
    /// CPU of the driver: at 1, a whole core, the driver is the bottleneck.
    pub driver_cores: f64,
}
