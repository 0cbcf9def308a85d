//! What a resume ticket says of a session, and what forbids to let its client in by one.
//!
//! A ticket is an answer of the API as old as the proof that belongs to it: the client is let in if
//! nothing has happened since then that may concern its permissions.

use std::sync::Arc;

use ht_proto::cursor::Cursor;
use uuid::Uuid;

use crate::budget::cost;
use crate::grant::GrantSet;
use crate::select::{Candidate, Tested};
use crate::who::Who;
use crate::window::{Kept, View, Wanted};

/// What a client may do, and since when that is known.
#[derive(Debug)]
pub struct Granted<'a> {
    /// The id of its connection.
    pub connection: Uuid,
    /// Its identity.
    pub who: Option<&'a Who>,
    /// Its grants.
    pub grants: &'a GrantSet,
    /// They are up to date with everything up to here.
    pub cursor: Cursor,
    /// How long they hold, in milliseconds; none: until the connection ends.
    pub expires_in: Option<u64>,
}

impl Granted<'_> {
    /// The grants as JSON text; none if it is longer than this.
    #[must_use]
    pub fn allowed_rooms(&self, bytes_max: usize) -> Option<String> {
        let mut text = String::from("[");
        for grant in self.grants.iter() {
            if text.len() > 1 {
                text.push_str(", ");
            }
            text.push_str(&grant.to_json());
            if text.len() >= bytes_max {
                return None;
            }
        }
        text.push(']');
        Some(text)
    }
}

/// What happened since a position that may concern the permissions of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A command selects it.
    Command,
    /// Commands may be missing.
    Hole,
    /// So many commands that testing them is more work than a call to the API.
    Much,
}

/// Whether nothing has happened after a position that may concern the permissions of a client, by
/// what a window has.
///
/// # Errors
/// If something has.
pub fn unchanged<T>(
    view: &View<T>,
    position: u64,
    (connection, who, grants): (Uuid, Option<&Who>, &Arc<GrantSet>),
) -> Result<(), Changed> {
    let candidate = Candidate {
        id: connection,
        who,
        grants,
    };
    if position < view.start_of(grants.tenant()) {
        return Err(Changed::Hole);
    }
    let (mut tested, mut units) = (Tested::default(), 0);
    // Segments without commands and holes are skipped.
    let wanted = Wanted::default();
    for item in view.after(position, Some(&wanted)) {
        units += cost::LOOK;
        match &item.body {
            Kept::Entry(_) | Kept::Trimmed => {}
            Kept::Hole => return Err(Changed::Hole),
            // Of another tenant, which may send many.
            Kept::Command(command) if command.selection.tenant != grants.tenant() => {}
            Kept::Command(command) => {
                units += command.selection.units();
                if command.selection.means(candidate, &mut tested) {
                    return Err(Changed::Command);
                }
            }
        }
        if units + tested.compared as u64 * cost::LOOK > cost::CATCH_UP {
            return Err(Changed::Much);
        }
    }
    Ok(())
}
