//! The settings of a tenant besides those of the sections that it shares with the configuration
//! file, defined once: reading, bounds, defaults, schema and documentation come from this table.

use ht_node::config::{PublishKey, TenantName};

use crate::config::kind::{Count, Flag, Listed, Size, TenantHost};
use crate::config::table::settings;
use crate::config::tenants::kinds::{Named, PublicKey, PublishKeys, TenantPath};

const RATE: Count = Count {
    min: 0,
    max: 1_000_000_000,
};

const BYTES: Size = Size {
    min: 0,
    max: 1 << 40,
};

settings! {
    name: Option<TenantName>, live "name", Named, None,
        "The tenant's name, which is in its path, in the log, in metrics and in bills. In a folder with a file for each tenant it may be left out: it is that of the file. A name is never given to another tenant: what is on the log keeps it. `main`, `none` and `other` are no names of tenants.";
    hosts: Vec<TenantHost>, live "hosts", Listed::<TenantHost>::of("hosts", r#"["live.acme.example"]"#), Vec::new(),
        "Hosts whose clients, at `websocket_path`, are the tenant's: `Host` is compared without its port, its trailing dot and upper case. Other letters than ASCII may be written as they are or as `xn--…`.";
    path: Option<String>, live "path", TenantPath, None,
        "Path whose clients are the tenant's, on every host. Default: `/t/<name>/ws/`. `\"\"`: none; nor can it be `websocket_path`, which is that of all tenants.";
    key: Option<String>, live "key", PublicKey, None,
        "Public key by which clients name the tenant where neither host nor path do: as the parameter `key` or as the subprotocol `high-templar.key.<key>`. It is no secret: it is in pages, and lets nobody in.";
    suspended: bool, live "suspended", Flag, false,
        "The tenant is not served: its connections are closed with 4102 `suspended`, new ones and its triggers are refused, and its API is not called.";
    publish_keys: Vec<PublishKey>, live "publish_keys", PublishKeys, Vec::new(),
        "Keys of the tenant's publishers, each as the SHA-256 digest of a key and what it may do: `[{ hash = \"sha256:…\", may = [\"publish\", \"command\", \"read\"] }]`. `high-templar tenant add` makes one. `{ key = { file = \"acme.key\" }, may = […] }` reads the key itself from a file, or from a variable.";
    limits_connections: usize, live "limits.connections", RATE, 0,
        "Open connections on this node. Further clients are rejected with 503. 0: as many as `limits.connections` of the node allows.";
    limits_connections_per_user: usize, live "limits.connections_per_user", RATE, 0,
        "Open connections of one user. 0: `limits.connections_per_user` of the node.";
    limits_messages_per_second: usize, live "limits.messages_per_second", RATE, 0,
        "Rate limit: messages delivered to its clients by this node. Deliveries beyond it wait up to five seconds; then the slowest connections are closed with 4101 `tenant-busy`. 0: no limit.";
    limits_publish_per_second: usize, live "limits.publish_per_second", RATE, 0,
        "Rate limit: triggers and commands that this node accepts. Further ones get 429 with `Retry-After`. 0: no limit.";
    limits_bytes_per_second: usize, live "limits.bytes_per_second", BYTES, 0,
        "Rate limit: bytes delivered to its clients by this node, as `limits.messages_per_second`. 0: no limit.";
    limits_handshakes_per_second: usize, live "limits.handshakes_per_second", RATE, 0,
        "Rate limit: handshakes. Further ones are rejected with 503. 0: no limit.";
    limits_window_bytes: usize, live "limits.window_bytes", BYTES, 0,
        "Bytes of its publications in the window of this node; beyond it its own oldest ones are dropped. 0: as much as `window.bytes` of the node allows.";
}
