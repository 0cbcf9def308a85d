//! `GET /nodes/`: the nodes on the same log.

use ht_broker::Sequencer as _;
use ht_edge::respond::{self, Body};
use http::{Response, StatusCode};
use serde_json::json;

use crate::internal::Internal;
use crate::pipeline::Pipeline;

/// The nodes that hold a lease, the one that responds first.
pub(super) async fn respond(internal: &Internal) -> Response<Body> {
    let Pipeline {
        node,
        sequencer: order,
        ..
    } = &**internal.pipelines.main();
    let peers = &node.peers;
    let mut nodes = vec![json!({
        "node": peers.name(),
        "boot": peers.boot(),
        "epoch": order.epoch().to_string(),
        "position": order.last().await.get(),
        "connections": node.totals.connections(),
        "self": true,
    })];
    let alive = peers.alive().into_iter();
    let others = alive.filter(|(boot, ..)| **boot != *peers.boot());
    nodes.extend(others.map(|(boot, known, seconds)| {
        json!({
            "node": known.name,
            "boot": boot,
            "epoch": known.beacon.epoch,
            "position": known.beacon.position,
            "connections": known.beacon.connections,
            "seconds": seconds,
        })
    }));
    respond::json(StatusCode::OK, &json!({ "nodes": nodes }))
}
