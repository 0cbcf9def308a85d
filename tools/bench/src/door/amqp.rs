//! RabbitMQ: the exchange that high-templar listens to, in its Python shape too.

use std::collections::VecDeque;
use std::io;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Door, PATIENCE, Trigger, UNANSWERED_MAX};

/// The exchange and the routing key, both taken literally.
const EXCHANGE: &str = "hightemplar";
const ROUTING_KEY: &str = "*";

pub(super) struct AmqpDoor {
    // The connection lives as long as the door; the runtime's thread reads and writes for it.
    _connection: Connection,
    channel: Channel,
    unconfirmed: VecDeque<PublisherConfirm>,
    body: Vec<u8>,
    runtime: Runtime,
}

impl AmqpDoor {
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

    /// Waits until at most so many triggers are unconfirmed: the broker's flow control holds
    /// back what is beyond.
    fn wait(&mut self, unconfirmed_max: usize) -> io::Result<()> {
        while self.unconfirmed.len() > unconfirmed_max {
            if let Some(confirm) = self.unconfirmed.pop_front() {
                match self.runtime.block_on(in_time(confirm))? {
                    // A message that no queue took comes back.
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

impl Door for AmqpDoor {
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

    fn settle(&mut self) -> io::Result<()> {
        self.wait(0)
    }
}

async fn in_time<T>(work: impl Future<Output = lapin::Result<T>>) -> io::Result<T> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => {
            let problem = "RabbitMQ does not answer";
            Err(io::Error::new(io::ErrorKind::TimedOut, problem))
        }
    }
}
