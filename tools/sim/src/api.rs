//! The API as a node's calls find it: it responds, is slow, hangs, fails and recovers.

use std::time::Duration;

use ht_core::recheck::Recheck;
use ht_core::shard::SessionKey;
use ht_overload::{CallTime, Key, QueueKey, Reply};

use crate::gate::ip;

/// How long a call may take, in ms.
pub(crate) const CALL_TIMEOUT: u64 = 3_000;

/// The API's response to a client that connects, and its delay in ms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bootstrap {
    Admits(u64),
    Refuses(u64),
    /// It cannot be used, as if the client made the API fail.
    Fails(u64),
    Hangs,
}

/// How the API does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Works,
    /// Every call takes so many ms longer.
    Slow(u64),
    /// No call is answered.
    Hangs,
    /// Every call fails after so many ms.
    Fails(u64),
}

/// A client's credentials: the API's key for it, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Brought {
    pub(crate) address: u8,
    pub(crate) cookie: usize,
    /// The position of the last command on the node when it arrived, where calls are shared.
    pub(crate) came_at: CallTime,
    /// A planted bug: all wait in one queue.
    pub(crate) is_nobody: bool,
}

impl Key for Brought {
    fn queue_key(&self) -> QueueKey {
        (!self.is_nobody).then(|| ip(self.address)).into()
    }

    fn bytes(&self) -> usize {
        8
    }
}

/// What the API says of a client, and when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its grants; none: as they are when the response is sent.
    pub(crate) grants: Option<usize>,
    /// When the call was sent.
    pub(crate) asked: u64,
    /// The position of the last command on the node then.
    pub(crate) asked_at: u64,
    /// The number of the last gap of the node then.
    pub(crate) gap: u32,
    /// It is no answer, but the ticket of this connection.
    pub(crate) resumed: Option<usize>,
}

impl Said {
    /// When the API was asked, as the clock of the calls shows it.
    pub(crate) fn time(&self) -> CallTime {
        CallTime {
            commands: self.asked_at,
            gap: self.gap,
        }
    }
}

/// A response of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Says {
    /// Its recipient.
    pub(crate) brought: Brought,
    /// `None`: no response, or an unusable one.
    pub(crate) admitted: Option<bool>,
    pub(crate) said: Said,
}

impl Reply for Says {
    fn kept(&self) -> Option<(Self, usize)> {
        self.admitted.is_some().then_some((*self, 8))
    }
}

impl Mood {
    /// When a call with this service time gets its response, and which.
    pub(crate) fn answer(self, own: Bootstrap) -> (u64, Option<bool>) {
        let (ms, admitted) = match own {
            Bootstrap::Admits(ms) => (ms, Some(true)),
            Bootstrap::Refuses(ms) => (ms, Some(false)),
            Bootstrap::Fails(ms) => (ms, None),
            Bootstrap::Hangs => (CALL_TIMEOUT, None),
        };
        let (ms, admitted) = match self {
            Self::Works => (ms, admitted),
            Self::Slow(more) => (ms + more, admitted),
            Self::Hangs => (CALL_TIMEOUT, None),
            Self::Fails(after) => (after, None),
        };
        match ms < CALL_TIMEOUT {
            true => (ms, admitted),
            false => (CALL_TIMEOUT, None),
        }
    }

    /// Whether the gateway's own call is answered.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Works | Self::Slow(_))
    }
}

/// Whom the API is asked about: by address and cookie.
pub(crate) type Credentials = (u8, usize);

/// How long a session waits for the API.
pub(crate) const HOLD_TIMEOUT: Duration = Duration::from_secs(8);

/// A session: its shard, and its key there.
pub(crate) type Asker = (usize, SessionKey);

/// What a shard wants of the API.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// An answer about a session, with its connection.
    Answer(Recheck, usize),
    /// None any more.
    Nothing(SessionKey),
}
