//! Random interleavings of publications and the four commands against a naive model.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::frame::CLOSE;
use crate::support::{Client, Gateway, Handshake, Reply, StubBackend};

const USERS: usize = 3;

/// Clients of each user.
const TABS: usize = 2;

const ROOMS: usize = 4;

/// Entries that are sent at once.
const ENTRIES: usize = 14;

const ROUNDS: u64 = 100;

/// The rooms `n` of each user; everybody has `{"m": 1}`, where the end is published.
type Rights = Arc<Mutex<HashMap<String, BTreeSet<usize>>>>;

/// What the model knows of a client.
struct Known {
    user: usize,
    rooms: BTreeSet<usize>,
    is_open: bool,
    /// It was invalidated, and what follows may be held back.
    may_be_held: bool,
    heard: Vec<Value>,
    /// So many of them are certain, where it was disconnected while it was held.
    certain: usize,
}

impl Known {
    fn publish(&mut self, room: usize, data: &Value) {
        if self.is_open && self.rooms.contains(&room) {
            self.heard.push(data.clone());
            self.certain += usize::from(!self.may_be_held);
        }
    }

    /// A command takes effect; `rights` are those of its user from now on.
    fn command(&mut self, command: &Value, rights: &BTreeSet<usize>) {
        match command["command"].as_str().expect("a text") {
            "unsubscribe" => {
                let room = command["from"][0]["n"].as_u64().expect("a number");
                self.rooms.remove(&usize::try_from(room).expect("a room"));
            }
            "disconnect" => self.is_open = false,
            name => {
                self.rooms = self.rooms.intersection(rights).copied().collect();
                self.may_be_held |= name == "invalidate";
            }
        }
    }
}

fn allowed(rooms: &BTreeSet<usize>) -> Value {
    let rooms = rooms.iter().map(|room| json!({"n": room}));
    Value::from_iter(rooms.chain([json!({"m": 1})]))
}

fn some_rooms(random: &mut fastrand::Rng) -> BTreeSet<usize> {
    (0..ROOMS).filter(|_| random.bool()).collect()
}

/// A random entry: mostly a publication.
fn entry(number: usize, rights: &[BTreeSet<usize>], random: &mut fastrand::Rng) -> Value {
    let (room, user) = (random.usize(..ROOMS), random.usize(..USERS));
    let mut command = match random.usize(..9) {
        0 => json!({"command": "invalidate"}),
        1 => {
            let allowed = allowed(&rights[user]);
            return json!({
                "command": "permit", "user": user, "allowed_rooms": allowed, "labels": ["all"],
            });
        }
        2 => json!({"command": "unsubscribe", "from": [{"n": room}]}),
        3 => json!({"command": "disconnect", "come_back": "soon"}),
        _ => return json!({"rooms": [{"n": room}], "data": number}),
    };
    match random.usize(..8) {
        0 => command["label"] = json!(["all", "none"]),
        1 => command["everyone"] = json!(true),
        _ => command["user"] = user.to_string().into(),
    }
    command
}

fn connect(gateway: &Gateway, user: usize, rooms: &BTreeSet<usize>) -> Client {
    let handshake = Handshake::new(gateway).path(&format!("/ws/?token={user}"));
    let mut client = handshake.connect();
    for room in rooms {
        client.subscribe(&json!({"n": room}), *room);
    }
    client.subscribe(&json!({"m": 1}), "end");
    client
}

/// Everything that is published to a client until the end; whether it was disconnected.
fn heard(client: &mut Client, is_open: bool) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        let frame = client.frame();
        if !is_open && frame.opcode == CLOSE {
            assert_eq!(
                frame.payload,
                [&4003u16.to_be_bytes()[..], b"ended"].concat()
            );
            return heard;
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        assert_eq!(message["type"], "publish", "{message}");
        if message["requestId"] == "end" {
            assert!(is_open, "it was not disconnected");
            return heard;
        }
        heard.push(message["data"].clone());
    }
}

fn round(gateway: &Gateway, now: &Rights, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    now.lock().expect("not poisoned").clear();
    let mut known = Vec::new();
    let mut clients = Vec::new();
    for user in (0..USERS).flat_map(|user| [user; TABS]) {
        let rooms = some_rooms(&mut random);
        clients.push(connect(gateway, user, &rooms));
        known.push(Known {
            user,
            rooms,
            is_open: true,
            may_be_held: false,
            heard: Vec::new(),
            certain: 0,
        });
    }
    // What the API says from now on; an `invalidate` or a `permit` makes it the truth.
    let rights: Vec<_> = (0..USERS).map(|_| some_rooms(&mut random)).collect();
    let named = rights.iter().cloned().enumerate();
    *now.lock().expect("not poisoned") = named
        .map(|(user, rooms)| (user.to_string(), rooms))
        .collect();
    let entries: Vec<_> = (0..ENTRIES)
        .map(|number| entry(number, &rights, &mut random))
        .collect();
    let answers = gateway.trigger(&Value::from(entries.clone()));
    for (entry, answer) in entries
        .iter()
        .zip(answers.as_array().expect("an answer for each"))
    {
        if let Some(room) = entry["rooms"][0]["n"].as_u64() {
            for known in &mut known {
                known.publish(usize::try_from(room).expect("a room"), &entry["data"]);
            }
            continue;
        }
        let user = entry["user"]
            .as_str()
            .map(|user| user.parse().expect("a number"));
        let user = user.or(entry["user"].as_u64().map(|user| user as usize));
        let meant = known.iter_mut().filter(|known| known.is_open);
        let meant = meant.filter(|known| user.is_none_or(|user| user == known.user));
        let mut matched = 0;
        for known in meant {
            known.command(entry, &rights[known.user]);
            matched += 1;
        }
        assert_eq!(
            answer["matched"], matched,
            "seed {seed}: {entry} of {entries:?}"
        );
    }
    gateway.trigger(&json!({"rooms": [{"m": 1}], "data": null}));
    for (client, known) in clients.iter_mut().zip(&known) {
        let heard = heard(client, known.is_open);
        let context = || format!("seed {seed}, user {}: {entries:?}", known.user);
        if known.is_open {
            assert_eq!(heard, known.heard, "{}", context());
        } else {
            assert!(heard.len() >= known.certain, "{heard:?}, {}", context());
            assert!(known.heard.starts_with(&heard), "{heard:?}, {}", context());
        }
    }
}

#[test]
fn clients_hear_exactly_what_a_naive_model_says() {
    let rights = Rights::default();
    let scripted = Arc::clone(&rights);
    let backend = StubBackend::new(move |seen| {
        let token = seen.header("authorization").unwrap_or("Token nobody");
        let user = token.trim_start_matches("Token ");
        let rooms = scripted.lock().unwrap().get(user).map(allowed);
        let rooms = rooms.unwrap_or_else(|| json!([{"n": "*"}, {"m": "*"}]));
        let answer = json!({"allowed_rooms": rooms, "user": {"id": user}, "labels": ["all"]});
        Reply::json("200 OK", answer.to_string())
    });
    let gateway = Gateway::with(&backend).set("HT_THREADS", 4).start();
    for seed in 0..ROUNDS {
        round(&gateway, &rights, seed);
    }
}
