//! Selections and the directory against a list of sessions that is tested one by one.

use std::collections::BTreeMap;

use ht_proto::room::RoomLimits;
use proptest::prelude::*;

use super::*;
use crate::who::Facts;

const USERS: [&str; 3] = ["7", "8", "nobody's"];
const SESSIONS: [&str; 2] = ["s-1", "s-2"];
const LABELS: [&str; 3] = ["staff", "tenant:acme", "beta"];
const GRANTS: [&[&str]; 3] = [
    &[r#"{"project":1}"#],
    &[r#"{"project":"*"}"#, r#"{"project":3,"part":"a"}"#],
    &[],
];
const ROOMS: [&str; 5] = [
    r#"{"project":1}"#,
    r#"{"project":2}"#,
    r#"{"project":"*"}"#,
    r#"{"project":3,"part":"*"}"#,
    r#"{"project":"*","part":"b"}"#,
];

/// Whether the grants permit a room that meets the other, spelled out by hand.
fn meets(grants: usize, room: usize) -> bool {
    matches!((grants, room), (0, 0 | 2) | (1, 0..=3))
}

/// A session, by the indices of its names.
#[derive(Clone, Debug)]
struct Model {
    tenant: u32,
    user: Option<usize>,
    session: Option<usize>,
    labels: Vec<usize>,
    grants: usize,
}

/// A selection, by the indices of its names; of connections the slots.
#[derive(Clone, Debug)]
struct Asked {
    tenant: u32,
    users: Vec<usize>,
    sessions: Vec<usize>,
    connections: Vec<u32>,
    labels: Vec<usize>,
    rooms: Vec<usize>,
    everyone: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Enter(u32, Model),
    Leave(u32),
    Select(Asked),
}

fn models() -> impl Strategy<Value = Model> {
    let names = (
        prop::option::of(0..USERS.len()),
        prop::option::weighted(0.3, 0..SESSIONS.len()),
        prop::collection::vec(0..LABELS.len(), 0..3),
    );
    (0..2u32, names, 0..GRANTS.len()).prop_map(|(tenant, (user, session, labels), grants)| Model {
        tenant,
        user,
        session,
        labels,
        grants,
    })
}

/// Some texts of so many, often none.
fn some(of: usize) -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(0..of, 1..3)]
}

fn asked() -> impl Strategy<Value = Asked> {
    let connections =
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(0..12u32, 1..3)];
    let names = (some(USERS.len()), some(SESSIONS.len()), some(LABELS.len()));
    let others = (connections, some(ROOMS.len()), prop::bool::weighted(0.2));
    (0..2u32, names, others).prop_map(
        |(tenant, (users, sessions, labels), (connections, rooms, everyone))| Asked {
            tenant,
            users,
            sessions,
            connections,
            labels,
            rooms,
            everyone,
        },
    )
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => (0..12u32, models()).prop_map(|(slot, model)| Operation::Enter(slot, model)),
        1 => (0..12u32).prop_map(Operation::Leave),
        3 => asked().prop_map(Operation::Select),
    ];
    prop::collection::vec(operation, 0..80)
}

fn texts(places: &[usize], all: &[&str]) -> Vec<Box<str>> {
    places.iter().map(|&place| all[place].into()).collect()
}

fn shared(place: usize, all: &[&str]) -> Arc<str> {
    all[place].into()
}

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

/// The connection id of a slot.
fn id_of(slot: u32) -> Uuid {
    Uuid::from_u128(u128::from(slot) + 1)
}

impl Model {
    fn who(&self) -> Option<Arc<Who>> {
        let facts = Facts {
            user: self.user.map(|user| shared(user, &USERS)),
            session: self.session.map(|session| shared(session, &SESSIONS)),
            labels: self.labels.iter().map(|&it| shared(it, &LABELS)).collect(),
            view: None,
        };
        Who::new(facts).map(Arc::new)
    }

    fn is_meant(&self, slot: u32, asked: &Asked) -> bool {
        let is_one = |asked: &[usize], own: Option<usize>| {
            asked.is_empty() || own.is_some_and(|own| asked.contains(&own))
        };
        let any = |asked: &[usize], has: &dyn Fn(usize) -> bool| {
            asked.is_empty() || asked.iter().any(|&one| has(one))
        };
        !asked.selection().is_empty()
            && self.tenant == asked.tenant
            && is_one(&asked.users, self.user)
            && is_one(&asked.sessions, self.session)
            && any(&asked.labels, &|label| self.labels.contains(&label))
            && any(&asked.rooms, &|room| meets(self.grants, room))
            && (asked.connections.is_empty() || asked.connections.contains(&slot))
    }
}

impl Asked {
    fn selection(&self) -> Selection {
        Selection {
            tenant: TenantId::new(self.tenant),
            users: texts(&self.users, &USERS),
            sessions: texts(&self.sessions, &SESSIONS),
            connections: self.connections.iter().map(|&slot| id_of(slot)).collect(),
            labels: texts(&self.labels, &LABELS),
            rooms: self.rooms.iter().map(|&place| room(ROOMS[place])).collect(),
            everyone: self.everyone,
        }
    }
}

struct Entered {
    model: Model,
    who: Option<Arc<Who>>,
    grants: Arc<GrantSet>,
    group: GroupId,
}

