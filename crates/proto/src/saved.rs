//! A window between two processes of a node: the bytes of its file.
//!
//! The file is a sequence of records: a kind, a length and so many bytes. The last one has a
//! checksum over all others, so a file that was cut, damaged or made by another version is
//! recognised. Reading trusts nothing else of it either: positions grow, and every length is that
//! of bytes that are there.

#[cfg(test)]
mod tests;
mod writer;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cursor::Check;
use crate::digest::digest;
use crate::entry::{Epoch, Position};
use crate::id::ID_BYTES_MAX;
use crate::room::{Room, RoomError, RoomLimits};
pub use crate::saved::writer::SavedWriter;
use crate::saved::writer::put;
use crate::tenant::TenantName;

/// The first bytes of a file of this version of the format.
const MAGIC: &[u8; 16] = b"high-templar-w1\n";

/// Bytes of a record without its content.
const RECORD: usize = 1 + size_of::<u32>();

/// The order that a window belongs to, and where the window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedOrder {
    /// The name of the order.
    pub epoch: Epoch,
    /// When it was saved, in milliseconds since 1970.
    pub at: u64,
    /// The last position that was given.
    pub last: Position,
    /// The position of the last entry that was dropped.
    pub start: Position,
    /// The check of that entry.
    pub start_check: Check,
    /// Entries after the last one may not have reached the node.
    pub is_missing: bool,
}

/// An entry of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedEntry {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its position.
    pub position: Position,
    /// How old it was when the window was saved, in milliseconds.
    pub age: u64,
    /// Its check.
    pub check: Check,
    /// What it is.
    pub body: SavedBody,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedBody {
    /// A publication.
    Publication {
        /// Its rooms.
        rooms: Vec<Room>,
        /// The JSON text of its data.
        data: Bytes,
    },
    /// A command: its text.
    Command(Bytes),
    /// Entries are missing here.
    Hole,
    /// It was dropped because its tenant had too many bytes.
    Trimmed,
}

/// The id of a trigger or a command that had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedId {
    /// Whose it is.
    pub tenant: TenantName,
    /// The id.
    pub id: Box<str>,
    /// Where it was placed.
    pub position: Position,
}

/// A window as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its order.
    pub order: SavedOrder,
    /// The ids of the last triggers that had one, the oldest first.
    pub ids: Vec<SavedId>,
    /// Its entries, the oldest first.
    pub entries: Vec<SavedEntry>,
}

/// Why bytes are not a saved window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// It begins differently.
    #[error("it is not a window of this version")]
    OtherFormat,
    /// It was cut or changed.
    #[error("it is damaged")]
    Damaged,
    /// Its positions do not grow.
    #[error("its positions do not grow")]
    Positions,
    /// A room in it is none.
    #[error("a room in it is invalid: {0}")]
    Room(#[from] RoomError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Order,
    Id,
    Publication,
    Command,
    Hole,
    End,
    /// The records that follow are of this tenant; before the first one, of `main`.
    Tenant,
    Trimmed,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Order,
        Self::Id,
        Self::Publication,
        Self::Command,
        Self::Hole,
        Self::End,
        Self::Tenant,
        Self::Trimmed,
    ];
}

/// Where and when an entry was placed, and its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedAt {
    /// Its position.
    pub position: Position,
    /// Its age in milliseconds.
    pub age: u64,
    /// Its check.
    pub check: Check,
}

impl SavedAt {
    fn write(self, out: &mut Vec<u8>) {
        put(out, self.position.get());
        put(out, self.age);
        out.extend(self.check.get().to_le_bytes());
    }

    fn with(self, tenant: &TenantName, body: SavedBody) -> SavedEntry {
        SavedEntry {
            tenant: tenant.clone(),
            position: self.position,
            age: self.age,
            check: self.check,
            body,
        }
    }

    fn read(content: &mut &[u8]) -> Option<Self> {
        Some(Self {
            position: Position::new(number(content)?)?,
            age: number(content)?,
            check: Check::from_bits(short(content)?),
        })
    }
}

/// The checksum with one more record. Each depends on all before it.
fn next_sum(sum: u64, kind: Kind, content: &[u8]) -> u64 {
    let mut chained = [0; 17];
    chained[..8].copy_from_slice(&sum.to_le_bytes());
    chained[8..16].copy_from_slice(&digest(content).to_le_bytes());
    chained[16] = kind as u8;
    digest(&chained)
}

impl Saved {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Self, SavedError> {
        let rest = file.strip_prefix(MAGIC).ok_or(SavedError::OtherFormat)?;
        check_sum(rest)?;
        let mut records = Records(rest);
        let order = match records.next() {
            Some((Kind::Order, content)) => order(content).ok_or(SavedError::Damaged)?,
            _ => return Err(SavedError::Damaged),
        };
        let mut saved = Self {
            order,
            ids: Vec::new(),
            entries: Vec::new(),
        };
        let mut tenant = TenantName::main();
        for (kind, content) in records {
            saved.add(kind, content, &mut tenant)?;
        }
        saved.check_positions()?;
        Ok(saved)
    }

