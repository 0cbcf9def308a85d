//! The servers that can be driven.

use clap::ValueEnum;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The floor with a send for each message and socket.
    FloorWrite,
    /// The floor where waiting messages share a send.
    FloorCoalesce,
    /// high-templar with one thread, triggered by HTTP.
    Gateway,
    /// high-templar with two threads, on the same core.
    #[value(name = "gateway-2")]
    Gateway2,
    /// high-templar with four threads, on the same core.
    #[value(name = "gateway-4")]
    Gateway4,
    /// high-templar, triggered over RabbitMQ.
    GatewayRabbitmq,
    /// high-templar with event streams.
    GatewaySse,
    /// The Python high-templar, triggered over RabbitMQ.
    Python,
    /// nginx with nchan.
    Nchan,
    /// nginx with nchan, with event streams.
    NchanSse,
    /// pushpin.
    Pushpin,
    /// The Node library ws.
    Ws,
    /// Socket.IO on Node.
    Socketio,
    /// Django Channels with daphne and Redis.
    Channels,
    /// uWebSockets.js on Node.
    Uws,
    /// NATS over websocket.
    Nats,
}
