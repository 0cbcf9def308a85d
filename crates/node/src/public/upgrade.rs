//! From the 101 to a connection in a shard.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use ht_backend::Credentials;
use ht_edge::handshake::Agreed;
use ht_edge::listener::Stream;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::inbox::NewConnection;
use crate::public::bootstrap::Verdict;
use crate::public::charge::Charged;
use crate::public::limits::Reserved;
use crate::public::{Public, first_frame};
use crate::socket::Socket;

/// How far the gateway came with a client before the 101.
pub(super) enum Entry {
    /// The API has answered.
    Asked(Verdict),
    /// The API is asked when the first frame has brought a token beside these.
    Waits(Credentials),
}

/// A connection between its 101 and its shard.
pub(super) struct Handover {
    pub(super) upgrade: OnUpgrade,
    pub(super) agreed: Agreed,
    pub(super) entry: Entry,
    pub(super) reserved: Reserved,
}

/// Where the request's handler leaves the handover for the connection's task.
#[derive(Default)]
pub(super) struct HandoverCell(Mutex<Option<Handover>>);

impl HandoverCell {
    pub(super) fn put(&self, handover: Handover) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handover);
    }

    pub(super) fn take(&self) -> Option<Handover> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Handover {
    /// Takes the socket back from the HTTP library and gives it to a shard.
    pub(super) async fn finish(self, public: &Public) {
        // The client may be gone by now.
        let Ok(upgraded) = self.upgrade.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Charged>>() else {
            debug_assert!(false, "only streams of the public listener are served");
            return;
        };
        let (mut stream, mut early) = (parts.io.into_inner(), parts.read_buf.to_vec());
        let verdict = match self.entry {
            Entry::Asked(verdict) => Some(verdict),
            Entry::Waits(credentials) => {
                let (stream, early) = (&mut stream, &mut early);
                first_frame::ask(public, stream, early, credentials, self.agreed).await
            }
        };
        let Some(Verdict {
            welcome,
            about,
            user,
        }) = verdict
        else {
            return;
        };
        // Registered anew by the shard: nothing of the handshake stays behind.
        let Charged { stream, charge } = stream;
        let socket = match stream {
            Stream::Left(stream) => stream.into_std().map(|stream| Socket::tcp(stream, about)),
            Stream::Right(stream) => stream.into_std().map(|stream| Socket::unix(stream, about)),
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                if let Some(suppressed) = public.node.throttles.tell("hand-over") {
                    let connection = welcome.id;
                    tracing::error!(%connection, %error, suppressed, "a socket could not be handed to its shard");
                }
                return;
            }
        };
        let Reserved {
            handshake,
            mut permit,
        } = self.reserved;
        permit.user = user;
        let first = public.next_shard.fetch_add(1, Ordering::Relaxed);
        for shard in public.node.permits.shards_by_load(first) {
            // A shard that has ended takes nobody; where all have, the node goes.
            if let Ok(room) = public.shards[shard].reserve_connection().await {
                permit.assign(shard);
                // The client is about to hear that its handshake is over.
                drop((handshake, charge));
                room.send(Box::new(NewConnection {
                    socket,
                    welcome,
                    early,
                    permit,
                }));
                return;
            }
        }
    }
}
