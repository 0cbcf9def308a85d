//! The engines, each a server of the test alone.

use ht_testkit::nats::Nats;
use ht_testkit::postgres::{Database, Postgres};
use ht_testkit::rabbitmq::RabbitMq;
use ht_testkit::redis::Redis;

use crate::support::gateway::Builder;

/// A running engine.
pub(super) enum Engine {
    RabbitMq(RabbitMq),
    /// The database is dropped before its server ends.
    Postgres(Database, Postgres),
    Nats(Nats),
    Redis(Redis),
    /// It has not written the end of its file when it is killed.
    RedisThatLosesItsEnd(Redis),
}

/// What that is, in bytes: some hundred records.
const END: u64 = 100_000;

impl Engine {
    pub(super) fn rabbitmq() -> Self {
        Self::RabbitMq(RabbitMq::start())
    }

    pub(super) fn postgres() -> Self {
        let server = Postgres::start(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let database = runtime.block_on(server.database().with_log());
        Self::Postgres(database, server)
    }

    pub(super) fn nats() -> Self {
        Self::Nats(Nats::start())
    }

    /// One that confirms nothing before it is written.
    pub(super) fn redis() -> Self {
        Self::Redis(Redis::start_with(&["--appendfsync", "always"]))
    }

    pub(super) fn redis_that_loses_its_end() -> Self {
        Self::RedisThatLosesItsEnd(Redis::start())
    }

    /// Whether a kill of it may lose what was accepted. Clients are told then.
    pub(super) fn may_lose(&self) -> bool {
        matches!(self, Self::RedisThatLosesItsEnd(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RabbitMq(_) => "a stream of RabbitMQ",
            Self::Postgres(..) => "PostgreSQL",
            Self::Nats(_) => "NATS",
            Self::Redis(_) => "Redis",
            Self::RedisThatLosesItsEnd(_) => "a Redis that loses its end",
        }
    }

    /// A node whose log is in it.
    pub(super) fn configure(&self, node: Builder) -> Builder {
        match self {
            Self::RabbitMq(server) => node
                .set("HT_RABBITMQ__URL", server.url())
                .set("HT_RABBITMQ__LOG", "stream"),
            Self::Postgres(database, _) => node.set("HT_POSTGRES__URL", database.url()),
            Self::Nats(server) => node.set("HT_NATS__URL", server.url()),
            Self::Redis(server) | Self::RedisThatLosesItsEnd(server) => {
                node.set("HT_REDIS__URL", server.url())
            }
        }
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        match self {
            Self::RabbitMq(server) => server.kill(),
            Self::Postgres(_, server) => server.kill(),
            Self::Nats(server) => server.kill(),
            Self::Redis(server) => server.kill(),
            Self::RedisThatLosesItsEnd(server) => {
                server.kill();
                server.lose_end(END);
            }
        }
    }

    /// Starts it on the same port and waits until it serves.
    pub(super) fn start_again(&mut self) {
        match self {
            Self::RabbitMq(server) => server.start_again(),
            Self::Postgres(_, server) => server.start_again(),
            Self::Nats(server) => server.start_again(),
            Self::Redis(server) | Self::RedisThatLosesItsEnd(server) => server.start_again(),
        }
    }
}
