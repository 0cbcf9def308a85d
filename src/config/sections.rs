//! The sections of the settings.

/// What each section is about; the first has no name.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("", "The listener for browsers."),
    (
        "origins",
        "Which pages may open a WebSocket. Browsers send cookies with requests from any page, so this \
         prevents other sites from subscribing as your users.",
    ),
    ("internal", "The listener for your API and for operators."),
    (
        "backend",
        "Your HTTP API: authentication and permissions for rooms.",
    ),
    (
        "auth",
        "How clients may authenticate, in addition to cookies, parameters and subprotocols.",
    ),
    (
        "hooks",
        "Calls that notify your API of connects, pings and disconnects (presence).",
    ),
    (
        "tenants",
        "Several products on one gateway. Without them everything is of one tenant, `main`.",
    ),
    ("rabbitmq", "Triggers over RabbitMQ."),
    (
        "postgres",
        "Triggers over PostgreSQL, and an outbox for publishers that commit their data with it.",
    ),
    ("nats", "Triggers over NATS JetStream."),
    ("redis", "Triggers over a stream of Redis or Valkey."),
    ("rooms", "How rooms match."),
    ("status", "The `status` message."),
    ("compression", "Compressed messages (RFC 7692)."),
    (
        "limits",
        "Limits and rate limits. The number itself is still allowed. 0 means no limit where a setting says so; the others always apply, because without them a single client or request could use all memory, or a slot forever.",
    ),
    (
        "keepalive",
        "Pings to silent clients, to detect dead connections.",
    ),
    ("tcp", "Options of clients' sockets."),
    (
        "sse",
        "Event streams: clients that cannot use WebSockets, or need nothing but `EventSource`.",
    ),
    (
        "poll",
        "Long polls: clients behind proxies that hold back streams.",
    ),
    ("drain", "Graceful shutdown."),
    (
        "recovery",
        "What clients that reconnect are sent of what they missed, and how clients are notified when publications may not have reached this node (a gap).",
    ),
    (
        "resume",
        "Clients that are let in again without a call to the API.",
    ),
    (
        "permissions",
        "How the permissions of open connections are renewed.",
    ),
    (
        "nodes",
        "The nodes on the same broker, which announce themselves by beacons. Without a broker there is one.",
    ),
    (
        "window",
        "The last publications, which each node keeps in memory for clients whose permissions are being checked: they receive them once that is done. The first bound that is reached drops the oldest ones; a client that would need them is closed with 1012 `gap <ms>`, and fetches again.",
    ),
    ("metrics", "What `/metrics` shows of tenants."),
    (
        "usage",
        "What each tenant uses, for bills. Without tenants there is one, `main`.",
    ),
    (
        "readiness",
        "Whether this node can receive traffic: `/ready`.",
    ),
    ("log", "The log."),
];
