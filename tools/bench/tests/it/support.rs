//! What the tests share.

use std::net::SocketAddr;
use std::time::Duration;

use ht_bench::client::Dialect;
use ht_bench::drive::Label;
use ht_bench::endpoint::EndpointAt;
use ht_bench::message::Content;
use ht_bench::server::{Process, Running};
use ht_bench::workload::{Grants, Pace, Rooms, Workload};

pub(crate) const CONNECTIONS: usize = 20;

pub(crate) fn workload(rooms: Rooms, pace: Pace) -> Workload {
    Workload {
        rooms,
        connections: CONNECTIONS,
        pace,
        warm_up: Duration::from_millis(50),
        measured: Duration::from_millis(200),
        data_bytes: 128,
        content: Content::Filler,
        stalled: 0,
        deflate: false,
        pings: None,
        storm: None,
        spread: None,
        away: None,
        grants: Grants::Shared,
        answer_after: Duration::ZERO,
        browser: false,
        joining: 4,
        patience: Duration::from_secs(2),
        settle: Duration::from_millis(50),
    }
}

pub(crate) fn running(public: SocketAddr, endpoint: EndpointAt, dialect: Dialect) -> Running {
    Running {
        process: Process::own(),
        public,
        endpoint,
        dialect,
        version: "test".to_owned(),
        beside: Vec::new(),
        scratch: None,
    }
}

pub(crate) fn label() -> Label {
    Label {
        workload: "test".to_owned(),
        server: "test".to_owned(),
        round: 1,
    }
}
