//! high-templar 3.1.0, the Python original, on RabbitMQ and with the same backend.

use super::process::listens;
use super::rabbitmq::RabbitMq;
use super::{Beside, Launch, LaunchError, Process, Running, Server, peer};
use crate::client::Dialect;
use crate::endpoint::EndpointAt;
use crate::workload::Rooms;

/// The Python high-templar with one worker.
#[derive(Clone, Copy, Debug)]
pub struct PythonServer;

impl Server for PythonServer {
    fn name(&self) -> String {
        "high-templar-python".to_owned()
    }

    fn rate_max(&self, rooms: Rooms) -> Option<u32> {
        Some(match rooms {
            Rooms::FanOut | Rooms::Labelled => 5_000,
            Rooms::Unicast | Rooms::Many => 500,
        })
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        let [public] = peer::free_addresses()?;
        let rabbitmq = RabbitMq::start(how)?;
        let url = rabbitmq.url().to_owned();
        let environment = [
            ("HOST", public.to_string()),
            ("API_URL", format!("http://{}/api/", how.backend)),
            ("RABBITMQ_URL", url.clone()),
        ];
        let python = peer::installed(how, "python/venv/bin/python");
        let script = peer::installed(how, "python/serve.py");
        let mut process = Process::spawn(how, &python, &[&script], &environment)?;
        process.wait_for(|_| listens(public).then_some(()))?;
        Ok(Running {
            process,
            public,
            endpoint: EndpointAt::Amqp(url),
            dialect: Dialect::HighTemplar,
            version: peer::version(python.as_ref(), &[&script, "--version"], &[]),
            beside: vec![Beside::RabbitMq(rabbitmq)],
            scratch: None,
        })
    }
}
