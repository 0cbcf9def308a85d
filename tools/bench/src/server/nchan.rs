//! nginx with nchan: subscribers by websocket, publications by HTTP on a port of their own.

use super::process::listens;
use super::{Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::{EndpointAt, Post};

/// nginx with one worker.
#[derive(Clone, Copy, Debug)]
pub struct NchanServer {
    /// Whether clients use event streams instead of websockets.
    pub sse: bool,
}

impl Server for NchanServer {
    fn name(&self) -> String {
        match self.sse {
            true => "nchan-sse".to_owned(),
            false => "nchan".to_owned(),
        }
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [public, internal] = peer::free_addresses()?;
        let scratch = peer::scratch(&[])?;
        let module = peer::debian(how, "usr/lib/nginx/modules/ngx_nchan_module.so");
        let configuration = format!(
            "load_module {module};
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 256k;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    server {{
        listen {public} backlog=4096;
        location = /ws/ {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_room;
            nchan_subscriber_first_message newest;
        }}
        location = /sse/ {{
            nchan_subscriber eventsource;
            nchan_channel_id $arg_room;
            nchan_subscriber_first_message newest;
        }}
    }}
    server {{
        listen {internal};
        location = /publish/ {{
            nchan_publisher http;
            nchan_channel_id $arg_room;
        }}
    }}
}}
",
            module = module.display(),
            folder = scratch.path().display(),
            // nginx closes seemingly idle connections when a sixteenth of these is left.
            connections = how.connections + how.connections / 8 + 512,
        );
        let path = scratch.path().join("nginx.conf");
        std::fs::write(&path, configuration).map_err(|cause| LaunchError::Spawn {
            program: "nginx".to_owned(),
            cause,
        })?;
        let path = path.display().to_string();
        let program = peer::debian(how, "usr/sbin/nginx");
        let environment = peer::debian_environment(how);
        let name = program.to_string_lossy();
        // Messages before the configuration is read go to standard error as well.
        let arguments = ["-e", "stderr", "-c", &path];
        let mut process = Process::spawn(how, &name, &arguments, &environment)?;
        process.wait_for(|_| (listens(public) && listens(internal)).then_some(()))?;
        let nginx = peer::version(&program, &["-v"], &environment);
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Http(internal, Post::Message),
            dialect: match self.sse {
                true => Dialect::UrlEvents,
                false => Dialect::Url,
            },
            version: format!("{nginx}, Debian's libnginx-mod-nchan"),
            beside: Vec::new(),
            scratch: Some(scratch),
        })
    }
}
