//! Messages of clients whose sessions are held: they are processed in their order once the session
//! is live, by the permissions that it has then.

use std::collections::{HashMap, VecDeque};

use ht_frame::Event;

use crate::Hasher;
use crate::account::Kind;
use crate::connection::{ConnectionId, SessionKey};
use crate::peer::Peer;
use crate::session::Session;
use crate::shard::Shard;
use crate::shard::behind::Behind;

/// Messages that are kept for one session before nothing more is read from its client.
const MESSAGES: usize = 256;

/// Bytes of them, likewise.
const BYTES: usize = 64 << 10;

/// Memory of a message beside its text.
const OVERHEAD: usize = 32;

/// The messages of all sessions that have some.
#[derive(Debug, Default)]
pub(super) struct Postponed(HashMap<SessionKey, Box<Kept>, Hasher>);

/// What is kept for one session.
#[derive(Debug, Default)]
struct Kept {
    texts: VecDeque<Box<str>>,
    /// Bytes read after them and not decoded.
    raw: Vec<u8>,
    /// What it takes, in bytes.
    bytes: usize,
}

impl Kept {
    fn is_full(&self) -> bool {
        self.texts.len() >= MESSAGES || self.bytes >= BYTES
    }
}

impl<P: Peer> Shard<P> {
    /// Keeps a message of a held session.
    pub(super) fn postpone(&mut self, id: ConnectionId, event: &Event<'_>) {
        let text = match event {
            Event::Text(text) => text,
            // Not UTF-8 is not JSON.
            Event::Binary(bytes) => str::from_utf8(bytes).unwrap_or_default(),
            Event::Ping(_) | Event::Pong(_) | Event::Close(_) => return,
        };
        let bytes = text.len() + OVERHEAD;
        let kept = self.kept_mut(id);
        kept.texts.push_back(text.into());
        kept.bytes += bytes;
        self.settings.accounts.replace(Kind::Messages, 0, bytes);
    }

    /// Keeps a message of a session that was live until now: it is processed again before all others.
    pub(super) fn postpone_first(&mut self, id: ConnectionId, text: &str) {
        let bytes = text.len() + OVERHEAD;
        let kept = self.kept_mut(id);
        kept.texts.push_front(text.into());
        kept.bytes += bytes;
        self.settings.accounts.replace(Kind::Messages, 0, bytes);
    }

    /// Keeps undecoded bytes of a held session whose messages are as many as are kept. Returns
    /// false where it is not one.
    pub(super) fn keep_raw(&mut self, key: SessionKey, bytes: &[u8]) -> bool {
        let Some(id) = self.sessions.find(key).filter(|id| self.is_full(*id)) else {
            return false;
        };
        let kept = self.kept_mut(id);
        kept.raw.extend_from_slice(bytes);
        kept.bytes += bytes.len();
        let accounts = &self.settings.accounts;
        accounts.replace(Kind::Messages, 0, bytes.len());
        true
    }

    fn kept_mut(&mut self, id: ConnectionId) -> &mut Kept {
        self.postponed.0.entry(self.sessions.key(id.0)).or_default()
    }

    fn kept(&self, id: ConnectionId) -> Option<&Kept> {
        // Most often no session has any.
        if self.postponed.0.is_empty() {
            return None;
        }
        let kept = self.postponed.0.get(&self.sessions.key(id.0));
        kept.map(|kept| &**kept)
    }

    /// Bytes that are kept for a session.
    pub(super) fn postponed_bytes(&self, id: ConnectionId) -> usize {
        self.kept(id).map_or(0, |kept| kept.bytes)
    }

    /// Whether nothing more is read from the client of a held session.
    pub(super) fn is_full(&self, id: ConnectionId) -> bool {
        self.kept(id).is_some_and(Kept::is_full) && self.is_held(id)
    }

    /// Whether messages of a session are to be processed before what its client sends.
    pub(super) fn has_postponed(&self, id: ConnectionId) -> bool {
        self.kept(id).is_some() && !self.is_held(id)
    }

    fn is_held(&self, id: ConnectionId) -> bool {
        let session = self.sessions.get(id.index());
        session.is_some_and(Session::is_held)
    }

    /// The next message of a session that is not held any more.
    pub(super) fn next_postponed(&mut self, id: ConnectionId) -> Option<Box<str>> {
        if !self.has_postponed(id) {
            return None;
        }
        let key = self.sessions.key(id.0);
        let kept = self.postponed.0.get_mut(&key)?;
        let text = kept.texts.pop_front();
        let bytes = text.as_ref().map_or(0, |text| text.len() + OVERHEAD);
        kept.bytes -= bytes;
        let is_empty = kept.texts.is_empty();
        self.settings.accounts.replace(Kind::Messages, bytes, 0);
        if is_empty {
            self.forget_postponed(id);
        }
        text
    }

    /// A session is live again: its messages are processed when it has its turn.
    pub(super) fn resume_postponed(&mut self, key: SessionKey) {
        let Some(kept) = self.postponed.0.get_mut(&key) else {
            return;
        };
        let raw = std::mem::take(&mut kept.raw);
        kept.bytes -= raw.len();
        let accounts = &self.settings.accounts;
        accounts.replace(Kind::Messages, raw.len(), 0);
        // If it is behind anyway, nothing more was read.
        if !self.sessions[key.slot as usize].behind {
            self.keep_behind(Behind::new(key, raw));
        }
    }

    /// Forgets the messages of a session.
    pub(super) fn forget_postponed(&mut self, id: ConnectionId) {
        if let Some(kept) = self.postponed.0.remove(&self.sessions.key(id.0)) {
            let accounts = &self.settings.accounts;
            accounts.replace(Kind::Messages, kept.bytes, 0);
        }
    }
}
