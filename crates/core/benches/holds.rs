//! What a command costs a shard that has very many subscriptions.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark has a clock")]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ht_core::command::{Action, Command};
use ht_core::grant::GrantSet;
use ht_core::recheck::{RecheckOutcome, Rechecked, Rights};
use ht_core::select::Selection;
use ht_core::shard::{PermissionSettings, Shard};
use ht_core::who::{Facts, Who};
use ht_core::world::Turn;
use support::{Nothing, Sink, grants, open_as, settings, shard_with, subscribe};

/// Connections with as many subscriptions each: a million in all.
const OTHERS: usize = 10_000;
const EACH: u128 = 100;

/// Connections of the user whom the command means.
const OWN: usize = 5;

fn who(user: usize) -> Option<Arc<Who>> {
    let facts = Facts {
        user: Some(user.to_string().into()),
        ..Facts::default()
    };
    Who::new(facts).map(Arc::new)
}

/// Executes everything that is queued.
fn deliver(shard: &mut Shard<Sink>) {
    while shard.has_fan_out() {
        shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
    }
    while shard.poll_output().is_some() {}
}

fn answer(grants: &Arc<GrantSet>) -> RecheckOutcome {
    RecheckOutcome::Permitted(Rights {
        grants: Arc::clone(grants),
        who: who(OTHERS),
        welcome: "{}".into(),
        event: "{}".into(),
        expires_in: None,
    })
}

/// `invalidate` of one user with five connections, and the API's answer, which changes nothing.
fn invalidate(criterion: &mut Criterion) {
    let mut settings = settings();
    settings.permissions = PermissionSettings {
        recheck: true,
        ..PermissionSettings::default()
    };
    let mut shard = shard_with(settings);
    let grants = grants(r#"[{"room":"*"}]"#);
    for user in 0..OTHERS {
        let key = open_as(&mut shard, &grants, who(user));
        for name in 0..EACH {
            let room = format!(r#"{{"room":{}}}"#, (user as u128 * EACH + name) % 100_000);
            subscribe(&mut shard, key, &room, name);
        }
    }
    let own = (0..OWN).map(|_| {
        let key = open_as(&mut shard, &grants, who(OTHERS));
        subscribe(&mut shard, key, r#"{"room":1}"#, 1);
        key
    });
    let own: Vec<_> = own.collect();
    assert!(shard.stats().subscriptions > 1_000_000);
    let mut position = 0;
    criterion.bench_function("invalidate of 5 of 10,005 connections", |bencher| {
        bencher.iter(|| {
            position += 1;
            shard.command(Arc::new(Command {
                position,
                selection: Selection {
                    users: vec![OTHERS.to_string().into()],
                    ..Selection::default()
                },
                action: Action::Invalidate { within: 0 },
                bytes: 1_000,
            }));
            deliver(&mut shard);
            assert_eq!(shard.stats().connections_held, OWN as u64);
            shard.rechecked(Arc::new(Rechecked {
                tenant: None,
                keys: own.clone(),
                asked_at: position,
                has_token: false,
                outcome: answer(&grants),
            }));
            deliver(&mut shard);
            assert_eq!(shard.stats().connections_held, 0);
        });
    });
}

criterion_group!(benches, invalidate);
criterion_main!(benches);
