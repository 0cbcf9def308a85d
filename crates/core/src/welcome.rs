//! How a connection begins.

use std::sync::Arc;

use bytes::Bytes;
use ht_frame::PerMessageDeflate;
use ht_proto::close::Close;
use ht_proto::subprotocol::Subprotocol;
use uuid::Uuid;

use crate::grant::GrantSet;
use crate::who::Who;

/// How a connection begins.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The connection's id.
    pub id: Uuid,
    /// The first message, text.
    pub message: Bytes,
    /// Whether the visitor may stay.
    pub admission: Admission,
    /// Who an admitted client is, where its API said so; equal ones share one.
    pub who: Option<Arc<Who>>,
    /// What the handshake agreed upon about compression.
    pub deflate: Option<PerMessageDeflate>,
    /// The subprotocol that the handshake chose.
    pub subprotocol: Option<Subprotocol>,
}

/// Whether a visitor may stay.
#[derive(Clone, Debug)]
pub enum Admission {
    /// With these grants.
    Admitted(Arc<GrantSet>),
    /// No; it is closed for this reason after a moment.
    Refused(Close),
    /// No; it is closed for this reason at once, for what it says next may have no meaning.
    TurnedAway(Close),
}
