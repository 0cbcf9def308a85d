//! What each limit admits, and the response above it.

use http::{Request, StatusCode};

use super::*;
use crate::config::PublicConfig;

const LIMITS: QuotaLimits = QuotaLimits {
    connections: 0,
    connections_per_address: 0,
    handshakes_per_second: 0,
    handshakes: 8,
    unfinished: 8,
};

const MAIN: TenantShare<'_> = TenantShare {
    tenant: TenantId::MAIN,
    name: "main",
    bounds: Bounds {
        open: 0,
        per_second: 0,
    },
    has_others: false,
};

const QUIET: Load = Load {
    open: 0,
    memory_is_short: false,
};

fn quotas(handshakes: usize) -> Quotas {
    Quotas::new(Arc::default(), handshakes, Arc::default())
}

fn at(address: &str) -> Arrival {
    Arrival {
        peer: Peer::Ip(address.parse().unwrap()),
        told: false,
    }
}

/// The request facts of a handshake from this address.
fn facts(address: &str) -> RequestFacts {
    let mut request = Request::get("/ws/")
        .header("host", "gateway.test")
        .header("origin", "http://gateway.test")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (config, throttles) = (PublicConfig::default(), Throttles::default());
    RequestFacts::of(
        &mut request,
        at(address),
        &config,
        &config.origins,
        false,
        &throttles,
    )
    .unwrap()
}

#[test]
fn one_address_has_a_share_of_the_connections_before_the_upgrade() {
    let trusted = TrustedProxies::default();
    let told = |address: &str| Arrival {
        told: true,
        ..at(address)
    };
    let unix = Arrival {
        peer: Peer::Unix,
        told: false,
    };
    // An untrusted address has a quarter, an address of a proxy's network that a balancer reports
    // three quarters, a proxy itself all that it opens.
    for (arrival, most) in [
        (at("192.0.2.1"), 2),
        (told("192.0.2.1"), 2),
        (told("10.0.0.1"), 6),
        (at("10.0.0.1"), 20),
        (unix, 20),
    ] {
        let quotas = quotas(8);
        let admit = |arrival| quotas.admit_connection(arrival, &LIMITS, &trusted);
        let mut permits: Vec<_> = (0..most).map(|_| admit(arrival).unwrap()).collect();
        if most == 20 {
            assert!(permits.iter().all(Option::is_none), "{arrival:?}");
            continue;
        }
        let reason = admit(arrival).err();
        assert_eq!(reason, Some(HandshakeError::UnfinishedPerAddress));
        assert!(admit(at("192.0.2.2")).is_ok(), "others are not concerned");
        permits.pop();
        assert!(admit(arrival).is_ok(), "a permit was given back");
    }
}

#[test]
fn each_handshake_limit_has_its_reason_and_response() {
    let too_many = StatusCode::TOO_MANY_REQUESTS;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let short = Load {
        memory_is_short: true,
        ..QUIET
    };
    for (limits, load, admitted, reason, status, again) in [
        (
            QuotaLimits {
                connections_per_address: 2,
                ..LIMITS
            },
            QUIET,
            2,
            HandshakeError::ConnectionsPerAddress,
            too_many,
            "5",
        ),
        (
            QuotaLimits {
                handshakes_per_second: 1,
                handshakes: 100,
                ..LIMITS
            },
            QUIET,
            // Its limit for ten seconds.
            10,
            HandshakeError::HandshakesPerSecond,
            too_many,
            "1",
        ),
        (
            LIMITS,
            QUIET,
            4,
            HandshakeError::HandshakesPerAddress,
            too_many,
            "5",
        ),
        (
            QuotaLimits {
                connections: 3,
                ..LIMITS
            },
            QUIET,
            3,
            HandshakeError::Connections,
            unavailable,
            "5",
        ),
        (LIMITS, short, 0, HandshakeError::Memory, unavailable, "5"),
    ] {
        let quotas = quotas(100);
        let facts = facts("192.0.2.1");
        let admit = || quotas.admit_handshake(&facts, &limits, load, &MAIN);
        let permits: Vec<_> = (0..admitted).map(|_| admit().ok().unwrap()).collect();
        let Rejection {
            reason: found,
            response,
            is_of_tenant,
        } = admit().err().unwrap();
        assert_eq!((found, is_of_tenant), (reason, false));
        assert_eq!(response.status(), status, "{reason:?}");
        assert_eq!(response.headers()["retry-after"], again, "{reason:?}");
        drop(permits);
    }
}

