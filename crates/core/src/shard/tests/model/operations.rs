//! The operations of the model.

use proptest::prelude::*;

pub(super) const ROOMS: &[&str] = &[
    "{}",
    r#"{"a":1}"#,
    r#"{"a":2}"#,
    r#"{"a":"*"}"#,
    r#"{"b":1,"a":1}"#,
    r#"{"b":"*","a":1}"#,
    r#"{"forbidden":1}"#,
];

/// What the API may permit a user: grants, and the rooms that they permit, spelled out by hand.
pub(super) const RIGHTS: [(&str, &[usize]); 4] = [
    (r#"[{},{"a":"*"},{"a":1,"b":"*"}]"#, &[0, 1, 2, 3, 4, 5]),
    (r#"[{"a":"*"}]"#, &[1, 2, 3]),
    (r#"[{},{"a":1,"b":"*"}]"#, &[0, 4, 5]),
    (r#"[{"a":1},{"a":1,"b":1}]"#, &[1, 4]),
];

pub(super) const NAMES: &[&str] = &["1", "\"1\"", "null"];

/// Clients at a time, of two tenants in turn.
pub(super) const CLIENTS: usize = 4;

/// Tenants, whose rooms and clients are isolated.
pub(super) const TENANTS: usize = 2;

#[derive(Clone, Debug)]
pub(super) enum Message {
    Ping,
    /// A ping as JSON, which clients of our subprotocol may send.
    JsonPing,
    /// A client of our subprotocol asks for what it missed.
    Resume,
    /// A token for the API.
    Authenticate,
    Subscribe(usize, usize),
    Unsubscribe(usize),
    Rubbish,
    ControlPing,
    Close,
}

/// Whom a command means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    /// The user of this client.
    Client(usize),
    /// Everyone of a tenant.
    Tenant(usize),
}

/// What the API says of a client about which it is asked again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// What it permits by now.
    Permits,
    Refuses,
    Unreachable,
    /// There was no answer, and nothing changes.
    Keeps,
    /// An answer to a call that was sent before the command.
    Stale,
}

/// An operation on one of the clients, or on the shard.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Open {
        client: usize,
        room: usize,
        offer: Option<&'static str>,
        /// It chooses our subprotocol.
        v1: bool,
    },
    /// A client subscribes, with everything that it wrote before. One of our subprotocol connects for
    /// that where there is none.
    Follow(usize, usize, usize),
    /// A client of our subprotocol that is there, or was, comes back, accepts so many bytes, and asks
    /// for what it missed.
    Return(usize, usize),
    /// The API permits them this by now, and commands that it is asked again.
    Invalidate(Whom, usize),
    /// The API permits the user of a client this, and commands that.
    Permit(usize, usize),
    /// The API answers about a client that is held.
    Reply(usize, Outcome),
    Refuse(usize),
    /// A client that is to send its token; it accepts so many bytes at first.
    Await(usize, usize),
    /// The API answers about a client's token: it is admitted, or refused.
    Answer(usize, bool),
    /// Clients without an API answer are closed.
    CloseUnauthenticated,
    /// The client writes; nothing is sent yet.
    Say(usize, Message),
    /// So many bytes of what the client wrote arrive.
    Arrive(usize, usize),
    /// All that the client wrote arrives, and a frame against the protocol.
    Violate(usize),
    /// The client accepts so many bytes from now on, of which the shard is notified.
    Takes(usize, usize),
    Writable(usize),
    /// The client disconnects, without a notification of the shard.
    Vanish(usize),
    /// The client disconnects, with a notification of the shard.
    End(usize),
    /// One batch of a tenant: triggers with their rooms and how long their data is.
    Publish(usize, Vec<(Vec<usize>, usize)>),
    /// The client's permission for this room is revoked.
    Forbid(usize, usize),
    /// A late call, for a session that has ended: one of the earlier ones.
    Late(usize),
    Slice(usize),
    Pass(u64),
    /// Open connections may have missed publications.
    Gap,
    /// Connections opened before the last gap are closed, so many at a time.
    CloseMissed(usize),
    CloseAll,
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => Just(Message::Ping),
        3 => Just(Message::JsonPing),
        4 => Just(Message::Authenticate),
        12 => (0..ROOMS.len(), 0..NAMES.len()).prop_map(|(r, n)| Message::Subscribe(r, n)),
        4 => (0..NAMES.len()).prop_map(Message::Unsubscribe),
        1 => Just(Message::Rubbish),
        1 => Just(Message::ControlPing),
        1 => Just(Message::Close),
    ]
}

