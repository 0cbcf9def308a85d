//! Clients that were away, and resume at once over a full window while others receive triggers.

use std::net::SocketAddr;

use super::{DriveError, Run, micros};
use crate::client::{Crowd, FleetError, ROOM};
use crate::command;
use crate::endpoint::{EndpointAt, Post};
use crate::metrics;
use crate::outcome::Resuming;
use crate::workload::Away;

/// Triggers in a request that fills the window.
const BATCH: usize = 100;

impl Run<'_> {
    /// Measures deliveries for as long, first without them and then while they resume.
    pub(super) fn crowd(
        &mut self,
        away: Away,
        server: SocketAddr,
        endpoint: &EndpointAt,
    ) -> Result<Resuming, DriveError> {
        let &EndpointAt::Http(address, Post::Trigger) = endpoint else {
            return Err(FleetError::Unable("resume").into());
        };
        let work = self.workload;
        let mut crowd = Crowd::connect(server, away.clients, work.joining, work.patience)?;
        let publish = |triggers: &[(String, u64)]| {
            command::publish(address, triggers).map_err(DriveError::Publish)
        };
        let nobody = |number| {
            let room = format!(r#"{{"target":"bench","id":"nobody-{number}"}}"#);
            (room, number)
        };
        // Everything after this trigger is missed.
        let cursor = publish(&[nobody(0)])?;
        let entries: Vec<_> = (1..=away.entries).map(nobody).collect();
        for batch in entries.chunks(BATCH) {
            publish(batch)?;
        }
        let missed: Vec<_> = (0..away.missed).map(|n| (ROOM.to_owned(), n)).collect();
        publish(&missed)?;
        self.phase(work.warm_up)?;
        let without = self.span(work.measured)?;
        let (with, resumed) = std::thread::scope(|scope| {
            let resuming = scope.spawn(|| crowd.resume(&cursor, away.missed));
            let with = self.span(work.measured);
            (with, resuming.join())
        });
        let (with, resumed) = (
            with?,
            resumed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        );
        let took = resumed?;
        if took > work.measured {
            let why =
                format!("the clients resumed for {took:?}, longer than deliveries were measured");
            self.invalid.get_or_insert(why);
        }
        Ok(Resuming {
            clients: away.clients,
            entries: metrics::window_entries(address).unwrap_or_default(),
            missed: away.missed,
            took_us: micros(took),
            cpu_us: (with.cpu_us - without.cpu_us) / away.clients.max(1) as f64,
            p99_us: (without.p99_us, with.p99_us),
            longest_us: (without.longest_us, with.longest_us),
            longest_turn_us: metrics::longest_turn(address).map_or(0.0, |seconds| seconds * 1e6),
        })
    }
}