/// The slots that a selection finds.
fn select(
    selection: &Selection,
    directory: &Directory,
    entered: &BTreeMap<u32, Entered>,
) -> Vec<u32> {
    let candidates = match selection.candidates(directory, id_of) {
        Candidates::Listed(slots) => slots,
        Candidates::All => entered.keys().copied().collect(),
    };
    let mut tested = Tested::default();
    let is_meant = |slot: &u32| {
        let Entered { grants, group, .. } = &entered[slot];
        let (id, who) = (id_of(*slot), directory.who(*group).map(|who| &**who));
        selection.means(Candidate { id, who, grants }, &mut tested)
    };
    candidates.into_iter().filter(is_meant).collect()
}

fn check(operations: &[Operation]) {
    let hasher = Hasher::default();
    let mut directory = Directory::new(hasher.clone());
    let sets: Vec<Arc<GrantSet>> = (0..2)
        .flat_map(|tenant| GRANTS.iter().map(move |grants| (tenant, grants)))
        .map(|(tenant, grants)| {
            let grants = grants.iter().map(|text| room(text)).collect();
            Arc::new(GrantSet::new(TenantId::new(tenant), grants, hasher.clone()))
        })
        .collect();
    let mut entered: BTreeMap<u32, Entered> = BTreeMap::new();
    for operation in operations {
        match operation {
            Operation::Enter(slot, model) => {
                if entered.contains_key(slot) {
                    continue;
                }
                let (tenant, who) = (TenantId::new(model.tenant), model.who());
                let group = directory.enter(*slot, tenant, who.clone(), id_of);
                assert_eq!(directory.who(group), who.as_ref());
                let set = model.tenant as usize * GRANTS.len() + model.grants;
                let (model, grants) = (model.clone(), Arc::clone(&sets[set]));
                let new = Entered {
                    model,
                    who,
                    grants,
                    group,
                };
                entered.insert(*slot, new);
            }
            Operation::Leave(slot) => {
                if let Some(gone) = entered.remove(slot) {
                    assert_eq!(directory.who(gone.group), gone.who.as_ref());
                    directory.leave(*slot, gone.group, id_of);
                }
            }
            Operation::Select(asked) => {
                let naive = entered.iter();
                let naive = naive.filter(|(slot, it)| it.model.is_meant(**slot, asked));
                let naive: Vec<_> = naive.map(|(slot, _)| *slot).collect();
                assert_eq!(select(&asked.selection(), &directory, &entered), naive);
            }
        }
    }
    for (slot, gone) in entered {
        directory.leave(slot, gone.group, id_of);
    }
    assert_eq!(directory.slots().1, 0);
}

proptest! {
    #[test]
    fn selections_agree_with_list(operations in operations()) {
        check(&operations);
    }
}

#[test]
fn lists_and_tables_give_back_memory_and_equal_clients_share_a_group() {
    let mut directory = Directory::new(Hasher::default());
    let who = |slot: u32| {
        let facts = Facts {
            user: Some((slot / 2).to_string().into()),
            labels: vec!["staff".into()],
            ..Facts::default()
        };
        Who::new(facts).map(Arc::new)
    };
    let groups: Vec<_> = (0..10_000)
        .map(|slot| directory.enter(slot, TenantId::MAIN, who(slot), id_of))
        .collect();
    assert!(groups.chunks(2).all(|pair| pair[0] == pair[1]));
    let (full, entries) = directory.slots();
    // 5,000 users, and each has a name; the label is one.
    assert_eq!(entries, 10_001);
    assert!(full < 60_000, "{full}");
    let mut staff = 0;
    directory.for_each(TenantId::MAIN, NameKind::Label, "staff", |_| staff += 1);
    assert_eq!(staff, 10_000);
    for (slot, &group) in (0..).zip(&groups) {
        directory.leave(slot, group, id_of);
    }
    let (capacity, entries) = directory.slots();
    assert!(entries == 0 && capacity < 500, "{capacity}");
}

#[test]
fn each_grant_set_is_tested_once_and_empty_selection_selects_none() {
    let rooms = vec![room(r#"{"a":1}"#); 20];
    let set = Arc::new(GrantSet::new(TenantId::MAIN, rooms, Hasher::default()));
    let candidate = Candidate {
        id: id_of(0),
        who: None,
        grants: &set,
    };
    let selection = Selection {
        rooms: vec![room(r#"{"a":"*"}"#)],
        ..Selection::default()
    };
    let mut tested = Tested::default();
    for _ in 0..100 {
        assert!(selection.means(candidate, &mut tested));
    }
    assert_eq!(tested.compared, set.len());
    let nothing = Selection::default();
    assert!(!nothing.means(candidate, &mut tested));
    let directory = Directory::new(Hasher::default());
    let none = nothing.candidates(&directory, id_of);
    assert_eq!(none, Candidates::Listed(Vec::new()));
}

#[test]
fn a_grant_set_is_tested_for_the_rooms_of_each_selection() {
    let grants = vec![room(r#"{"a":1}"#)];
    let set = Arc::new(GrantSet::new(TenantId::MAIN, grants, Hasher::default()));
    let candidate = Candidate {
        id: id_of(0),
        who: None,
        grants: &set,
    };
    let of = |text: &str| Selection {
        rooms: vec![room(text)],
        ..Selection::default()
    };
    let (other, own) = (of(r#"{"a":2}"#), of(r#"{"a":1}"#));
    let mut tested = Tested::default();
    for _ in 0..2 {
        assert!(!other.means(candidate, &mut tested));
        assert!(own.means(candidate, &mut tested));
    }
    assert_eq!(tested.compared, 2);
}