/// Bytes that a client accepts: often everything.
fn takes() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(usize::MAX), 1 => 0..200usize]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        12 => Just(Outcome::Permits),
        1 => Just(Outcome::Refuses),
        1 => Just(Outcome::Unreachable),
        2 => Just(Outcome::Keeps),
        2 => Just(Outcome::Stale),
    ]
}

/// What a client offers about compression.
fn offers() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some("permessage-deflate")),
        // A window that some publications fit and others do not.
        1 => Just(Some("permessage-deflate; server_max_window_bits=12")),
    ]
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let client = 0..CLIENTS;
    let whom = prop_oneof![
        3 => client.clone().prop_map(Whom::Client),
        1 => (0..TENANTS).prop_map(Whom::Tenant),
    ];
    let length = prop_oneof![4 => 0..50usize, 1 => 4_000..6_000usize];
    let trigger = (proptest::collection::vec(0..ROOMS.len(), 0..4), length);
    let operation = prop_oneof![
        6 => (client.clone(), takes(), offers(), any::<bool>())
            .prop_map(|(client, room, offer, v1)| Operation::Open { client, room, offer, v1 }),
        8 => (client.clone(), takes()).prop_map(|(c, room)| Operation::Return(c, room)),
        16 => (client.clone(), 0..ROOMS.len(), 0..NAMES.len())
            .prop_map(|(c, room, name)| Operation::Follow(c, room, name)),
        4 => (whom, 0..RIGHTS.len()).prop_map(|(whom, rights)| Operation::Invalidate(whom, rights)),
        2 => (client.clone(), 0..RIGHTS.len()).prop_map(|(c, rights)| Operation::Permit(c, rights)),
        8 => (client.clone(), outcomes()).prop_map(|(c, outcome)| Operation::Reply(c, outcome)),
        1 => client.clone().prop_map(Operation::Refuse),
        3 => (client.clone(), takes()).prop_map(|(c, room)| Operation::Await(c, room)),
        4 => (client.clone(), any::<bool>()).prop_map(|(c, admits)| Operation::Answer(c, admits)),
        1 => Just(Operation::CloseUnauthenticated),
        24 => (client.clone(), messages()).prop_map(|(c, message)| Operation::Say(c, message)),
        24 => (client.clone(), 1..300usize).prop_map(|(c, bytes)| Operation::Arrive(c, bytes)),
        1 => client.clone().prop_map(Operation::Violate),
        12 => (client.clone(), takes()).prop_map(|(c, room)| Operation::Takes(c, room)),
        3 => client.clone().prop_map(Operation::Writable),
        1 => client.clone().prop_map(Operation::Vanish),
        2 => client.clone().prop_map(Operation::End),
        2 => (client, 0..ROOMS.len()).prop_map(|(c, room)| Operation::Forbid(c, room)),
        2 => (0..8usize).prop_map(Operation::Late),
        12 => (0..TENANTS, proptest::collection::vec(trigger, 0..4))
            .prop_map(|(tenant, triggers)| Operation::Publish(tenant, triggers)),
        12 => (1..5usize).prop_map(Operation::Slice),
        3 => prop_oneof![0..200u64, 0..40_000u64].prop_map(Operation::Pass),
        2 => Just(Operation::Gap),
        2 => (1..3usize).prop_map(Operation::CloseMissed),
        1 => Just(Operation::CloseAll),
    ];
    proptest::collection::vec(operation, 0..120)
}
