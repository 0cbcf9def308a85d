//! The clients: they join, listen, and keep their accounts.

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

use crate::cli::bench::account::{Account, Heard, heard};
use crate::cli::visitor::{self, Dial, Socket};

/// Clients that are on their way in at once.
const JOINING: usize = 64;

/// Time for the answer to a subscribe.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What all clients counted together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Triggers of this run that were heard.
    pub(super) delivered: u64,
    /// Their way from the publisher to the client.
    pub(super) latency: Latency,
    /// When the last one came.
    pub(super) last: Option<Instant>,
    /// What others published into the room.
    pub(super) foreign: u64,
    /// Connections that ended.
    pub(super) ended: u64,
    /// How the first of them ended.
    pub(super) first_end: Option<String>,
}

/// The clients of a run.
pub(super) struct Audience {
    run: Rc<str>,
    epoch: Instant,
    tally: Rc<RefCell<Tally>>,
    leave: CancellationToken,
    clients: Vec<JoinHandle<Account>>,
    /// Connect, the API's answer and subscribe, for each client.
    pub(super) joining: Latency,
}

impl Audience {
    /// Nobody yet. Times are counted from `epoch`.
    pub(super) fn new(run: &str, epoch: Instant) -> Self {
        Self {
            run: run.into(),
            epoch,
            tally: Rc::default(),
            leave: CancellationToken::new(),
            clients: Vec::new(),
            joining: Latency::default(),
        }
    }

    /// How many clients there are.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// What they counted until now.
    pub(super) fn tally(&self) -> RefMut<'_, Tally> {
        self.tally.borrow_mut()
    }

    /// Times from now on are counted anew. Answers how many triggers were heard before.
    pub(super) fn clear(&self) -> u64 {
        let mut tally = self.tally();
        tally.latency.clear();
        tally.last = None;
        tally.delivered
    }

    /// Lets clients in until there are `count`; the new ones hear the triggers from number `next`
    /// on.
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
                account: Account::from(next),
                run: Rc::clone(&self.run),
                epoch: self.epoch,
                tally: Rc::clone(&self.tally),
            };
            let listening = client.listen(self.leave.clone());
            self.clients.push(tokio::task::spawn_local(listening));
        }
        Ok(())
    }

    /// Lets everybody leave and collects the accounts.
    pub(super) async fn disperse(self) -> anyhow::Result<Vec<Account>> {
        self.leave.cancel();
        let mut accounts = Vec::with_capacity(self.clients.len());
        for client in self.clients {
            accounts.push(client.await.context("a client broke")?);
        }
        Ok(accounts)
    }
}

/// Connects and subscribes.
async fn join(dial: Dial, room: &str) -> anyhow::Result<Socket> {
    let mut socket = visitor::connect(dial).await?;
    visitor::admitted(&mut socket).await?;
    socket.send(visitor::subscribe(room, 0)).await?;
    let answer = tokio::time::timeout(TIMEOUT, visitor::next(&mut socket));
    let answer = answer
        .await
        .context("the gateway did not answer a subscribe")??;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    match (answer["code"].as_str(), answer["message"].as_str()) {
        (Some("success"), _) => Ok(socket),
        (Some(_), message) => Err(visitor::not_subscribed(
            room,
            message,
            answer["reason"].as_str(),
        )),
        (None, _) => bail!("the gateway's answer to a subscribe is not understood: {answer}"),
    }
}

struct Client {
    socket: Socket,
    account: Account,
    run: Rc<str>,
    epoch: Instant,
    tally: Rc<RefCell<Tally>>,
}

impl Client {
    /// Listens until it is time to leave, or the connection ends.
    async fn listen(mut self, leave: CancellationToken) -> Account {
        let mut pings = tokio::time::interval(visitor::PING_EVERY);
        pings.reset();
        let why = loop {
            tokio::select! {
                () = leave.cancelled() => {
                    // Nobody minds if the gateway is gone by now.
                    let _ = self.socket.close(None).await;
                    return self.account;
                }
                _ = pings.tick() => {
                    if let Err(error) = self.socket.send(Message::text("ping")).await {
                        break format!("the connection broke: {error}");
                    }
                }
                text = visitor::next(&mut self.socket) => match text {
                    Ok(text) => self.hear(&text),
                    Err(error) => break format!("{error:#}"),
                },
            }
        };
        let mut tally = self.tally.borrow_mut();
        tally.ended += 1;
        tally.first_end.get_or_insert(why);
        drop(tally);
        self.account
    }

    fn hear(&mut self, text: &str) {
        let mut tally = self.tally.borrow_mut();
        match heard(text, &self.run) {
            Heard::Own(stamp) => {
                let now = Instant::now();
                let age = nanos(now.duration_since(self.epoch)).saturating_sub(stamp.sent);
                self.account.note(stamp.number);
                tally.latency.add(age);
                tally.delivered += 1;
                tally.last = Some(now);
            }
            Heard::Foreign => tally.foreign += 1,
            Heard::Answer => {}
        }
    }
}

/// A duration as the histograms count it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
