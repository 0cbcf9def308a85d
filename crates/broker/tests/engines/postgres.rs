//! PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::log::Log;
use ht_broker::postgres::Postgres;
use ht_testkit::postgres::{Database, Postgres as Server};
use tokio::time::{sleep, timeout};

use crate::support::SOON;
use crate::{Engine, broker, log};

/// Time between two looks at the outbox.
const LOOK: Duration = Duration::from_millis(5);

impl Engine for Database {
    fn log(&self) -> Arc<dyn Log> {
        let log: Arc<dyn Log> = Arc::new(Postgres::new(&self.config()).unwrap());
        let working = Arc::clone(&log);
        // A broker does this while it runs; a log alone has nobody.
        tokio::spawn(async move { working.work().await });
        log
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let client = self.connect().await;
        let texts: Vec<_> = bodies.into_iter().map(text).collect();
        let insert = "INSERT INTO high_templar.ht_outbox (body) SELECT * FROM unnest($1::text[])";
        client.execute(insert, &[&texts]).await.unwrap();
        // A row is in the log once a node has moved it there.
        let left = "SELECT count(*) FROM high_templar.ht_outbox";
        let moved = async {
            while client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                sleep(LOOK).await;
            }
        };
        timeout(SOON, moved).await.expect("the outbox is moved");
    }
}

/// A body as the outbox takes it: that column is text, so bytes that are none get another fault.
fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap_or_else(|_| "not JSON either".into())
}

#[tokio::test]
async fn postgres_is_a_log() {
    log::keeps_the_contract(&Server::shared().database().with_log().await).await;
}

/// On one thread: nothing may block it.
#[tokio::test]
async fn postgres_carries_a_broker() {
    broker::keeps_the_contract(&Server::shared().database().with_log().await).await;
}
