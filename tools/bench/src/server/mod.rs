//! The servers: how each is started, and its protocol.

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
pub use self::rabbitmq::RabbitMq;
use crate::client::Dialect;
use crate::endpoint::EndpointAt;
use crate::workload::Rooms;

/// A kind of server. To measure another product, implement its start here and, if it has a protocol
/// of its own, add that to [`Dialect`] and [`EndpointAt`].
pub trait Server {
    /// Its name in the results.
    fn name(&self) -> String;

    /// Maximum rate in deliveries a second, if it cannot handle that of a workload: beyond it, only
    /// its queues would be measured.
    fn rate_max(&self, _rooms: Rooms) -> Option<u32> {
        None
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    fn launch(&self, how: &Launch) -> Result<Running, LaunchError>;
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The API that it calls.
    pub backend: SocketAddr,
    /// The core that it runs on; `None`: any.
    pub core: Option<usize>,
    /// Words before its own command line, such as those of a profiler. Empty: none.
    pub prefix: Vec<String>,
    /// Its log file.
    pub log: PathBuf,
    /// Expected number of connections.
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
    /// Where triggers are sent.
    pub endpoint: EndpointAt,
    /// How clients join.
    pub dialect: Dialect,
    /// Its version.
    pub version: String,
    /// Processes that it depends on and that are measured apart, such as a broker.
    pub beside: Vec<Beside>,
    /// Folder of its configuration and its files. Declared last, because it is removed last.
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
        /// The system's error.
        cause: io::Error,
    },
    /// It ended, or did not listen in time.
    #[error("{program} did not come up: {why}")]
    NotUp {
        /// The program.
        program: String,
        /// The cause, with the end of its log.
        why: String,
    },
}
