//! From the backend's answer to a connection in a shard.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ht_backend::Answer;
use ht_backend::Credentials;
use ht_core::shard::Admission;
use ht_core::shard::Welcome;
use ht_frame::PerMessageDeflate;
use ht_proto::close::Close;
use ht_proto::grant::GrantList;
use ht_proto::server;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use uuid::Uuid;

use crate::inbox::NewConnection;
use crate::listener::Stream;
use crate::public::Public;
use crate::public::Reserved;
use crate::socket::About;
use crate::socket::Socket;

/// What the API thinks of a visitor.
pub(super) struct Visitor {
    welcome: Welcome,
    about: Option<Box<About>>,
}

impl Visitor {
    /// Turns the API's answer into the first message and what may follow. Counts and logs it.
    pub(super) fn new(
        public: &Public,
        answer: Answer,
        credentials: Credentials,
        deflate: Option<PerMessageDeflate>,
    ) -> Self {
        let id = Uuid::new_v4();
        let counter = &public.node.counters.bootstraps;
        let close = match answer {
            Answer::Admitted(admission) => match parse(&admission.allowed_rooms) {
                Some(list) => {
                    counter.add("admitted");
                    return Self::admitted(
                        public,
                        id,
                        list,
                        admission.user_id,
                        credentials,
                        deflate,
                    );
                }
                None => {
                    counter.add("allowed-rooms");
                    if let Some(suppressed) = public.node.throttles.tell("allowed-rooms") {
                        let problem = "allowed_rooms is not a list of JSON objects";
                        tracing::warn!(
                            suppressed,
                            "the backend's bootstrap answer is unusable: {problem}"
                        );
                    }
                    Close::NORMAL
                }
            },
            Answer::Refused(refusal) => {
                counter.add(refusal.kind());
                tracing::debug!(connection = %id, %refusal, "refused a visitor");
                Close::NORMAL
            }
            Answer::Failed(failure) => {
                counter.add(failure.kind());
                if let Some(suppressed) = public.node.throttles.tell(failure.kind()) {
                    tracing::warn!(kind = failure.kind(), %failure, suppressed, "no usable answer from the backend");
                }
                Close::BACKEND
            }
        };
        let message = Bytes::from_static(server::NOT_AUTHORIZED.as_bytes());
        let welcome = Welcome {
            id,
            message,
            admission: Admission::Refused(close),
            deflate,
        };
        Self {
            welcome,
            about: None,
        }
    }

    fn admitted(
        public: &Public,
        id: Uuid,
        list: GrantList,
        user: Option<Box<str>>,
        credentials: Credentials,
        deflate: Option<PerMessageDeflate>,
    ) -> Self {
        let message = server::authorized(&list.text).into();
        let admission = Admission::Admitted(public.grants.intern(list.rooms));
        let credentials = public.has_hooks.then(|| Arc::new(credentials));
        let about = (user.is_some() || credentials.is_some()).then(|| {
            Box::new(About {
                id,
                user,
                credentials,
                pinged: None,
            })
        });
        Self {
            welcome: Welcome {
                id,
                message,
                admission,
                deflate,
            },
            about,
        }
    }
}

fn parse(allowed_rooms: &[u8]) -> Option<GrantList> {
    GrantList::parse(std::str::from_utf8(allowed_rooms).ok()?).ok()
}

/// A connection between its 101 and its shard.
pub(super) struct Handover {
    pub(super) upgrade: OnUpgrade,
    pub(super) welcome: Visitor,
    pub(super) reserved: Reserved,
}

/// Where the request's handler leaves the handover for the connection's task.
#[derive(Default)]
pub(super) struct Pending(Mutex<Option<Handover>>);

impl Pending {
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
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
            debug_assert!(false, "only streams of the public listener are served");
            return;
        };
        let Visitor { welcome, about } = self.welcome;
        // Registered anew by the shard: nothing of the handshake stays behind.
        let socket = match parts.io.into_inner() {
            Stream::Tcp(stream) => stream.into_std().map(|stream| Socket::tcp(stream, about)),
            Stream::Unix(stream) => stream.into_std().map(|stream| Socket::unix(stream, about)),
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "a socket could not be handed to its shard");
                return;
            }
        };
        let early = parts.read_buf.to_vec();
        let Reserved {
            handshake,
            mut place,
        } = self.reserved;
        let first = public.next_shard.fetch_add(1, Ordering::Relaxed);
        for shard in public.node.shards_by_load(first) {
            // A shard that has ended takes nobody; where all have, the node goes.
            if let Ok(room) = public.shards[shard].reserve_connection().await {
                place.assign(shard);
                // The client is about to hear that its handshake is over.
                drop(handshake);
                room.send(Box::new(NewConnection {
                    socket,
                    welcome,
                    early,
                    place,
                }));
                return;
            }
        }
    }
}