    /// Adds a record; `tenant`: whose it is.
    fn add(
        &mut self,
        kind: Kind,
        mut content: &[u8],
        tenant: &mut TenantName,
    ) -> Result<(), SavedError> {
        match kind {
            Kind::Order => return Err(SavedError::Damaged),
            Kind::Id => self
                .ids
                .push(id(content, tenant).ok_or(SavedError::Damaged)?),
            Kind::Publication => {
                let at = at(&mut content)?;
                self.entries.push(at.with(tenant, publication(content)?));
            }
            Kind::Command => {
                let at = at(&mut content)?;
                let text = Bytes::copy_from_slice(content);
                self.entries.push(at.with(tenant, SavedBody::Command(text)));
            }
            Kind::Hole => {
                let hole = at(&mut content)?.with(tenant, SavedBody::Hole);
                self.entries.push(hole);
            }
            Kind::Trimmed => {
                let trimmed = at(&mut content)?.with(tenant, SavedBody::Trimmed);
                self.entries.push(trimmed);
            }
            Kind::Tenant => *tenant = name(content).ok_or(SavedError::Damaged)?,
            Kind::End => {}
        }
        Ok(())
    }

    fn check_positions(&self) -> Result<(), SavedError> {
        let SavedOrder { start, last, .. } = self.order;
        let positions = self.entries.iter().map(|entry| entry.position);
        let positions: Vec<_> = std::iter::once(start).chain(positions).collect();
        let grows = positions.is_sorted_by(|one, next| one < next);
        let is_known = positions.last().is_some_and(|position| *position <= last);
        let ids = self.ids.iter().all(|id| id.position <= last);
        if grows && is_known && ids {
            Ok(())
        } else {
            Err(SavedError::Positions)
        }
    }
}

/// Verifies that the last record, and no other, ends the file, with the checksum of the others.
fn check_sum(rest: &[u8]) -> Result<(), SavedError> {
    let mut records = Records(rest);
    let mut sum = 0;
    while let Some((kind, mut content)) = records.next() {
        if kind == Kind::End {
            let is_sum = content.len() == size_of::<u64>() && number(&mut content) == Some(sum);
            let is_last = records.0.is_empty();
            return (is_sum && is_last).then_some(()).ok_or(SavedError::Damaged);
        }
        sum = next_sum(sum, kind, content);
    }
    Err(SavedError::Damaged)
}

/// The records of a file, up to the first that is incomplete.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (Kind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_at_checked(RECORD)?;
        let [kind, len @ ..] = head else { return None };
        let kind = *Kind::ALL.get(usize::from(*kind))?;
        let len = u32::from_le_bytes(len.try_into().ok()?);
        let (content, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some((kind, content))
    }
}

fn order(mut content: &[u8]) -> Option<SavedOrder> {
    let content = &mut content;
    let order = SavedOrder {
        epoch: Epoch::parse(std::str::from_utf8(bytes(content)?).ok()?)?,
        at: number(content)?,
        last: Position::new(number(content)?)?,
        start: Position::new(number(content)?)?,
        start_check: Check::from_bits(short(content)?),
        is_missing: match content {
            [0] => false,
            [1] => true,
            _ => return None,
        },
    };
    Some(order)
}

fn at(content: &mut &[u8]) -> Result<SavedAt, SavedError> {
    SavedAt::read(content).ok_or(SavedError::Damaged)
}

fn name(content: &[u8]) -> Option<TenantName> {
    std::str::from_utf8(content).ok()?.parse().ok()
}

fn id(mut content: &[u8], tenant: &TenantName) -> Option<SavedId> {
    let position = Position::new(number(&mut content)?)?;
    let is_valid = (1..=ID_BYTES_MAX).contains(&content.len());
    let id = std::str::from_utf8(content).ok()?;
    is_valid.then(|| SavedId {
        tenant: tenant.clone(),
        id: id.into(),
        position,
    })
}

fn publication(mut content: &[u8]) -> Result<SavedBody, SavedError> {
    let content = &mut content;
    let count = short(content).ok_or(SavedError::Damaged)?;
    let mut rooms = Vec::new();
    for _ in 0..count {
        let text = bytes(content).ok_or(SavedError::Damaged)?;
        let text = std::str::from_utf8(text).map_err(|_| SavedError::Damaged)?;
        rooms.push(Room::parse(text, RoomLimits::TRUSTED)?);
    }
    let data: &RawValue = serde_json::from_slice(content).map_err(|_| SavedError::Damaged)?;
    let data = Bytes::copy_from_slice(data.get().as_bytes());
    Ok(SavedBody::Publication { rooms, data })
}

fn number(content: &mut &[u8]) -> Option<u64> {
    let (number, rest) = content.split_first_chunk()?;
    *content = rest;
    Some(u64::from_le_bytes(*number))
}

fn short(content: &mut &[u8]) -> Option<u32> {
    let (number, rest) = content.split_first_chunk()?;
    *content = rest;
    Some(u32::from_le_bytes(*number))
}

fn bytes<'a>(content: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(short(content)?).ok()?;
    let (bytes, rest) = content.split_at_checked(len)?;
    *content = rest;
    Some(bytes)
}
