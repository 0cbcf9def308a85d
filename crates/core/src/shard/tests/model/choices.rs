//! Bytes of a fuzzer as a mode and operations. They are read in order, so that a change of one byte
//! changes little; where they end, so do the operations.

use super::Mode;
use super::operations::{
    CLIENTS, Message, NAMES, Operation, Outcome, RIGHTS, ROOMS, TENANTS, Whom,
};
use crate::index::Matching;

/// Most operations of one run.
const OPERATIONS: usize = 300;

/// The remaining bytes.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    /// A number below `limit`, which is at most 65,536.
    fn below(&mut self, limit: usize) -> usize {
        let width = if limit > 256 { 2 } else { 1 };
        let (now, rest) = self.0.split_at(width.min(self.0.len()));
        self.0 = rest;
        now.iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
            % limit
    }

    /// Nothing, or a number from 1 to `most`.
    fn bound(&mut self, most: usize) -> usize {
        if self.below(2) == 0 {
            0
        } else {
            1 + self.below(most)
        }
    }

    pub(super) fn mode(&mut self) -> Mode {
        Mode {
            matching: [Matching::Wildcard, Matching::Exact][self.below(2)],
            eager: self.below(2) == 0,
            outbox_bytes: self.bound(400),
            outbox_total_bytes: self.bound(2_000),
            outbox_age: self.bound(10_000) as u64,
            units: self.bound(10_000) as u64,
            threshold: self.below(200),
        }
    }

    pub(super) fn operations(&mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        while !self.0.is_empty() && operations.len() < OPERATIONS {
            operations.push(self.operation());
        }
        operations
    }

    fn operation(&mut self) -> Operation {
        let kind = self.below(16);
        let client = self.below(CLIENTS);
        match kind {
            0 => Operation::Open {
                client,
                room: self.takes(),
                offer: self.offer(),
                v1: self.below(2) == 0,
            },
            1 => match self.below(2) {
                0 => Operation::Refuse(client),
                _ => Operation::Await(client, self.takes()),
            },
            2..=4 => Operation::Say(client, self.message()),
            5..=7 => Operation::Arrive(client, 1 + self.below(300)),
            8 => Operation::Violate(client),
            9 => Operation::Takes(client, self.takes()),
            10 => Operation::Writable(client),
            11 => [Operation::Vanish(client), Operation::End(client)][self.below(2)].clone(),
            12 | 13 => Operation::Publish(self.below(TENANTS), self.triggers()),
            14 => Operation::Slice(1 + self.below(5)),
            _ => match self.below(13) {
                0 => Operation::CloseAll,
                1 => Operation::Gap,
                2 => Operation::CloseMissed(1 + self.below(2)),
                3 => Operation::Forbid(client, self.below(ROOMS.len())),
                4 => Operation::Late(self.below(8)),
                5 => Operation::Answer(client, self.below(4) != 0),
                6 => Operation::CloseUnauthenticated,
                7 => Operation::Return(client, self.takes()),
                8 => Operation::Invalidate(self.whom(client), self.below(RIGHTS.len())),
                9 => Operation::Permit(client, self.below(RIGHTS.len())),
                10 => Operation::Reply(client, self.outcome()),
                11 => Operation::Follow(client, self.below(ROOMS.len()), self.below(NAMES.len())),
                _ => Operation::Pass(self.below(40_000) as u64),
            },
        }
    }

    fn whom(&mut self, client: usize) -> Whom {
        match self.below(4) {
            0 => Whom::Tenant(client % TENANTS),
            _ => Whom::Client(client),
        }
    }

    fn outcome(&mut self) -> Outcome {
        match self.below(8) {
            0 => Outcome::Refuses,
            1 => Outcome::Unreachable,
            2 => Outcome::Keeps,
            3 => Outcome::Stale,
            _ => Outcome::Permits,
        }
    }

    fn takes(&mut self) -> usize {
        if self.below(2) == 0 {
            usize::MAX
        } else {
            self.below(200)
        }
    }

    fn offer(&mut self) -> Option<&'static str> {
        let offers = [
            None,
            Some("permessage-deflate"),
            Some("permessage-deflate; server_max_window_bits=12"),
        ];
        offers[self.below(offers.len())]
    }

    fn message(&mut self) -> Message {
        match self.below(10) {
            0 => Message::Ping,
            9 => Message::JsonPing,
            8 => Message::Authenticate,
            1..=3 => Message::Subscribe(self.below(ROOMS.len()), self.below(NAMES.len())),
            4 => Message::Unsubscribe(self.below(NAMES.len())),
            5 => Message::Rubbish,
            6 => Message::ControlPing,
            _ => Message::Close,
        }
    }

    fn triggers(&mut self) -> Vec<(Vec<usize>, usize)> {
        let count = self.below(4);
        let trigger = |choices: &mut Self| {
            let rooms = choices.below(4);
            let rooms = (0..rooms).map(|_| choices.below(ROOMS.len())).collect();
            let length = choices.below(50) + [0, 0, 0, 5_000][choices.below(4)];
            (rooms, length)
        };
        (0..count).map(|_| trigger(self)).collect()
    }
}
