//! RabbitMQ: the exchange that high-templar consumes from; also for the Python version.

use std::collections::VecDeque;
use std::io;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Endpoint, TIMEOUT, Trigger, UNANSWERED_MAX};

/// The exchange and the routing key, both taken literally.
const EXCHANGE: &str = "hightemplar";
const ROUTING_KEY: &str = "*";

pub(super) struct AmqpEndpoint {
    // Kept open as long as the endpoint exists; the runtime's thread does its I/O.
    _connection: Connection,
    channel: Channel,
    unconfirmed: VecDeque<PublisherConfirm>,
    body: Vec<u8>,
    runtime: Runtime,
}

impl AmqpEndpoint {
    pub(super) fn open(url: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("amqp")
            .enable_all()
            .build()?;
        let (connection, channel) = runtime.block_on(async {
            let open = async {
                let properties = ConnectionProperties::default();
                let connection = Connection::connect(url, properties).await?;
                let channel = connection.create_channel().await?;
                channel
                    .confirm_select(ConfirmSelectOptions::default())
                    .await?;
                Ok((connection, channel))
            };
            in_time(open).await
        })?;
        Ok(Self {
            _connection: connection,
            channel,
            unconfirmed: VecDeque::new(),
            body: Vec::new(),
            runtime,
        })
    }

    /// Waits until at most `unconfirmed_max` triggers are unconfirmed, which is the broker's
    /// back-pressure.
    fn wait(&mut self, unconfirmed_max: usize) -> io::Result<()> {
        while self.unconfirmed.len() > unconfirmed_max {
            if let Some(confirm) = self.unconfirmed.pop_front() {
                match self.runtime.block_on(in_time(confirm))? {
                    // A message without a queue is returned.
                    Confirmation::Ack(None) => {}
                    other @ (Confirmation::Ack(_)
                    | Confirmation::Nack(_)
                    | Confirmation::NotRequested) => {
                        return Err(io::Error::other(format!("refused: {other:?}")));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Endpoint for AmqpEndpoint {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        self.wait(UNANSWERED_MAX as usize - 1)?;
        self.body.clear();
        trigger.write_trigger(&mut self.body);
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let publish = self.channel.basic_publish(
            EXCHANGE.into(),
            ROUTING_KEY.into(),
            options,
            &self.body,
            BasicProperties::default(),
        );
        let confirm = self.runtime.block_on(in_time(publish))?;
        self.unconfirmed.push_back(confirm);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(0)
    }
}

async fn in_time<T>(work: impl Future<Output = lapin::Result<T>>) -> io::Result<T> {
    match timeout(TIMEOUT, work).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => {
            let problem = "RabbitMQ does not respond";
            Err(io::Error::new(io::ErrorKind::TimedOut, problem))
        }
    }
}
