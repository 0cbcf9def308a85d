//! What waits for its turn in a shard, in the order of the node.

use std::sync::Arc;

use crate::command::{Command, Ending};
use crate::publication::Publication;

/// What waits for its turn.
#[derive(Debug)]
pub(super) enum Item {
    /// A batch to be delivered.
    Publications(Arc<[Publication]>),
    /// A command to be carried out.
    Command(Arc<Command>),
    /// Commands were lost, the last of them at this position: everybody is closed.
    Lost(u64, Ending),
}
