//! The clients: they connect, subscribe and record what they receive.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use ht_telemetry::latency::Latency;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::cli::bench::received::{self, Message as Parsed, Received};
use crate::cli::client::{self, Dial, Socket};

/// Clients that connect at the same time.
const JOINING: usize = 64;

/// Timeout of a subscribe.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Totals over all clients.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Triggers of this run that were received.
    pub(super) delivered: u64,
    /// Time from the publisher to the client.
    pub(super) latency: Latency,
    /// When the last one arrived.
    pub(super) last: Option<Instant>,
    /// Publications of other programs to the room.
    pub(super) foreign: u64,
    /// Connections that ended.
    pub(super) ended: u64,
    /// How the first of them ended.
    pub(super) first_end: Option<String>,
}

/// The clients of a run.
pub(super) struct Clients {
    run: Rc<str>,
    epoch: Instant,
    totals: Rc<RefCell<Totals>>,
    stop: CancellationToken,
    clients: Vec<JoinHandle<Received>>,
    /// Time of connect, bootstrap call and subscribe, for each client.
    pub(super) joining: Latency,
}

impl Clients {
    /// None yet. Times are counted from `epoch`.
    pub(super) fn new(run: &str, epoch: Instant) -> Self {
        Self {
            run: run.into(),
            epoch,
            totals: Rc::default(),
            stop: CancellationToken::new(),
            clients: Vec::new(),
            joining: Latency::default(),
        }
    }

    /// Number of clients.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// The totals up to now.
    pub(super) fn totals(&self) -> RefMut<'_, Totals> {
        self.totals.borrow_mut()
    }

    /// Resets the latencies. Returns the number of triggers that were received before.
    pub(super) fn clear(&self) -> u64 {
        let mut totals = self.totals();
        totals.latency.clear();
        totals.last = None;
        totals.delivered
    }

    /// Connects clients until there are `count`. Trigger number `next` is the first one that the new
    /// ones receive.
    pub(super) async fn grow(
        &mut self,
        dial: &Dial,
        room: &str,
        count: usize,
        next: u64,
    ) -> anyhow::Result<()> {
        let numbers = self.clients.len() + 1..=count;
        let joining = stream::iter(numbers).map(|number| async move {
            let start = Instant::now();
            let socket = join(dial.clone(), room)
                .await
                .with_context(|| format!("connection {number} of {count}"))?;
            anyhow::Ok((socket, start.elapsed()))
        });
        let mut joining = std::pin::pin!(joining.buffer_unordered(JOINING));
        while let Some((socket, took)) = joining.try_next().await? {
            self.joining.add(nanos(took));
            let client = Client {
                socket,
                received: Received::from(next),
                run: Rc::clone(&self.run),
                epoch: self.epoch,
                totals: Rc::clone(&self.totals),
            };
            let listening = client.listen(self.stop.clone());
            self.clients.push(tokio::task::spawn_local(listening));
        }
        Ok(())
    }

    /// Closes all connections. Returns what each client received.
    pub(super) async fn close(self) -> anyhow::Result<Vec<Received>> {
        self.stop.cancel();
        let mut received = Vec::with_capacity(self.clients.len());
        for client in self.clients {
            received.push(client.await.context("a client failed")?);
        }
        Ok(received)
    }
}

/// Connects and subscribes.
async fn join(dial: Dial, room: &str) -> anyhow::Result<Socket> {
    let mut socket = client::connect(dial).await?;
    client::admitted(&mut socket).await?;
    socket.send(client::subscribe(room, 0)).await?;
    let reply = tokio::time::timeout(TIMEOUT, client::next(&mut socket));
    let reply = reply
        .await
        .context("the gateway did not reply to a subscribe")??;
    let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
    match (reply["code"].as_str(), reply["message"].as_str()) {
        (Some("success"), _) => Ok(socket),
        (Some(_), message) => Err(client::not_subscribed(
            room,
            message,
            reply["reason"].as_str(),
        )),
        (None, _) => bail!("the gateway's reply to a subscribe is unknown: {reply}"),
    }
}

struct Client {
    socket: Socket,
    received: Received,
    run: Rc<str>,
    epoch: Instant,
    totals: Rc<RefCell<Totals>>,
}

impl Client {
    /// Receives until it is stopped, or the connection ends.
    async fn listen(mut self, stop: CancellationToken) -> Received {
        let mut pings = tokio::time::interval(client::PING_EVERY);
        pings.reset();
        let why = loop {
            tokio::select! {
                () = stop.cancelled() => {
                    // The gateway may have closed it already.
                    let _ = self.socket.close(None).await;
                    return self.received;
                }
                _ = pings.tick() => {
                    if let Err(error) = self.socket.send(Message::text("ping")).await {
                        break format!("the connection broke: {error}");
                    }
                }
                text = client::next(&mut self.socket) => match text {
                    Ok(text) => self.on_text(&text),
                    Err(error) => break format!("{error:#}"),
                },
            }
        };
        let mut totals = self.totals.borrow_mut();
        totals.ended += 1;
        totals.first_end.get_or_insert(why);
        drop(totals);
        self.received
    }

    fn on_text(&mut self, text: &str) {
        let mut totals = self.totals.borrow_mut();
        match received::parse(text, &self.run) {
            Parsed::Own(stamp) => {
                let now = Instant::now();
                let age = nanos(now.duration_since(self.epoch)).saturating_sub(stamp.sent);
                self.received.add(stamp.number);
                totals.latency.add(age);
                totals.delivered += 1;
                totals.last = Some(now);
            }
            Parsed::Foreign => totals.foreign += 1,
            Parsed::Reply => {}
        }
    }
}

/// A duration as the histograms count it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
