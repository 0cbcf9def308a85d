//! pushpin with an origin that lets every client subscribe to the room in the url.

use super::process::listens;
use super::{Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::EndpointAt;
use crate::workload::Rooms;

/// pushpin: its runner, condure, zurl, the proxy and the handler.
#[derive(Clone, Copy, Debug)]
pub struct PushpinServer;

impl Server for PushpinServer {
    fn name(&self) -> String {
        "pushpin".to_owned()
    }

    fn rate_max(&self, rooms: Rooms) -> Option<u32> {
        // By default, its `message_rate` is 2,500 a second: further messages wait.
        Some(match rooms {
            Rooms::FanOut | Rooms::Labelled => 2_000,
            Rooms::Unicast | Rooms::Many => 300,
        })
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [public, control, push, sub, command] = peer::free_addresses()?;
        let scratch = peer::scratch(&[("routes", format!("* {},over_http\n", how.backend))])?;
        let folder = scratch.path().display();
        let configuration = format!(
            "[global]
include={{libdir}}/internal.conf
libdir={libdir}
rundir={folder}
ipc_prefix=p-
port_offset=0
stats_connection_ttl=120

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port={public}
logdir={folder}
log_level=2
client_buffer_size=8192
client_maxconn={connections}
condure_bin=condure
zurl_bin=zurl

[proxy]
routesfile=routes
sig_key=changeme
updates_check=off
zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in
zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream
zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out

[handler]
push_in_spec=tcp://{push}
push_in_sub_specs=tcp://{sub}
push_in_http_addr=127.0.0.1
push_in_http_port={control}
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
command_spec=tcp://{command}
message_rate=2500
message_hwm=25000
",
            libdir = peer::debian(how, "usr/lib/pushpin").display(),
            connections = how.connections + 512,
            control = control.port(),
        );
        let path = scratch.path().join("pushpin.conf");
        std::fs::write(&path, configuration).map_err(|cause| LaunchError::Spawn {
            program: "pushpin".to_owned(),
            cause,
        })?;
        let path = path.display().to_string();
        let program = peer::debian(how, "usr/bin/pushpin");
        let environment = peer::debian_environment(how);
        let arguments = ["--config", &path];
        let name = program.to_string_lossy();
        let mut process = Process::spawn(how, &name, &arguments, &environment)?;
        process.wait_for(|_| (listens(public) && listens(control)).then_some(()))?;
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Grip(control),
            dialect: Dialect::Url,
            version: peer::version(&program, &["--version"], &environment),
            beside: Vec::new(),
            scratch: Some(scratch),
        })
    }
}
