//! Writing the file of a window.

use std::io;

use crate::entry::Position;
use crate::room::Room;
use crate::saved::{Kind, MAGIC, SavedAt, SavedOrder, next_sum};
use crate::tenant::TenantName;

/// Writes a window: first the ids, then the entries, each the oldest first.
#[derive(Debug)]
pub struct SavedWriter<W> {
    out: W,
    sum: u64,
    /// Whose what follows is.
    tenant: TenantName,
    /// The content of a record.
    pub(super) content: Vec<u8>,
}

impl<W: io::Write> SavedWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, order: &SavedOrder) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let mut writer = Self {
            out,
            sum: 0,
            tenant: TenantName::main(),
            content: Vec::new(),
        };
        let content = &mut writer.content;
        put_bytes(content, order.epoch.to_string().as_bytes());
        put(content, order.at);
        put(content, order.last.get());
        put(content, order.start.get());
        content.extend(order.start_check.get().to_le_bytes());
        content.push(u8::from(order.is_missing));
        writer.flush_record(Kind::Order)?;
        Ok(writer)
    }

    /// What follows is of this tenant; before the first call, of `main`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn of_tenant(&mut self, tenant: &TenantName) -> io::Result<()> {
        if self.tenant == *tenant {
            return Ok(());
        }
        self.tenant = tenant.clone();
        self.content.extend(tenant.as_str().as_bytes());
        self.flush_record(Kind::Tenant)
    }

    /// Adds an id and the position of its trigger.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn id(&mut self, id: &str, position: Position) -> io::Result<()> {
        put(&mut self.content, position.get());
        self.content.extend(id.as_bytes());
        self.flush_record(Kind::Id)
    }

    /// Adds a publication.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn publication(&mut self, at: SavedAt, rooms: &[Room], data: &[u8]) -> io::Result<()> {
        at.write(&mut self.content);
        let count = u32::try_from(rooms.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.content.extend(count.to_le_bytes());
        for room in rooms {
            put_bytes(&mut self.content, room.to_json().as_bytes());
        }
        self.content.extend(data);
        self.flush_record(Kind::Publication)
    }

    /// Adds a command with this text.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn command(&mut self, at: SavedAt, text: &[u8]) -> io::Result<()> {
        at.write(&mut self.content);
        self.content.extend(text);
        self.flush_record(Kind::Command)
    }

    /// Adds a hole.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn hole(&mut self, at: SavedAt) -> io::Result<()> {
        at.write(&mut self.content);
        self.flush_record(Kind::Hole)
    }

    /// Adds an entry that was dropped because its tenant had too many bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn trimmed(&mut self, at: SavedAt) -> io::Result<()> {
        at.write(&mut self.content);
        self.flush_record(Kind::Trimmed)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(mut self) -> io::Result<W> {
        put(&mut self.content, self.sum);
        self.flush_record(Kind::End)?;
        self.out.flush()?;
        Ok(self.out)
    }

    pub(super) fn flush_record(&mut self, kind: Kind) -> io::Result<()> {
        let len = u32::try_from(self.content.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.write_all(&[kind as u8])?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&self.content)?;
        self.sum = next_sum(self.sum, kind, &self.content);
        self.content.clear();
        Ok(())
    }
}

pub(super) fn put(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // What is longer does not fit into a record, which is refused.
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(bytes);
}
