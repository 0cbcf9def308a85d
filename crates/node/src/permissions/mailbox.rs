//! Requests of the shards: the last one of each session that was not taken yet, so that there are
//! never more than sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ht_backend::KeptCredentials;
use ht_core::shard::SessionKey;
use ht_overload::{Due, Patience};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;

/// Upper bounds of the histogram of holds, in seconds.
const HOLDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The session that an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Asker {
    pub(crate) shard: usize,
    /// It is about a new token of the client.
    pub(crate) has_token: bool,
    pub(crate) key: SessionKey,
}

/// A request for an answer.
#[derive(Debug)]
pub(crate) struct Request {
    /// The credentials of the call; `None` if the client's cannot be sent.
    pub(crate) credentials: Option<Arc<KeptCredentials>>,
    pub(crate) due: Due,
}

/// What a shard last said about a session.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// An earlier request is not needed any more.
    pub(crate) is_cancelled: bool,
    /// An answer is needed, also to an earlier request.
    pub(crate) request: Option<Request>,
}

/// The requests that were not taken yet.
#[derive(Debug)]
pub(crate) struct Mailbox {
    messages: Mutex<Messages>,
    filled: Notify,
    /// Of all pipelines of the node.
    hold_seconds: Histogram,
}

#[derive(Debug, Default)]
struct Messages {
    by_asker: HashMap<Asker, Message>,
    /// Oldest first.
    order: Vec<Asker>,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            messages: Mutex::default(),
            filled: Notify::new(),
            hold_seconds: Histogram::new(HOLDS),
        }
    }
}

impl Mailbox {
    /// That of another pipeline of the same node.
    pub(crate) fn beside(&self) -> Self {
        Self {
            hold_seconds: self.hold_seconds.clone(),
            ..Self::default()
        }
    }
}

impl Messages {
    fn of(&mut self, asker: Asker) -> &mut Message {
        self.by_asker.entry(asker).or_insert_with(|| {
            self.order.push(asker);
            Message::default()
        })
    }
}

impl Mailbox {
    /// A session needs an answer.
    pub(crate) fn request(&self, asker: Asker, mut request: Request) {
        let mut messages = self.lock();
        let message = messages.of(asker);
        if let Some(former) = &message.request {
            let due = &mut request.due;
            due.not_before = due.not_before.with(former.due.not_before);
            if former.due.patience == Patience::Held {
                due.patience = Patience::Held;
            }
        }
        message.request = Some(request);
        drop(messages);
        self.filled.notify_one();
    }

    /// A session needs no answer any more.
    pub(crate) fn cancel(&self, asker: Asker) {
        *self.lock().of(asker) = Message {
            is_cancelled: true,
            request: None,
        };
        self.filled.notify_one();
    }

    /// Has the messages looked at, because a tenant is not served any more.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Ready when there may be messages.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all messages, one for each session, in the order of the first ones.
    pub(crate) fn take(&self) -> Vec<(Asker, Message)> {
        let Messages {
            mut by_asker,
            order,
        } = std::mem::take(&mut *self.lock());
        let message = |asker| Some((asker, by_asker.remove(&asker)?));
        order.into_iter().filter_map(message).collect()
    }

    /// How long sessions were held.
    pub(crate) fn hold_seconds(&self) -> &Histogram {
        &self.hold_seconds
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ht_backend::CallTime;

    fn asker(slot: u64) -> Asker {
        Asker {
            shard: 0,
            has_token: false,
            key: SessionKey::from_bits(slot),
        }
    }

    fn request(not_before: u64, patience: Patience) -> Request {
        let due = Due {
            not_before: CallTime {
                commands: not_before,
                gap: 0,
            },
            patience,
        };
        Request {
            credentials: Some(Arc::default()),
            due,
        }
    }

    #[test]
    fn however_many_requests_a_session_makes_one_message_is_left() {
        let mailbox = Mailbox::default();
        mailbox.request(asker(1), request(5, Patience::Held));
        mailbox.request(asker(2), request(6, Patience::Renewal));
        mailbox.request(asker(1), request(4, Patience::Renewal));
        let messages = mailbox.take();
        let of = |(asker, message): &(Asker, Message)| {
            (*asker, message.request.as_ref().map(|it| it.due))
        };
        let expected = [
            (asker(1), Some(request(5, Patience::Held).due)),
            (asker(2), Some(request(6, Patience::Renewal).due)),
        ];
        assert_eq!(messages.iter().map(of).collect::<Vec<_>>(), expected);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn a_cancelled_request_is_not_made_and_a_later_one_is() {
        let mailbox = Mailbox::default();
        mailbox.request(asker(1), request(5, Patience::Held));
        mailbox.cancel(asker(1));
        mailbox.cancel(asker(2));
        mailbox.request(asker(2), request(3, Patience::Renewal));
        let messages = mailbox.take();
        assert!(messages.iter().all(|(_, message)| message.is_cancelled));
        assert!(messages[0].1.request.is_none());
        let due = messages[1].1.request.as_ref().unwrap().due;
        assert_eq!(due, request(3, Patience::Renewal).due);
    }
}
