//! Django Channels in daphne, with Redis as its channel layer.

use super::process::listens;
use super::{Beside, Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::{EndpointAt, Post};
use crate::workload::Rooms;

/// One daphne and one Redis.
#[derive(Clone, Copy, Debug)]
pub struct ChannelsServer;

impl Server for ChannelsServer {
    fn name(&self) -> String {
        "channels".to_owned()
    }

    fn rate_max(&self, rooms: Rooms) -> Option<u32> {
        Some(match rooms {
            Rooms::FanOut | Rooms::Labelled => 1_500,
            Rooms::Unicast | Rooms::Many => 150,
        })
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [public, redis_at] = peer::free_addresses()?;
        let redis = redis(how, redis_at.port())?;
        let folder = peer::installed(how, "channels");
        let environment = [
            ("PYTHONPATH", folder),
            ("REDIS_URL", format!("redis://{redis_at}/0")),
        ];
        let python = peer::installed(how, "channels/venv/bin/python");
        let port = public.port().to_string();
        let arguments = [
            "-m",
            "daphne",
            "-v",
            "0",
            "-b",
            "127.0.0.1",
            "-p",
            &port,
            "app:application",
        ];
        let mut process = Process::spawn(how, &python, &arguments, &environment)?;
        process.wait_for(|_| listens(public).then_some(()))?;
        let versions = "from importlib.metadata import version as v; \
                        print(*(p + ' ' + v(p) for p in \
                        ('channels', 'channels_redis', 'daphne', 'django')), sep=', ')";
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Http(public, Post::Message),
            dialect: Dialect::Subscribe,
            version: peer::version(python.as_ref(), &["-c", versions], &[]),
            beside: vec![Beside::Process(redis)],
            scratch: None,
        })
    }
}

/// A Redis without persistence, on the driver's core.
fn redis(how: &Launch, port: u16) -> Result<Process, LaunchError> {
    let how = Launch {
        core: None,
        prefix: Vec::new(),
        log: how.log.with_extension("redis.log"),
        ..how.clone()
    };
    let program = peer::debian(&how, "usr/bin/redis-server");
    let environment = peer::debian_environment(&how);
    let port_text = port.to_string();
    let arguments = [
        "--port",
        &port_text,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let mut process = Process::spawn(&how, &program.to_string_lossy(), &arguments, &environment)?;
    let address = ([127, 0, 0, 1], port).into();
    process.wait_for(|_| listens(address).then_some(()))?;
    Ok(process)
}
