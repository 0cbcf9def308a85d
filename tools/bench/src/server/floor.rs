//! The floor as a server to drive: the second role of this same program.

use std::net::SocketAddr;

use super::{Launch, LaunchError, Process, Running, Server};
use crate::client::Dialect;
use crate::endpoint::EndpointAt;
use crate::floor::Mode;

/// Begins the line in which the floor prints its two addresses: for sockets and for control.
pub const LISTENING: &str = "listening ";

/// The floor in one of its modes.
#[derive(Clone, Copy, Debug)]
pub struct FloorServer(pub Mode);

impl FloorServer {
    fn mode(self) -> &'static str {
        match self.0 {
            Mode::Write => "write",
            Mode::Coalesce => "coalesce",
        }
    }
}

impl Server for FloorServer {
    fn name(&self) -> String {
        format!("floor-{}", self.mode())
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let program = std::env::current_exe().map_err(|cause| LaunchError::Spawn {
            program: "ht-bench".to_owned(),
            cause,
        })?;
        let program = program.to_string_lossy();
        let arguments = ["floor", "--listen", "127.0.0.1:0", "--mode", self.mode()];
        let mut process = Process::spawn(how, &program, &arguments, &[])?;
        let (public, control) = process.wait_for(addresses)?;
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Floor(control),
            dialect: Dialect::Plain,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            beside: Vec::new(),
            scratch: None,
        })
    }
}

fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    // Only a complete line: the rest of an address may be in flight.
    let (line, _) = log.split_once('\n')?;
    let (public, control) = line.strip_prefix(LISTENING)?.split_once(' ')?;
    Some((public.parse().ok()?, control.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_a_whole_line() {
        let line = "listening 127.0.0.1:4001 127.0.0.1:4002\n";
        let (public, control) = addresses(line).unwrap();
        assert_eq!((public.port(), control.port()), (4001, 4002));
        for cut in 0..line.len() {
            assert_eq!(addresses(&line[..cut]), None);
        }
    }
}
