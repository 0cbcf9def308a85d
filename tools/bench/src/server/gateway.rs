//! high-templar itself as a server to drive.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use super::peer::free_addresses;
use super::process::listens;
use super::rabbitmq::RabbitMq;
use super::{Beside, Launch, LaunchError, Process, Running, Server};
use crate::client::Dialect;
use crate::endpoint::{EndpointAt, Post};

/// The gateway with its default settings except for its threads, and what is asked for.
#[derive(Clone, Debug)]
pub struct GatewayServer {
    /// The program.
    pub program: PathBuf,
    /// Whether triggers arrive over RabbitMQ.
    pub rabbitmq: bool,
    /// Threads that carry connections.
    pub threads: usize,
    /// Whether clients use event streams instead of websockets.
    pub sse: bool,
    /// Further environment variables.
    pub settings: Vec<(String, String)>,
}

impl Server for GatewayServer {
    fn name(&self) -> String {
        let name = match (self.rabbitmq, self.sse) {
            (true, _) => "high-templar-rabbitmq",
            (false, true) => "high-templar-sse",
            (false, false) => "high-templar",
        };
        match self.threads {
            1 => name.to_owned(),
            threads => format!("{name}, {threads} threads"),
        }
    }

    fn launch(&self, how: &Launch) -> Result<Running, LaunchError> {
        self.start(how).map(|(running, _)| running)
    }
}

impl GatewayServer {
    /// Starts it; returns its internal listener as well, wherever triggers are sent.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, how: &Launch) -> Result<(Running, SocketAddr), LaunchError> {
        let program = self.program.to_string_lossy();
        let [public, internal] = free_addresses()?;
        let mut environment = vec![
            ("HT_LISTEN", public.to_string()),
            ("HT_INTERNAL__LISTEN", internal.to_string()),
            ("HT_THREADS", self.threads.to_string()),
            ("HT_BACKEND__URL", format!("http://{}/api/", how.backend)),
            // One line of log for each connection is not part of the work.
            ("RUST_LOG", "warn".to_owned()),
        ];
        if self.sse {
            environment.push(("HT_SSE__ENABLED", "true".to_owned()));
        }
        let mut endpoint = EndpointAt::Http(internal, Post::Trigger);
        let mut beside = Vec::new();
        if self.rabbitmq {
            let rabbitmq = RabbitMq::start(how)?;
            environment.push(("HT_RABBITMQ__URL", rabbitmq.url().to_owned()));
            endpoint = EndpointAt::Amqp(rabbitmq.url().to_owned());
            beside.push(Beside::RabbitMq(rabbitmq));
        }
        let settings = self.settings.iter();
        environment.extend(settings.map(|(name, value)| (name.as_str(), value.clone())));
        let mut process = Process::spawn(how, &program, &["serve"], &environment)?;
        process.wait_for(|_| (listens(public) && is_ready(internal)).then_some(()))?;
        let running = Running {
            process,
            public,
            endpoint,
            dialect: match self.sse {
                true => Dialect::Events,
                false => Dialect::HighTemplar,
            },
            version: self.version(),
            beside,
            scratch: None,
        };
        Ok((running, internal))
    }

    fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        text.unwrap_or_default()
    }
}

/// Whether it would take triggers: with a broker, it then has its queue.
fn is_ready(internal: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(internal)?;
        stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, io::Error>(answer)
    };
    ask().is_ok_and(|answer| {
        answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200")
    })
}
