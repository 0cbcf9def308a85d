//! What an `invalidate` of very many connections costs a shard that spreads it over a minute.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark has a clock")]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ht_core::budget::Phase;
use ht_core::command::{Action, Command};
use ht_core::grant::GrantSet;
use ht_core::recheck::{RecheckOutcome, Rechecked, Rights};
use ht_core::select::Selection;
use ht_core::shard::{Output, PermissionSettings, SessionKey, Settings, Shard};
use ht_core::who::{Facts, Who};
use ht_core::world::Turn;
use support::{Nothing, Sink, grants, open_as, settings, shard_with, subscribe};

const CONNECTIONS: usize = 100_000;
const LABEL: &str = "crowd";
/// The span, in ms.
const WITHIN: u32 = 60_000;
/// Writes of a fan-out in one turn.
const WRITES: usize = 256;
/// The most that are held in one turn of the span, 33 in the mean.
const HELD: usize = 100;

/// The shard, its sessions, and the time in ms.
struct World {
    shard: Shard<Sink>,
    grants: Arc<GrantSet>,
    identities: HashMap<SessionKey, Option<Arc<Who>>>,
    now: u64,
    position: u64,
}

/// What a span took.
#[derive(Default)]
struct Took {
    /// The turns of the command.
    command: Duration,
    turns: usize,
    /// The turns in which sessions were held, and answers processed.
    span: Duration,
    /// The longest turn.
    longest: Duration,
}

impl Took {
    /// Counts a turn.
    fn turn(&mut self, begun: Instant) -> Duration {
        let took = begun.elapsed();
        self.longest = self.longest.max(took);
        took
    }
}

impl World {
    fn new() -> Self {
        let mut shard = shard_with(Settings {
            permissions: PermissionSettings {
                recheck: true,
                ..PermissionSettings::default()
            },
            idle_timeout: 0,
            ..settings()
        });
        let grants = grants(r#"[{"room":"*"}]"#);
        let identities = (0..CONNECTIONS).map(|user| {
            let facts = Facts {
                user: Some(user.to_string().into()),
                labels: vec![LABEL.into()],
                ..Facts::default()
            };
            let who = Who::new(facts).map(Arc::new);
            let key = open_as(&mut shard, &grants, who.clone());
            subscribe(&mut shard, key, r#"{"room":1}"#, 1);
            (key, who)
        });
        let identities = identities.collect();
        Self {
            shard,
            grants,
            identities,
            now: 0,
            position: 0,
        }
    }

    /// One turn: what is queued, within its budget.
    fn fan_out(&mut self) {
        self.shard.begin(Phase::Deliveries);
        self.shard
            .fan_out(WRITES, &mut Turn::new(self.now, &mut Nothing));
    }

    /// Invalidates everybody and lets the span pass. The API answers at once.
    fn span(&mut self) -> Took {
        let mut took = Took::default();
        self.position += 1;
        self.shard.command(Arc::new(Command {
            position: self.position,
            selection: Selection {
                labels: vec![LABEL.into()],
                ..Selection::default()
            },
            action: Action::Invalidate { within: WITHIN },
            bytes: 1_000,
        }));
        while self.shard.has_fan_out() {
            let begun = Instant::now();
            self.fan_out();
            let turn = took.turn(begun);
            took.command += turn;
            took.turns += 1;
        }
        let (end, mut all) = (self.now + u64::from(WITHIN), 0);
        while let Some(due) = self.shard.deadline().filter(|due| *due <= end) {
            self.now = due;
            let begun = Instant::now();
            self.shard.begin(Phase::Tick);
            self.shard.tick(&mut Turn::new(due, &mut Nothing));
            self.fan_out();
            let turn = took.turn(begun);
            took.span += turn;
            let held = self.answer_held(&mut took);
            assert!(held <= HELD, "{held} in one turn");
            all += held;
        }
        assert_eq!(all, CONNECTIONS);
        assert_eq!(self.shard.stats().connections_held, 0);
        took
    }

    /// The API answers about all that are held, each by itself.
    fn answer_held(&mut self, took: &mut Took) -> usize {
        let mut answers = Vec::new();
        while let Some(output) = self.shard.poll_output() {
            let Output::Recheck(recheck) = output else {
                panic!("{output:?}");
            };
            let who = &self.identities[&recheck.key];
            answers.push(Arc::new(Rechecked {
                tenant: None,
                keys: vec![recheck.key],
                asked_at: self.position,
                has_token: false,
                outcome: RecheckOutcome::Permitted(Rights {
                    grants: Arc::clone(&self.grants),
                    who: who.clone(),
                    welcome: "{}".into(),
                    event: "{}".into(),
                    expires_in: None,
                }),
            }));
        }
        let held = answers.len();
        let begun = Instant::now();
        for answer in answers {
            self.shard.rechecked(answer);
        }
        while self.shard.has_fan_out() {
            self.fan_out();
        }
        took.span += begun.elapsed();
        held
    }
}

fn spans(criterion: &mut Criterion) {
    let mut world = World::new();
    let mut group = criterion.benchmark_group("invalidate of 100,000 within 60 s");
    group.sample_size(10);
    let (mut longest, mut turns) = (Duration::ZERO, 0);
    for (name, is_command) in [("the command", true), ("its holds and answers", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let spans = (0..times).map(|_| {
                    let took = world.span();
                    longest = longest.max(took.longest);
                    turns = took.turns;
                    match is_command {
                        true => took.command,
                        false => took.span,
                    }
                });
                spans.sum()
            });
        });
    }
    group.finish();
    println!("{turns} turns for the command; the longest turn of all took {longest:?}");
}

criterion_group!(benches, spans);
criterion_main!(benches);
