//! The command line.

mod publish;
mod which;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use self::publish::PublishArgs;
pub use self::which::Which;
use crate::drive::Label;
use crate::floor::Mode;
use crate::message;
use crate::message::Content;
use crate::server::{
    ChannelsServer, FloorServer, GatewayServer, Launch, NatsServer, NchanServer, NodeServer,
    PushpinServer, PythonServer, Server,
};
use crate::workload::{Away, Grants, Pace, Pings, Rooms, Spread, Storm, Workload};

/// Load generator and floor for high-templar
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be the floor: write bytes to sockets, nothing else
    Floor(FloorArgs),
    /// Start a server, drive it, and print what was found as one line of JSON
    ///
    /// Exits with 0 after a valid run, 1 after a run in which a message was lost, doubled or out
    /// of order, 2 where nothing could be measured, and 3 where the server cannot do what the
    /// workload asks for.
    Drive(Box<DriveArgs>),
    /// Make the calls to the backend that a gateway makes, and print what one costs as JSON
    BackendCalls(BackendCallsArgs),
    /// Publish through a gateway whose log is a stream of RabbitMQ, and past it, and print what was
    /// found as one line of JSON
    Publish(PublishArgs),
    /// Make a page of the lines that `drive` printed
    Report(ReportArgs),
}

/// How to call the backend.
#[derive(Debug, Args)]
pub struct BackendCallsArgs {
    /// Where the backend listens
    #[arg(long)]
    pub backend: SocketAddr,
    /// Calls a second
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// How long to count, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

/// How to be the floor.
#[derive(Debug, Args)]
pub struct FloorArgs {
    /// Where sockets connect; the control connection gets a free port of the same address
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// When to send
    #[arg(long, value_enum, default_value = "write")]
    pub mode: Mode,
}

/// What to drive, and how.
#[derive(Debug, Args)]
pub struct DriveArgs {
    /// The server to drive
    #[arg(long, value_enum)]
    pub server: Which,
    /// The gateway's program
    #[arg(long, default_value = "target/release/high-templar")]
    pub gateway: PathBuf,
    /// Where other products were installed by `bench/run`
    #[arg(long, default_value = "target/bench/peers")]
    pub peers: PathBuf,
    /// The script that runs a RabbitMQ
    #[arg(long, default_value = "tests/support/rabbitmq")]
    pub rabbitmq: PathBuf,
    /// The core that the server runs on (pin the driver itself with taskset); without it, any
    #[arg(long)]
    pub server_core: Option<usize>,
    /// Words to put before the server's command line, such as a profiler; once for each word
    #[arg(long, allow_hyphen_values = true)]
    pub prefix: Vec<String>,
    /// Where the server's log goes
    #[arg(long, default_value = "target/bench-server.log")]
    pub log: PathBuf,
    /// Name of the workload in the results
    #[arg(long, default_value = "")]
    pub name: String,
    /// Number of this repetition in the results
    #[arg(long, default_value_t = 1)]
    pub round: u32,

