//! Publishes at a steady rate over one connection.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use ht_trigger_client::Client;

use crate::cli::bench::Args;
use crate::cli::bench::clients::nanos;
use crate::cli::bench::received::Stamp;
use crate::cli::publish::published;

/// Timeout of a trigger.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends the triggers of a run.
pub(super) struct Publisher<'a> {
    args: &'a Args,
    run: &'a str,
    epoch: Instant,
    client: Client,
    with_key: bool,
    /// The number of the next trigger.
    pub(super) next: u64,
}

impl<'a> Publisher<'a> {
    /// Connects. Times are counted from `epoch`.
    pub(super) async fn open(args: &'a Args, run: &'a str, epoch: Instant) -> anyhow::Result<Self> {
        let key = args.key.get()?;
        Ok(Self {
            args,
            run,
            epoch,
            client: Client::connect(&args.trigger, key.as_deref()).await?,
            with_key: key.is_some(),
            next: 0,
        })
    }

    /// Sends one trigger and waits for the response.
    pub(super) async fn send(&mut self) -> anyhow::Result<()> {
        let stamp = Stamp {
            run: self.run.to_owned(),
            number: self.next,
            sent: nanos(self.epoch.elapsed()),
        };
        let data = stamp.to_json(self.args.data_bytes as usize);
        let room = self.args.room.get();
        let body = format!(r#"{{"rooms":[{room}],"data":{data}}}"#).into();
        let answer = tokio::time::timeout(TIMEOUT, self.client.post(body))
            .await
            .with_context(|| {
                format!("the gateway did not respond to a trigger within {TIMEOUT:?}")
            })??;
        published(&answer, self.with_key)?;
        self.next += 1;
        Ok(())
    }

    /// Sends `count` triggers, `rate` a second. Returns the rate that was reached: one that is late is
    /// sent as soon as the previous one has a response.
    pub(super) async fn send_all(&mut self, count: u64, rate: u32) -> anyhow::Result<f64> {
        let start = Instant::now();
        let after = |number: u64| Duration::from_secs_f64(number as f64 / f64::from(rate));
        for number in 0..count {
            tokio::time::sleep_until((start + after(number)).into()).await;
            self.send().await?;
        }
        let took = start.elapsed().max(after(count));
        Ok(count as f64 / took.as_secs_f64())
    }
}
