//! The servers that can be driven: how each is started, and how one speaks to it.

mod beside;
mod channels;
mod floor;
mod gateway;
mod nats;
mod nchan;
mod node;
mod peer;
mod process;
mod pushpin;
mod python;
mod rabbitmq;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

pub use self::beside::Beside;
pub use self::channels::ChannelsServer;
pub use self::floor::{FloorServer, LISTENING};
pub use self::gateway::GatewayServer;
pub use self::nats::NatsServer;
pub use self::nchan::NchanServer;
pub use self::node::NodeServer;
pub use self::process::Process;
pub use self::pushpin::PushpinServer;
pub use self::python::PythonServer;
use crate::client::Dialect;
use crate::door::DoorAt;
use crate::workload::Rooms;

/// A kind of server. To measure another product, say here how it is started and, if it speaks no
/// language of [`Dialect`] or [`DoorAt`], teach those two its own.
pub trait Server {
    /// Its name in the results.
    fn name(&self) -> String;

    /// The most deliveries a second that it is asked for, where a workload's fixed rate is more
    /// than it can do: beyond that, only its queues would be measured.
    fn rate_max(&self, _rooms: Rooms) -> Option<u32> {
        None
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    fn launch(&self, how: &Launch) -> Result<Running, LaunchError>;
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The API that it asks.
    pub backend: SocketAddr,
    /// The core that it runs on; `None`: any.
    pub core: Option<usize>,
    /// Words before its own command line, such as those of a profiler. Empty: none.
    pub prefix: Vec<String>,
    /// Where its log goes.
    pub log: PathBuf,
    /// Connections that it will get.
    pub connections: usize,
    /// Where `bench/run` has put other products.
    pub peers: PathBuf,
    /// The script that runs a RabbitMQ.
    pub rabbitmq: PathBuf,
}

/// A server that listens. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub process: Process,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where triggers go.
    pub door: DoorAt,
    /// How clients join.
    pub dialect: Dialect,
    /// What it says about its version.
    pub version: String,
    /// What it cannot do without and what is not counted as its own, such as a broker.
    pub beside: Vec<Beside>,
    /// Its configuration and what it writes while it runs. Declared last: it goes last.
    pub scratch: Option<TempDir>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be run.
    #[error("cannot run {program}: {cause}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        cause: io::Error,
    },
    /// It ended, or did not listen in time.
    #[error("{program} did not come up: {why}")]
    NotUp {
        /// The program.
        program: String,
        /// What is known, with the end of its log.
        why: String,
    },
}