    /// Who hears a trigger
    #[arg(long, value_enum, default_value = "fan-out")]
    pub rooms: Rooms,
    /// Connections, each with one subscription, or with a hundred where `--rooms many`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub connections: u32,
    /// Deliveries a second, over all connections
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Instead of a rate: so many triggers outstanding
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub window: Option<u64>,
    /// No triggers: only the way in, and the memory and CPU of idle connections
    #[arg(long, conflicts_with_all = ["rate", "window"])]
    pub idle: bool,
    /// After the silence every idle client pings so often, in seconds
    #[arg(long, requires = "idle")]
    pub ping_every: Option<f64>,
    /// How long they ping, in seconds; without it, until each has pinged once
    #[arg(long, requires = "ping_every")]
    pub ping_for: Option<f64>,
    /// Beside idle connections, so many clients a second come, subscribe and leave again
    #[arg(long, requires = "idle", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub storm: Option<u32>,
    /// With `--rooms labelled`: invalidate all that have the label, within so many seconds
    #[arg(long, conflicts_with_all = ["idle", "window", "stalled"])]
    pub within: Option<f64>,
    /// How often, each time after as long without
    #[arg(long, requires = "within", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub times: u32,
    /// So many clients beside these were away, and send `resume` at once
    #[arg(long, conflicts_with_all = ["idle", "window", "stalled", "within"], value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub away: Option<u32>,
    /// With `--away`: entries in the window that they have to be searched for
    #[arg(long, requires = "away", default_value_t = 99_000)]
    pub entries: u64,
    /// With `--away`: publications that each missed
    #[arg(long, requires = "away", default_value_t = 3)]
    pub missed: u64,
    /// The stub backend responds after so many milliseconds
    #[arg(long, default_value_t = 0.0)]
    pub answer_after: f64,
    /// The clients send the headers of a browser with several cookies
    #[arg(long)]
    pub browser: bool,
    /// A setting of the gateway, as an environment variable: HT_…=VALUE; once for each
    #[arg(long, value_parser = setting)]
    pub setting: Vec<(String, String)>,
    /// So many of the clients stop reading when counting begins
    #[arg(long, default_value_t = 0, conflicts_with = "idle")]
    pub stalled: u32,
    /// The clients ask for permessage-deflate and refuse a server without
    #[arg(long)]
    pub deflate: bool,
    /// How long to count, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// How long to send before counting, in seconds
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Length of each trigger's data, in bytes of JSON
    #[arg(long, default_value_t = 128, value_parser = data_bytes)]
    pub data_bytes: usize,
    /// What a trigger's data looks like
    #[arg(long, value_enum, default_value = "filler")]
    pub content: Content,
    /// What the stub backend permits; without it, what the rooms need
    #[arg(long, value_enum)]
    pub grants: Option<Grants>,
    /// Clients that join at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub joining: u32,
    /// A run in which nothing happens for so many seconds has failed
    #[arg(long, default_value_t = 10.0)]
    pub patience: f64,
    /// How long to listen for second copies, and to leave a server alone before its memory is
    /// read, in seconds
    #[arg(long, default_value_t = 0.5)]
    pub settle: f64,
    /// The whole run ends after so many seconds, whatever happens
    #[arg(long, default_value_t = 120)]
    pub deadline_seconds: u64,
}

/// What to make a page of.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The lines that `drive` printed
    pub results: PathBuf,
    /// Lines about the machine and the run, to be printed as a list; once for each
    #[arg(long = "note")]
    pub notes: Vec<String>,
    /// The lines that `publish` printed
    #[arg(long)]
    pub published: Option<PathBuf>,
    /// Where a picture of the main figures goes, as SVG
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Where the page goes; without it, to the standard output
    #[arg(long)]
    pub out: Option<PathBuf>,
}

