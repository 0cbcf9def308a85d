//! Tenants of a gateway, each with an API of its own.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::gateway::Builder;
use crate::support::{Answer, Client, Gateway, Handshake, Reply, Seen, StubBackend, http};

/// The subprotocols of a client that recovers.
pub(crate) const EVENTS: &str = "high-templar.v1, high-templar.events";

/// The key of the operator.
pub(crate) const ADMIN: &str = "the-operators-key";

/// A tenant. Everything but its name and its keys is the same for all of them.
pub(crate) struct Tenant {
    pub(crate) name: &'static str,
    pub(crate) backend: StubBackend,
    /// Further lines of its table.
    pub(crate) lines: String,
}

/// The response of an API about the user whose token it is.
pub(crate) fn answering(seen: &Seen) -> Reply {
    if !seen.is_bootstrap() {
        return Reply::ok();
    }
    let token = seen.header("authorization").unwrap_or("Token 7");
    let user = token.trim_start_matches("Token ");
    let answer = json!({
        "allowed_rooms": [{"n": "*"}],
        "user": {"id": user},
        "session": format!("s-{user}"),
        "labels": ["all"],
    });
    Reply::json("200 OK", answer.to_string())
}

/// A trigger with this data and id.
pub(crate) fn publish(data: &str, id: &str) -> Value {
    json!({"rooms": [{"n": 1}], "data": data, "id": id})
}

/// A handshake that offers these subprotocols.
pub(crate) fn named(handshake: Handshake, names: &str) -> Handshake {
    handshake.header("Sec-WebSocket-Protocol", names)
}

impl Tenant {
    /// Admits everybody to the same rooms as the others.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            backend: StubBackend::new(answering),
            lines: String::new(),
        }
    }

    /// With another line in its table.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines += line;
        self.lines.push('\n');
        self
    }

    /// Its secret key, which may do everything.
    pub(crate) fn secret(&self) -> String {
        format!("secret-of-{}", self.name)
    }

    /// Its table in a configuration file.
    pub(crate) fn table(&self) -> String {
        let Self { name, lines, .. } = self;
        let url = &self.backend.url;
        let hash: String = Sha256::digest(self.secret())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!(
            "[[tenant]]\nname = \"{name}\"\n\
             hosts = [\"{name}.test\", \"xn--bcher-kva-{name}.test\"]\nkey = \"pk_{name}\"\n\
             backend = {{url = \"{url}\"}}\n\
             publish_keys = [{{hash = \"sha256:{hash}\", may = [\"publish\", \"command\", \"read\"]}}]\n\
             {lines}"
        )
    }

    /// A handshake of its user 7.
    pub(crate) fn handshake(&self, gateway: &Gateway) -> Handshake {
        self.handshake_of(gateway, "7")
    }

    /// The same of another user.
    pub(crate) fn handshake_of(&self, gateway: &Gateway, user: &str) -> Handshake {
        let handshake = Handshake::new(gateway).without("Host");
        let handshake = handshake.header("Host", format!("{}.test", self.name));
        handshake.path(&format!("/ws/?token={user}"))
    }

    /// Posts a record with its key.
    pub(crate) fn post(&self, gateway: &Gateway, record: &Value) -> Answer {
        post(gateway, &self.secret(), &[], record)
    }
}

/// Posts a record with a key and further headers.
pub(crate) fn post(
    gateway: &Gateway,
    key: &str,
    headers: &[(&str, &str)],
    record: &Value,
) -> Answer {
    let authorization = format!("Bearer {key}");
    let mut all = vec![("Authorization", &*authorization)];
    all.extend(headers);
    let body = record.to_string();
    http::request(
        gateway.internal(),
        "POST",
        "/trigger/",
        &all,
        body.as_bytes(),
    )
}

/// The file of these tenants.
pub(crate) fn file(tenants: &[Tenant]) -> String {
    tenants.iter().map(Tenant::table).collect()
}

/// A gateway with these tenants and no other, whose file is looked at often.
pub(crate) fn gateway(tenants: &[Tenant]) -> Builder {
    let nobody = StubBackend::open();
    let builder = Gateway::with(&nobody).unset("HT_BACKEND__URL");
    let path = builder.folder().join("tenants.toml");
    std::fs::write(&path, file(tenants)).expect("a file of tenants");
    builder
        .set("HT_TENANTS__SOURCE", "file")
        .set("HT_TENANTS__FILE", path.display())
        .set("HT_TENANTS__INTERVAL", "100ms")
        .set("HT_INTERNAL__API_KEY", ADMIN)
}

/// Publishes for each of these tenants its name, with the same id; the cursor of a client from
/// before.
#[track_caller]
pub(crate) fn publish_of_each(gateway: &Gateway, tenants: &[Tenant]) -> Value {
    let mut client = named(tenants[0].handshake(gateway), EVENTS).open();
    let cursor = client.expect_whole()["cursor"].clone();
    for tenant in tenants {
        let answer = tenant.post(gateway, &publish(tenant.name, "same"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    cursor
}

/// Another node knows what [`publish_of_each`] published: its id, and its data for who comes back.
#[track_caller]
pub(crate) fn expect_recovered(gateway: &Gateway, tenants: &[Tenant], cursor: &Value) {
    for tenant in tenants {
        let again = tenant.post(gateway, &publish("again", "same"));
        assert_eq!(again.json()["duplicate"], true, "{}", tenant.name);
        let mut client = named(tenant.handshake(gateway), EVENTS).open();
        client.expect_whole();
        client.send_json(&json!({
            "type": "subscribe", "room": {"n": 1}, "requestId": "x", "since": cursor,
        }));
        let answer = client.expect_whole();
        assert_eq!(answer["replayed"], 1, "{answer}");
        assert_eq!(client.expect_whole()["data"], tenant.name);
        client.fence();
    }
}

/// The close reason of a client that is not admitted.
#[track_caller]
pub(crate) fn expect_refused(client: &mut Client, code: u16) -> String {
    assert_eq!(client.expect_json()["is_authorized"], false);
    client.expect_close(code)
}

/// Replaces the tenants of a running gateway, and waits until that is in force.
#[track_caller]
pub(crate) fn replace(gateway: &Gateway, tenants: &[Tenant]) {
    let path = gateway.folder().join("tenants.toml");
    let new = path.with_extension("new");
    std::fs::write(&new, file(tenants)).expect("a file of tenants");
    std::fs::rename(new, path).expect("a file of tenants");
}
