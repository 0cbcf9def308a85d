//! high-templar itself as a server to drive.

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use super::Launch;
use super::LaunchError;
use super::Process;
use super::Running;
use super::Server;
use super::process::listens;
use crate::client::Dialect;
use crate::door::DoorAt;

/// The gateway with its settings as they come but for its threads.
#[derive(Clone, Debug)]
pub struct GatewayServer {
    /// The program.
    pub program: PathBuf,
    /// Threads that carry connections.
    pub threads: usize,
}

impl GatewayServer {
    fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        text.unwrap_or_default()
    }
}

impl Server for GatewayServer {
    fn name(&self) -> String {
        match self.threads {
            1 => "high-templar".to_owned(),
            threads => format!("high-templar, {threads} threads"),
        }
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let program = self.program.to_string_lossy();
        let (public, internal) = free_addresses().map_err(|cause| LaunchError::Spawn {
            program: program.clone().into_owned(),
            cause,
        })?;
        let environment = [
            ("HT_LISTEN", public.to_string()),
            ("HT_INTERNAL__LISTEN", internal.to_string()),
            ("HT_THREADS", self.threads.to_string()),
            ("HT_BACKEND__URL", format!("http://{}/api/", how.backend)),
            // One line of log for each connection is not part of the work.
            ("RUST_LOG", "warn".to_owned()),
        ];
        let mut process = Process::spawn(how, &program, &["serve"], &environment)?;
        process.wait_for(|_| (listens(public) && listens(internal)).then_some(()))?;
        Ok(Running {
            process,
            public,
            door: DoorAt::Http(internal),
            dialect: Dialect::HighTemplar,
            version: self.version(),
        })
    }
}

/// Two ports that nobody listens on.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?, other.local_addr()?))
}