#[test]
fn handshakes_share_one_limit_and_release_their_permits() {
    let quotas = quotas(2);
    let admit = |address: &str| quotas.admit_handshake(&facts(address), &LIMITS, QUIET, &MAIN);
    let permits = [admit("192.0.2.1"), admit("192.0.2.2")].map(|it| it.ok().unwrap());
    let rejection = admit("192.0.2.3").err().unwrap();
    assert_eq!(rejection.reason, HandshakeError::Handshakes);
    let connections = permits.map(|permits| permits.connection);
    // The handshakes have ended, the connections are still open.
    assert!(admit("192.0.2.3").is_ok());
    let limits = QuotaLimits {
        connections: 2,
        ..LIMITS
    };
    let facts = facts("192.0.2.3");
    let rejection = quotas
        .admit_handshake(&facts, &limits, QUIET, &MAIN)
        .err()
        .unwrap();
    assert_eq!(rejection.reason, HandshakeError::Connections);
    drop(connections);
    assert!(
        quotas
            .admit_handshake(&facts, &limits, QUIET, &MAIN)
            .is_ok()
    );
}

#[test]
fn a_tenant_has_its_share_and_leaves_the_rest_to_others() {
    let quotas = quotas(8);
    let share = |number: u32, per_second| TenantShare {
        tenant: TenantId::new(number),
        name: "acme",
        bounds: Bounds {
            open: 2,
            per_second,
        },
        has_others: true,
    };
    let admit = |share: TenantShare<'_>| {
        let permits = quotas.admit_handshake(&facts("192.0.2.1"), &LIMITS, QUIET, &share);
        permits.map_err(|rejection| (rejection.reason, rejection.response.status()))
    };
    let permits = [admit(share(1, 0)), admit(share(1, 0))];
    let reached = (HandshakeError::Connections, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(admit(share(1, 0)).err(), Some(reached));
    assert!(admit(share(2, 0)).is_ok() && admit(MAIN).is_ok());
    assert_eq!(quotas.permits.shares.open(TenantId::new(1)), 2);
    drop(permits);
    assert_eq!(quotas.permits.shares.open(TenantId::new(1)), 0);
    assert!(admit(share(1, 0)).is_ok());
    // A burst of ten seconds, once.
    for _ in 0..10 {
        assert!(admit(share(3, 1)).is_ok());
    }
    let reached = (
        HandshakeError::HandshakesPerSecond,
        StatusCode::TOO_MANY_REQUESTS,
    );
    assert_eq!(admit(share(3, 1)).err(), Some(reached));
}

#[test]
fn a_tenant_leaves_half_of_the_handshakes_to_others() {
    let quotas = quotas(8);
    let share = |number| TenantShare {
        tenant: TenantId::new(number),
        has_others: true,
        ..MAIN
    };
    let addresses = (1..).map(|number| format!("192.0.2.{number}"));
    let mut addresses = addresses.take(100);
    let mut admit = |number| {
        let facts = facts(&addresses.next().unwrap());
        let permits = quotas.admit_handshake(&facts, &LIMITS, QUIET, &share(number));
        permits.map_err(|rejection| (rejection.reason, rejection.response.status()))
    };
    let mut hanging: Vec<_> = (0..4).map(|_| admit(1).unwrap()).collect();
    let reached = (HandshakeError::Handshakes, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(admit(1).err(), Some(reached));
    let others = [admit(2).unwrap(), admit(0).unwrap()];
    hanging.pop();
    assert!(admit(1).is_ok());
    drop(others);
}