fn data_bytes(text: &str) -> Result<usize, String> {
    let range = message::DATA_BYTES_MIN..=message::DATA_BYTES_MAX;
    let bytes = text.parse().map_err(|e| format!("{e}"))?;
    if range.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("not within {} and {}", range.start(), range.end()))
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no =")?;
    if !name.starts_with("HT_") {
        return Err("settings begin with HT_".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl DriveArgs {
    /// The workload that was asked for.
    ///
    /// # Errors
    /// When a duration is none.
    pub fn workload(&self) -> anyhow::Result<Workload> {
        let pace = match (self.idle, self.window) {
            (true, _) => Pace::Idle,
            (false, Some(window)) => Pace::FlatOut { window },
            (false, None) => Pace::Rate {
                deliveries: f64::from(self.rate),
            },
        };
        if self.stalled > 0 && (self.rooms != Rooms::FanOut || self.stalled >= self.connections) {
            anyhow::bail!("only some of those in one room can stop reading");
        }
        if self.rooms == Rooms::Many && self.window.is_some() {
            anyhow::bail!("many rooms need a rate");
        }
        if self.within.is_some() && self.rooms != Rooms::Labelled {
            anyhow::bail!("only clients with a label can be invalidated");
        }
        Ok(Workload {
            rooms: self.rooms,
            connections: self.connections as usize,
            stalled: self.stalled as usize,
            content: self.content,
            deflate: self.deflate,
            pings: self.pings()?,
            storm: self.storm.map(|per_second| Storm {
                per_second: f64::from(per_second),
                at_once: self.joining as usize,
            }),
            spread: self.spread()?,
            away: self.away.map(|clients| Away {
                clients: clients as usize,
                entries: self.entries,
                missed: self.missed,
            }),
            answer_after: Duration::try_from_secs_f64(self.answer_after / 1_000.0)?,
            browser: self.browser,
            pace,
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            measured: Duration::try_from_secs_f64(self.seconds)?,
            data_bytes: self.data_bytes,
            grants: self.grants.unwrap_or(match self.rooms {
                Rooms::FanOut | Rooms::Unicast => Grants::Shared,
                Rooms::Many => Grants::Project,
                Rooms::Labelled => Grants::Identity,
            }),
            joining: self.joining as usize,
            patience: Duration::try_from_secs_f64(self.patience)?,
            settle: Duration::try_from_secs_f64(self.settle)?,
        })
    }

    fn spread(&self) -> anyhow::Result<Option<Spread>> {
        let Some(within) = self.within else {
            return Ok(None);
        };
        Ok(Some(Spread {
            within: Duration::try_from_secs_f64(within)?,
            times: self.times,
        }))
    }

    fn pings(&self) -> anyhow::Result<Option<Pings>> {
        let Some(every) = self.ping_every else {
            return Ok(None);
        };
        Ok(Some(Pings {
            interval: Duration::try_from_secs_f64(every)?,
            during: Duration::try_from_secs_f64(self.ping_for.unwrap_or(every))?,
        }))
    }

    /// The server that was asked for.
    #[must_use]
    pub fn server(&self) -> Box<dyn Server> {
        match self.server {
            Which::FloorWrite => Box::new(FloorServer(Mode::Write)),
            Which::FloorCoalesce => Box::new(FloorServer(Mode::Coalesce)),
            Which::Gateway => Box::new(self.gateway(1)),
            Which::Gateway2 => Box::new(self.gateway(2)),
            Which::Gateway4 => Box::new(self.gateway(4)),
            Which::GatewayRabbitmq => Box::new(GatewayServer {
                rabbitmq: true,
                ..self.gateway(1)
            }),
            Which::GatewaySse => Box::new(GatewayServer {
                sse: true,
                ..self.gateway(1)
            }),
            Which::Python => Box::new(PythonServer),
            Which::Nchan => Box::new(NchanServer { sse: false }),
            Which::NchanSse => Box::new(NchanServer { sse: true }),
            Which::Pushpin => Box::new(PushpinServer),
            Which::Ws => Box::new(NodeServer::Ws),
            Which::Socketio => Box::new(NodeServer::SocketIo),
            Which::Channels => Box::new(ChannelsServer),
            Which::Uws => Box::new(NodeServer::UWebSockets),
            Which::Nats => Box::new(NatsServer),
        }
    }

    fn gateway(&self, threads: usize) -> GatewayServer {
        GatewayServer {
            program: self.gateway.clone(),
            threads,
            rabbitmq: false,
            sse: false,
            settings: self.setting.clone(),
        }
    }

    /// How the server is started.
    #[must_use]
    pub fn launch(&self, backend: SocketAddr) -> Launch {
        Launch {
            backend,
            core: self.server_core,
            prefix: self.prefix.clone(),
            log: self.log.clone(),
            connections: self.connections as usize,
            peers: self.peers.clone(),
            rabbitmq: self.rabbitmq.clone(),
        }
    }

    /// The names of the run.
    #[must_use]
    pub fn label(&self, server: String) -> Label {
        Label {
            workload: self.name.clone(),
            server,
            round: self.round,
        }
    }
}

#[cfg(test)]
mod tests;
