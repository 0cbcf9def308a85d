//! One connection to the broker, and its declarations.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Error, ExchangeKind};

use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::sockets;
use crate::rabbitmq::sockets::{Cutter, Lifeline};

/// The routing key that triggers are published with, taken literally.
pub(super) const ROUTING_KEY: &str = "*";

/// Time to make a TCP connection and its TLS handshake, and again for the AMQP handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one request to the broker, such as a declaration.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// AMQP reply code of a connection or channel that is closed gracefully.
pub(super) const REPLY_SUCCESS: u16 = 200;

/// An open connection. Dropping it cuts the socket; [`Wire::close`] closes it gracefully.
pub(super) struct Wire {
    connection: Connection,
    socket: Cutter,
}

impl Wire {
    /// Connects and logs in. `purpose` is shown in the broker's list of connections.
    pub(super) async fn connect(uri: &AMQPUri, purpose: &str) -> Result<Self, Cause> {
        // Cut on every way out, also when this future is dropped, but for success.
        let socket = Cutter::default();
        // lapin wraps an error of this step into its own, so the step's own is kept beside it.
        let failed = Arc::new(Mutex::new(None));
        let properties =
            ConnectionProperties::default().with_connection_name(purpose.to_owned().into());
        let connecting = Connection::connector(
            uri.clone(),
            sockets::kit(),
            connect_step(Arc::clone(&socket.0), Arc::clone(&failed)),
            properties,
        );
        match tokio::time::timeout(2 * CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, socket }),
            Ok(Err(error)) => {
                let own = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(own.unwrap_or_else(|| handshake_cause(error)))
            }
            Err(_elapsed) => Err(Cause::Silent(2 * CONNECT_TIMEOUT)),
        }
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, Cause> {
        step(self.connection.create_channel()).await
    }

    /// Whether the connection is there, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker blocked publishers (`connection.blocked`).
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends the traffic at once, so that everything pending on this connection fails.
    pub(super) fn cut(&self) {
        self.socket.0.cut();
    }

    /// Closes the connection gracefully, within `limit`, then cuts the socket.
    pub(super) async fn close(&self, limit: Duration) {
        if self.is_open() {
            let closing = self.connection.close(REPLY_SUCCESS, "OK".into());
            let _ = tokio::time::timeout(limit, closing).await;
        }
        self.socket.0.cut();
    }
}

/// What lapin calls, on its own thread, to get a socket.
fn connect_step(
    lifeline: Arc<Lifeline>,
    failed: Arc<Mutex<Option<Cause>>>,
) -> impl AsyncFn(
    AMQPUri,
    async_rs::Runtime<sockets::Kit>,
) -> lapin::Result<
    AsyncTcpStream<<sockets::Kit as async_rs::traits::Reactor>::TcpStream>,
> + Send
+ Sync
+ 'static {
    async move |uri: AMQPUri, _runtime| match sockets::connect(&uri, &lifeline, CONNECT_TIMEOUT)
        .await
    {
        Ok(socket) => Ok(AsyncTcpStream::Plain(socket)),
        Err(error) => {
            let cause = Cause::connecting(&error, CONNECT_TIMEOUT);
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
            Err(Error::from(error))
        }
    }
}

/// A socket that ends during the AMQP handshake is not a lost connection: there was none.
fn handshake_cause(error: Error) -> Cause {
    let cause = Cause::from(error);
    if let Cause::Lost(_) = cause {
        Cause::HungUp
    } else {
        cause
    }
}

/// Awaits one request to the broker for at most [`STEP_TIMEOUT`].
pub(super) async fn step<T>(request: impl Future<Output = lapin::Result<T>>) -> Result<T, Cause> {
    match tokio::time::timeout(STEP_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into()),
        Err(_elapsed) => Err(Cause::Silent(STEP_TIMEOUT)),
    }
}

/// Looks, and makes nothing.
const PASSIVE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: true,
    durable: false,
    auto_delete: false,
    internal: false,
    nowait: false,
};

/// How the exchange was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// As declared; it was made where it did not exist.
    AsDeclared,
    /// It exists with other arguments, or we lack the right to declare it; the broker's error names
    /// the reason. It is used as it is.
    AsItIs(Cause),
}

/// Makes sure that the exchange exists: direct, transient or durable, not auto-deleted, no arguments.
pub(super) async fn declare_exchange(
    wire: &Wire,
    exchange: &ShortString,
    durable: bool,
) -> Result<Exchange, Cause> {
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    match declare(wire, exchange, options).await {
        Ok(()) => Ok(Exchange::AsDeclared),
        Err(refusal @ (Cause::Different(_) | Cause::Permission(_))) => {
            match declare(wire, exchange, PASSIVE).await {
                Ok(()) => Ok(Exchange::AsItIs(refusal)),
                // Absent, and we may not declare it: the first error names the remedy.
                Err(Cause::Missing(_)) => Err(refusal),
                Err(cause) => Err(cause),
            }
        }
        Err(cause) => Err(cause),
    }
}

/// Whether the exchange exists, with whatever arguments.
pub(super) async fn exchange_exists(wire: &Wire, exchange: &ShortString) -> Result<bool, Cause> {
    match declare(wire, exchange, PASSIVE).await {
        Ok(()) => Ok(true),
        Err(Cause::Missing(_)) => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// On a channel of its own, because a refusal closes the channel.
async fn declare(
    wire: &Wire,
    exchange: &ShortString,
    options: ExchangeDeclareOptions,
) -> Result<(), Cause> {
    let channel = wire.channel().await?;
    step(channel.exchange_declare(
        exchange.clone(),
        ExchangeKind::Direct,
        options,
        FieldTable::default(),
    ))
    .await?;
    step(channel.close(REPLY_SUCCESS, "OK".into())).await
}

/// Declares a queue that lives as long as the connection.
pub(super) async fn declare_queue(channel: &Channel, name: &ShortString) -> Result<(), Cause> {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    step(channel.queue_declare(name.clone(), options, FieldTable::default())).await?;
    Ok(())
}

/// Binds the queue; does nothing if it is bound already.
pub(super) async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: &ShortString,
    key: &str,
) -> Result<(), Cause> {
    step(channel.queue_bind(
        queue.clone(),
        exchange.clone(),
        key.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    ))
    .await
}
