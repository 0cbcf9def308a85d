//! Redis.

use std::sync::Arc;

use ht_broker::log::Log;
use ht_broker::redis::{APPEND, Redis};
use ht_testkit::redis::Redis as Server;

use crate::{Engine, broker, log};

impl Engine for Server {
    fn log(&self) -> Arc<dyn Log> {
        let log: Arc<dyn Log> = Arc::new(Redis::new(&self.config()).unwrap());
        let working = Arc::clone(&log);
        // A broker does this while it runs; a log alone has nobody.
        tokio::spawn(async move { working.work().await });
        log
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        for bodies in bodies.chunks(100) {
            let mut append = redis::cmd("EVAL");
            append
                .arg(APPEND)
                .arg(1)
                .arg("high-templar.log")
                .arg(250_000);
            for body in bodies {
                append.arg("trigger").arg("").arg(&body[..]);
            }
            let _: String = append.query_async(&mut connection).await.unwrap();
        }
    }
}

#[tokio::test]
async fn redis_is_a_log() {
    log::keeps_the_contract(&Server::start()).await;
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn redis_carries_a_broker() {
    broker::keeps_the_contract(&Server::start()).await;
}
