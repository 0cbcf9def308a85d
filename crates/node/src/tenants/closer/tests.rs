//! Waves of tenants that go, and of those that come back meanwhile.

use ht_edge::address::{Client, Peer};
use ht_edge::permits::{AddressPermit, Bounds, ConnectionPermit, Stage};

use super::*;
use crate::config::{PermissionsConfig, TenantConfig};
use crate::inbox::Receiver;
use crate::tenants::tests::{name, put, tenant, tenants};

const OPEN: u32 = 1_000;

/// A tenant with open connections on one shard, whose inbox is read here.
struct Setting {
    tenants: Arc<Tenants>,
    leaving: Arc<Leaving>,
    shard: Receiver,
    _permits: Vec<ConnectionPermit>,
    inbox: inbox::Sender,
    _poll: mio::Poll,
}

fn setting() -> Setting {
    let tenants = Arc::new(tenants(&["acme"]));
    let id = tenants.named(&name("acme")).unwrap().id();
    let permits: Arc<Permits> = Arc::default();
    let none = Bounds {
        open: 0,
        per_second: 0,
    };
    let open = (0..OPEN).map(|_| {
        let client = Client::Behind(Peer::Unix);
        let (address, _) = AddressPermit::take(&permits, Stage::Open, client, none).unwrap();
        let permit = ConnectionPermit::take(&permits, 0, address).unwrap();
        permit.of_tenant(id, none).unwrap()
    });
    let open = open.collect();
    let poll = mio::Poll::new().unwrap();
    let bounds = inbox::Bounds {
        inputs: 10_000,
        bytes: 10_000,
    };
    let (sender, shard) = inbox::inbox(bounds, inbox::waker(&poll, mio::Token(0)).unwrap());
    let leaving: Arc<Leaving> = Arc::default();
    let closer = Closer {
        leaving: Arc::clone(&leaving),
        tenants: Arc::clone(&tenants),
        permits,
        live: Live::of_defaults(PermissionsConfig::default()),
    };
    tokio::spawn(closer.run(CancellationToken::new()));
    Setting {
        tenants,
        leaving,
        shard,
        _permits: open,
        inbox: sender,
        _poll: poll,
    }
}

impl Setting {
    fn set(&self, list: Vec<TenantConfig>, cause: Cause) {
        let changes = put(&self.tenants, list).unwrap();
        for gone in changes.removed.iter().chain(&changes.suspended) {
            let id = self.tenants.id(&gone.name).unwrap();
            self.leaving.add(id, cause, vec![self.inbox.clone()]);
        }
    }

    /// The reasons of the waves within this time.
    async fn waves(&mut self, within: Duration) -> Vec<String> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            // Virtual time: the closer's turns are in between.
            tokio::time::sleep(WAVE / 2).await;
        }
        let mut waves = Vec::new();
        while let Some(input) = self.shard.next(|_| false, false) {
            let Input::CloseTenant(wave) = input else {
                panic!("only waves");
            };
            waves.push(wave.close.reason().into_owned());
        }
        waves
    }
}

fn suspended() -> TenantConfig {
    TenantConfig {
        is_suspended: true,
        ..tenant("acme")
    }
}

#[tokio::test(start_paused = true)]
async fn waves_end_where_the_tenant_is_served_again() {
    for (gone, cause, reason) in [
        (Vec::new(), Cause::Removed, "restart"),
        (vec![suspended()], Cause::Suspended, "suspended"),
    ] {
        let mut setting = setting();
        setting.set(gone, cause);
        let waves = setting.waves(10 * WAVE).await;
        let expected = |wave: &String| wave.starts_with(reason);
        assert!(waves.len() >= 5 && waves.iter().all(expected), "{waves:?}");
        setting.set(vec![tenant("acme")], cause);
        let waves = setting.waves(LATE).await;
        assert!(waves.is_empty(), "{reason}: {waves:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_back_before_the_first_wave_has_none() {
    let mut setting = setting();
    setting.set(Vec::new(), Cause::Removed);
    setting.set(vec![tenant("acme")], Cause::Removed);
    let waves = setting.waves(LATE).await;
    assert!(waves.is_empty(), "{waves:?}");
}
