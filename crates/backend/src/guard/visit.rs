//! Waiting clients, and the calls that they wait for. A call is a future that all of its clients
//! drive, so that it needs no task and ends with the last of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use ht_overload::{CallGuard, CallId, Output, Refusal, WaiterId};
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::guard::Parts;
use crate::guard::key::Key;

/// A call, driven by all clients that wait for it.
type Drive = Shared<BoxFuture<'static, ()>>;

/// Signals to a call that it may be sent; dropped if it never is.
pub(super) type Begun = oneshot::Receiver<()>;

/// The state machine, with the clients and the calls that it decides on.
pub(super) struct Desk {
    pub(super) guard: CallGuard<Key, Answer>,
    clients: HashMap<WaiterId, oneshot::Sender<Answer>>,
    calls: HashMap<CallId, Driven>,
}

struct Driven {
    drive: Drive,
    /// Until it is sent.
    begin: Option<oneshot::Sender<()>>,
}

impl Desk {
    pub(super) fn new(guard: CallGuard<Key, Answer>) -> Self {
        Self {
            guard,
            clients: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// A client waits for a call; `drive` sends it, if it is the first to wait for it.
    pub(super) fn wait(
        &mut self,
        waiter: WaiterId,
        call: CallId,
        drive: impl FnOnce(Begun) -> BoxFuture<'static, ()>,
    ) -> (Drive, oneshot::Receiver<Answer>) {
        let (sender, answer) = oneshot::channel();
        self.clients.insert(waiter, sender);
        let driven = self.calls.entry(call).or_insert_with(|| {
            let (begin, begun) = oneshot::channel();
            Driven {
                drive: drive(begun).shared(),
                begin: Some(begin),
            }
        });
        (driven.drive.clone(), answer)
    }

    /// A client stops waiting.
    fn left(&mut self, waiter: WaiterId, now: Duration) -> Orders {
        self.clients.remove(&waiter);
        self.guard.left(waiter, now);
        self.orders()
    }

    /// Removes these clients.
    pub(super) fn clients(&mut self, waiters: BTreeSet<WaiterId>) -> Vec<oneshot::Sender<Answer>> {
        let waiters = waiters.into_iter();
        waiters
            .filter_map(|waiter| self.clients.remove(&waiter))
            .collect()
    }

    /// Effects of the last steps, to be executed without the lock.
    pub(super) fn orders(&mut self) -> Orders {
        let mut orders = Vec::new();
        while let Some(output) = self.guard.poll_output() {
            let order = match output {
                Output::Call(call, _) => {
                    let driven = self.calls.get_mut(&call);
                    driven.and_then(|it| it.begin.take()).map(Order::Begin)
                }
                Output::Refuse(waiter, refusal) => {
                    let client = self.clients.remove(&waiter);
                    client.map(|client| Order::Refuse(client, refusal))
                }
                Output::Over(call) => self.calls.remove(&call).map(Order::Drop),
                Output::Probe => Some(Order::Probe),
            };
            orders.extend(order);
        }
        Orders(orders)
    }
}

/// Work to do without the lock, in its order.
#[must_use = "somebody waits for it"]
pub(super) struct Orders(Vec<Order>);

enum Order {
    Begin(oneshot::Sender<()>),
    Refuse(oneshot::Sender<Answer>, Refusal),
    /// Ends a call in flight, unless its last client is just disconnecting and does so.
    Drop(Driven),
    Probe,
}

impl Orders {
    pub(super) fn follow(self, parts: &Parts) {
        for order in self.0 {
            match order {
                // A client without a receiver is just disconnecting.
                Order::Begin(begin) => {
                    let _ = begin.send(());
                }
                Order::Refuse(client, refusal) => {
                    let _ = client.send(parts.refused(refusal));
                }
                Order::Drop(driven) => drop(driven),
                Order::Probe => parts.probe.notify_one(),
            }
        }
    }
}

/// A waiting client. Removed on drop, however its wait ends.
pub(super) struct Visit {
    pub(super) parts: Arc<Parts>,
    pub(super) waiter: WaiterId,
    /// `None` once it has its result.
    pub(super) drive: Option<Drive>,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Visit {
    /// Drives the call until there is an answer.
    pub(super) async fn answer(mut self) -> Answer {
        let answer = match &mut self.drive {
            Some(drive) => tokio::select! {
                biased;
                answer = &mut self.answer => answer,
                () = drive => (&mut self.answer).await,
            },
            None => (&mut self.answer).await,
        };
        self.drive = None;
        // Only a call that panicked has no result.
        answer.unwrap_or_else(|_| self.parts.refused(Refusal::Busy))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // First, so that the call is over before its slot is given to another.
        if self.drive.take().is_some() {
            let orders = self.parts.desk().left(self.waiter, self.parts.now());
            orders.follow(&self.parts);
        }
    }
}
