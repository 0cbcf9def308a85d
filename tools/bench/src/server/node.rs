//! The small Node programs in `bench/peers/`: one process that serves websockets and accepts
//! publications by HTTP on the same port.

use std::path::Path;

use super::process::listens;
use super::{Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::{EndpointAt, Post};

/// A program with one websocket library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeServer {
    /// ws.
    Ws,
    /// Socket.IO.
    SocketIo,
    /// uWebSockets.js.
    UWebSockets,
}

impl NodeServer {
    /// Its folder, and the package whose version counts.
    fn package(self) -> (&'static str, &'static str) {
        match self {
            Self::Ws => ("ws", "ws"),
            Self::SocketIo => ("socketio", "socket.io"),
            Self::UWebSockets => ("uws", "@trufflesuite/uws-js-unofficial"),
        }
    }
}

impl Server for NodeServer {
    fn name(&self) -> String {
        match self {
            Self::Ws => "ws",
            Self::SocketIo => "socket.io",
            Self::UWebSockets => "uWebSockets.js",
        }
        .to_owned()
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [address] = peer::free_addresses()?;
        let (folder, package) = self.package();
        let script = peer::installed(how, &format!("{folder}/server.js"));
        let environment = [
            ("PORT", address.port().to_string()),
            ("NODE_ENV", "production".to_owned()),
        ];
        let mut process = Process::spawn(how, "node", &[&script], &environment)?;
        process.wait_for(|_| listens(address).then_some(()))?;
        let manifest = peer::installed(
            how,
            &format!("{folder}/node_modules/{package}/package.json"),
        );
        let node = peer::version(Path::new("node"), &["--version"], &[]);
        Ok(Running {
            process,
            public: address,
            endpoint: EndpointAt::Http(address, Post::Message),
            dialect: match self {
                Self::Ws | Self::UWebSockets => Dialect::Subscribe,
                Self::SocketIo => Dialect::SocketIo,
            },
            version: format!("{package} {}, Node {node}", package_version(&manifest)),
            beside: Vec::new(),
            scratch: None,
        })
    }
}

/// The version in a `package.json`.
fn package_version(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    manifest["version"].as_str().unwrap_or("?").to_owned()
}
