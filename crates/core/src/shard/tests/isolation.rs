//! Tenants with equal everything never meet: what each of them sees is what it would see alone.

use ht_proto::entry::TenantId;
use proptest::prelude::*;

use super::commands::{everyone, signed_out, user, who};
use super::kit::*;
use crate::Hasher;
use crate::command::{Action, Permit};
use crate::grant::GrantSet;
use crate::select::Selection;

const TENANTS: usize = 3;
const ROOMS: [&str; 3] = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":"*"}"#];
const GRANTS: &str = r#"[{"a":"*"}]"#;
const USERS: [&str; 2] = ["7", "8"];

/// What happens to a tenant. Clients are numbered for each tenant.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize),
    Publish(usize),
    Disconnect(usize),
    Revoke(usize),
    DisconnectAll,
    Gone(usize),
    /// A part of the deliveries of all tenants.
    Slice(usize),
}

/// A shard, with the clients of some tenants, and what each was sent.
struct Side {
    world: World,
    clients: Vec<Vec<(Client, Vec<String>)>>,
}

fn tenant(index: usize) -> TenantId {
    TenantId::new(u32::try_from(index).unwrap())
}

impl Side {
    fn new() -> Self {
        Self {
            world: World::new(),
            clients: (0..TENANTS).map(|_| Vec::new()).collect(),
        }
    }

    /// All that is queued for a tenant is done.
    fn settle(&mut self, of: usize) {
        while self.world.shard.backlog_of(tenant(of)) > 0 {
            self.world.slice(8);
        }
    }

    fn apply(&mut self, of: usize, step: Step, number: usize) {
        self.world.tenant = tenant(of);
        let client = |index: usize| {
            let all = &self.clients[of];
            (!all.is_empty()).then(|| index % all.len())
        };
        match step {
            Step::Open(user) => {
                self.world.who = who(USERS[user], &[]);
                let client = self.world.open_with(GRANTS, usize::MAX);
                self.clients[of].push((client, Vec::new()));
            }
            Step::Subscribe(index, room) => {
                if let Some(index) = client(index) {
                    let text = subscribe(ROOMS[room], &room.to_string());
                    self.world.say(&self.clients[of][index].0, &text);
                }
            }
            Step::Unsubscribe(index) => {
                if let Some(index) = client(index) {
                    self.world
                        .say(&self.clients[of][index].0, &unsubscribe("0"));
                }
            }
            Step::Publish(room) => self.world.publish(ROOMS[room], &number.to_string()),
            Step::Disconnect(of_user) => self.command(of, user(USERS[of_user]), signed_out()),
            Step::DisconnectAll => self.command(of, everyone(), signed_out()),
            Step::Revoke(of_user) => {
                let revoked = permit_of(tenant(of), r#"[{"a":1}]"#);
                self.command(of, user(USERS[of_user]), revoked);
            }
            Step::Gone(index) => {
                if let Some(index) = client(index) {
                    self.settle(of);
                    self.world.slice(usize::MAX);
                    self.world.gone(&self.clients[of][index].0);
                    self.world.clean_up();
                }
            }
            Step::Slice(writes) => self.world.slice(writes),
        }
        for (client, heard) in &mut self.clients[of] {
            heard.extend(client.hears());
        }
    }

    fn command(&mut self, of: usize, selection: Selection, action: Action) {
        let selection = Selection {
            tenant: tenant(of),
            ..selection
        };
        self.world.command(selection, action);
        // What a client asks is not answered behind it.
        self.settle(of);
    }

    /// What each client of a tenant was sent in all.
    fn heard(&mut self, of: usize) -> Vec<Vec<String>> {
        self.world.deliver();
        let clients = self.clients[of].iter_mut();
        let heard = clients.map(|(client, heard)| {
            heard.extend(client.hears());
            heard.clone()
        });
        heard.collect()
    }
}

fn permit_of(tenant: TenantId, grants: &str) -> Action {
    let Action::Permit(known) = permit(grants) else {
        panic!("a permit");
    };
    let list = ht_proto::grant::GrantList::parse(grants).unwrap();
    let set = GrantSet::new(tenant, list.rooms, Hasher::default());
    Action::Permit(Permit {
        grants: set.into(),
        ..known
    })
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        4 => (0..USERS.len()).prop_map(Step::Open),
        8 => (0..6_usize, 0..ROOMS.len()).prop_map(|(c, room)| Step::Subscribe(c, room)),
        2 => (0..6_usize).prop_map(Step::Unsubscribe),
        10 => (0..ROOMS.len()).prop_map(Step::Publish),
        1 => (0..USERS.len()).prop_map(Step::Disconnect),
        1 => (0..USERS.len()).prop_map(Step::Revoke),
        1 => Just(Step::DisconnectAll),
        1 => (0..6_usize).prop_map(Step::Gone),
        6 => (1..5_usize).prop_map(Step::Slice),
    ];
    prop::collection::vec((0..TENANTS, step), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_tenant_sees_what_it_would_see_alone(steps in steps()) {
        let mut shared = Side::new();
        let mut alone: Vec<_> = (0..TENANTS).map(|_| Side::new()).collect();
        for (number, (of, step)) in steps.into_iter().enumerate() {
            shared.apply(of, step, number);
            alone[of].apply(of, step, number);
        }
        for (of, alone) in alone.iter_mut().enumerate() {
            prop_assert_eq!(shared.heard(of), alone.heard(of), "tenant {}", of);
        }
        let stats = shared.world.stats();
        let deliveries: u64 = alone.iter().map(|alone| alone.world.stats().deliveries).sum();
        prop_assert_eq!(stats.deliveries, deliveries);
    }
}

/// A command of one tenant that names everybody, in the middle of another's deliveries.
#[test]
fn command_that_names_everyone_names_its_own_tenant() {
    let mut side = Side::new();
    for of in 0..TENANTS {
        side.apply(of, Step::Open(0), 0);
        side.apply(of, Step::Subscribe(0, 0), 0);
        side.apply(of, Step::Publish(0), of);
    }
    side.apply(1, Step::DisconnectAll, 0);
    for of in 0..TENANTS {
        let heard = side.heard(of).remove(0);
        assert_eq!(heard[2], publish(&of.to_string(), "0"));
        assert_eq!(heard.len(), if of == 1 { 4 } else { 3 }, "{heard:?}");
    }
    let matched: Vec<_> = side
        .world
        .outside
        .carried_out
        .iter()
        .map(|done| done.1)
        .collect();
    assert_eq!(matched, [1]);
}
