//! NATS with its websocket listener: clients use its protocol in websocket frames, and triggers
//! arrive over TCP.

use super::process::listens;
use super::{Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::EndpointAt;

/// nats-server.
#[derive(Clone, Copy, Debug)]
pub struct NatsServer;

impl Server for NatsServer {
    fn name(&self) -> String {
        "nats".to_owned()
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [public, client] = peer::free_addresses()?;
        // TLS is left to a proxy, as with the others; compression is off by default.
        let configuration = format!(
            "listen: \"{client}\"\nmax_connections: {}\n\
             websocket {{\n  listen: \"{public}\"\n  no_tls: true\n}}\n",
            how.connections + 16
        );
        let scratch = peer::scratch(&[("nats.conf", configuration)])?;
        let path = scratch.path().join("nats.conf").display().to_string();
        let program = peer::debian(how, "usr/sbin/nats-server");
        let environment = peer::debian_environment(how);
        let name = program.to_string_lossy();
        let mut process = Process::spawn(how, &name, &["-c", &path], &environment)?;
        process.wait_for(|_| (listens(public) && listens(client)).then_some(()))?;
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Nats(client),
            dialect: Dialect::Nats,
            version: peer::version(&program, &["--version"], &environment),
            beside: Vec::new(),
            scratch: Some(scratch),
        })
    }
}
