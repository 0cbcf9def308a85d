//! Every metric of a node, defined once: the counters, `/metrics` and docs/metrics.md are all
//! generated from this table.
//!
//! A row under `counted` is a counter of [`crate::counters::Counters`] by its name: a plain one, or
//! one for each value of a label. A row under `observed` is read where its number is kept. Each
//! describes the metric in one sentence (for [`ht_core::stats::STATS`] the description is there),
//! and in another when an operator should be alerted.

/// Passes the table to a macro: to the one that declares the counters, which reads the rows under
/// `counted`, and to the one that generates `/metrics` from all rows.
macro_rules! every_metric {
    ($then:ident) => {
        $then! {
            "Connections", "Open, refused and evicted connections." {
                observed connections = Read::Gauge(|now| now.node.totals.connections_of_node());
                    "Open connections that were admitted"
                    "When it nears `limits.connections`, or drops to 0 within seconds."
                observed shard_connections = Read::GaugeByShard(|now| now.by_shard(|it| it.node.totals.connections_by_shard()));
                    "Open connections by shard; they differ by the few that were closed last"
                    "When one shard has many more than the others: they are distributed evenly."
                observed streams = Read::Sum(STATS.streams);
                    "When it nears `connections` on pages that use WebSockets: a proxy does not let these through."
                observed polls = Read::Sum(STATS.polls);
                    "As `streams`: proxies hold back streams, too."
                observed rooms = Read::Gauge(|now| now.sum(|it| it.node.interest.rooms()));
                    "Rooms with at least one subscriber"
                    "Not by itself; with `subscriptions` it explains memory."
                observed subscriptions = Read::Sum(STATS.subscriptions);
                    "When it grows while `connections` does not: a page subscribes repeatedly."
                observed admitted = Read::Sum(STATS.admitted);
                    "When it grows much faster than usual: clients reconnect, see `evictions` and the close codes."
                observed refused = Read::Sum(STATS.refused);
                    "When it outgrows `admitted`: see `bootstraps` for the cause."
                observed evictions = Read::Sum(STATS.evictions);
                    "When it keeps growing. `outbox_bytes` and `outbox_age`: slow consumers. `outbox_total_bytes`: too little memory for all outboxes. `client_…`: clients that use much memory. `message_timeout`: clients that do not finish a message; an attack, or a limit that is too low for your pages. `tenant_busy`: see `tenant_busy_closes`."
                observed violations = Read::Sum(STATS.violations);
                    "When it grows steadily: a bug in a client, or in a proxy in front."
                observed idle_timeouts = Read::Sum(STATS.idle_timeouts);
                    "When it tracks `admitted`: clients are not sending `ping`."
                observed no_pongs = Read::Sum(STATS.no_pongs);
                    "Not by itself: phones and laptops sleep. When it jumps: the network to many clients failed."
            }
            "Handshakes", "From the handshake to the API's response." {
                observed backend_calls_in_flight = Read::Gauge(|now| now.guard().in_flight as u64);
                    "Bootstrap calls in progress"
                    "When it stays at `backend.max_in_flight`: the API is at its limit, and clients wait."
                observed backend_waiting = Read::Gauge(|now| now.guard().waiting as u64);
                    "Bootstrap calls that wait in the fair queue"
                    "When it does not fall again: clients connect faster than the API can serve."
                observed backend_shared = Read::Counter(|now| now.guard().shared);
                    "Clients that shared a bootstrap call with another one of the same credentials"
                    "Not by itself: calls that the API did not have to serve."
                observed backend_circuit_open = Read::Gauge(|now| u64::from(now.guard().circuit_open));
                    "1 while the backend circuit breaker is open: the gateway's own probes got no usable response from the API"
                    "When it is 1 for longer than a restart of the API takes: new clients are not accepted."
                observed backend_circuit_opened = Read::Counter(|now| now.guard().circuit_opened);
                    "Times that the backend circuit breaker opened"
                    "When it grows by more than the API's restarts."
                counted handshake_errors by "reason" HandshakeError;
                    "Handshakes rejected by the gateway itself, by reason (403, 429, 503 and others)"
                    "`memory`, `handshakes`, `connections`, `…-per-address`, `…-per-user` and `…-per-second`: a limit or rate limit is reached. `handshake-timeout`: the backend is too slow. `origin`: pages of other sites; many may be your own pages behind a proxy that changes `Host`, see the log. `proxy-protocol`: a load balancer that does not send it. `handshake-bytes`: long request heads and first frames while all of them hold a quarter of `limits.client_total_bytes`. `forward-bytes`: cookies longer than `backend.forward_bytes_max`. `leaving`: handshakes in progress during shutdown. The others: clients that violate the protocol."
                counted bootstraps by "outcome" BootstrapOutcome;
                    "Results of bootstrap calls"
                    "Every outcome except `admitted` and `status` is a fault of the backend or the configuration. With `busy`, `line-full` and `circuit-open` it was not called. `server-error`: a status that does not concern the user (5xx, 429), for example during a deployment; clients reconnect. `status`: any other status than 200; many at once: expired sessions. `redirect`: usually a login page."
                counted poll_bootstraps;
                    "Long polls for which the API was called, although their client had polled before"
                    "When it nears the rate of polls: clients have no resume ticket, because their grants are too long or `resume.enabled` is off. Use streams, or shorter grants."
                counted accept_waits by "listener" ListenerKind;
                    "Times that a new connection had to wait because all slots for new connections were in use"
                    "When it grows. `public`: connections before the upgrade, see `limits.handshakes`. `internal`: publishers and probes, of which 1,024 are served at once. The log has the remedy."
                counted accept_errors;
                    "Errors of accepting a connection"
                    "When it grows at all: most likely the process is out of file descriptors."
            }
            "Messages of clients", "Requests and error replies." {
                observed messages = Read::Sum(STATS.messages);
                    "When it grows faster than the number of connections: one `ping` every 30 seconds each is usual."
                observed client_errors = Read::Sum(STATS.errors);
                    "`room-not-found` at every page load: a page needs a permission that the API does not grant. The others: bugs of clients."
            }
            "Deliveries", "From a publication to the sockets." {
                observed publications = Read::Sum(STATS.publications);
                    "Not by itself: the work of the shards, compared with `triggers`."
                observed deliveries = Read::Sum(STATS.deliveries);
                    "When it does not grow while `triggers` grows and pages are open."
                observed shard_turn_seconds_max = Read::SecondsByShard(|now| now.by_shard(|it| it.node.totals.longest_turns()));
                    "Longest turn of a shard in the last one to two minutes, in seconds: in a turn a shard serves all of its connections once, within a budget of work"
                    "When it is above 0.02 on a machine that is not overloaded: deliveries and pings of that shard are delayed by as much. An overloaded machine makes turns longer, as do `compression.level` and `limits.message_bytes` above their defaults."
                observed undelivered = Read::Sum(STATS.undelivered);
                    "When it grows faster than connections end: see `evictions`."
                observed queued_frames = Read::Sum(STATS.queued);
                    "When it keeps growing: many slow consumers, or a slow network."
                observed outbox_bytes = Read::Gauge(|now| now.node.outboxes.bytes() as u64);
                    "Bytes queued for slow consumers in all outboxes; a large publication in several of them counts once"
                    "When it nears `limits.outbox_total_bytes`: slow consumers are about to be evicted."
                observed deflated_publications = Read::Sum(STATS.deflated);
                    "Not by itself: the cost of compression, with the bytes below."
                observed deflate_input_bytes = Read::Sum(STATS.deflate_bytes_in);
                    "Not by itself."
                observed deflate_output_bytes = Read::Sum(STATS.deflate_bytes_out);
                    "When it is near the input: the data does not compress, disable `compression.enabled`."
            }
            "Triggers", "From the API to the order of publications." {
                observed trigger_bytes_in_flight = Read::Gauge(|now| now.node.triggers_in_flight.bytes());
                    "Bytes of the bodies of `/trigger/` that are being read, parsed or placed"
                    "When it stays near `limits.triggers_in_flight`: the shards or the broker are slower than the API."
                observed inbox_queued = Read::GaugeByShard(|now| now.by_inbox(inbox::Sender::len));
                    "Inputs queued for each thread, most of them requests or messages with publications"
                    "When it stays near `limits.inbox`: publishers wait for this thread (back-pressure)."
                observed inbox_bytes = Read::GaugeByShard(|now| now.by_inbox(inbox::Sender::bytes));
                    "Bytes of publications queued for each thread"
                    "When it grows steadily: the thread is behind. At its share of `limits.inbox_bytes` it drops them: see `publications_missed`."
                observed subscriptions_lost = Read::Sum(STATS.subscriptions_lost);
                    "When it grows and no permissions were changed: look at who sends commands."
                counted triggers;
                    "Triggers that were accepted and ordered, duplicates included"
                    "When it does not grow while the API publishes."
                counted trigger_duplicates;
                    "Duplicate triggers: their id was seen before, accepted but not delivered again"
                    "When it grows steadily: the API does not receive the responses, see `internal_errors`."
                counted commands by "command" CommandName;
                    "Commands of the API that were ordered, duplicates not included"
                    "Not by itself."
                counted commands_lost;
                    "Commands that were dropped because a thread was too far behind, once for each thread; all its connections were closed"
                    "Above 0: send commands more slowly, or give the node more cores."
                counted back_pressure;
                    "Waits of publishers for a thread with a full inbox (back-pressure)"
                    "When it grows steadily: more is published than that thread can deliver. Give the node more cores, raise `threads`, or publish less."
                counted publications_missed;
                    "Publications that a thread dropped because it was too far behind, counted per thread"
                    "When it grows at all: the clients of that thread were closed with 1012 `gap` to fetch again. A warning names the thread."
                counted trigger_overloads;
                    "Requests to `/trigger/` refused because `limits.triggers_in_flight` was reached"
                    "When it grows at all: the publications are lost unless the API retries."
                counted internal_connections_refused;
                    "Connections to the internal listener that were closed because their address already has three quarters of all"
                    "When it grows at all: a program does not reuse its connections."
                counted internal_errors by "status" ErrorStatus;
                    "Requests to the internal listener that were rejected, by status"
                    "`401`, `403` and `421`: an unauthorised program, a wrong key, or a host name missing in `internal.hosts`. `503`: not published. `504`: perhaps not published."
                counted api_key_uses by "position" KeyPosition;
                    "Requests to the internal listener with a valid API key, by the position of the key in `internal.api_key`, or behind `keys-` in `internal.keys`"
                    "Not by itself. During key rotation, remove the old key when the counter of its position no longer grows."
            }
            "Nodes", "The gateways on the same broker." {
                observed nodes = Read::Gauge(|now| now.node.peers.count());
                    "Nodes that hold a lease, this one included: they have sent a beacon within `nodes.lease`"
                    "When it differs from the number of nodes that you run: one has failed or lost its connection to the broker. `GET /nodes/` lists them."
            }
            "Window", "The last publications, which the node keeps in memory." {
                observed window_entries = Read::Gauge(|now| now.window().entries);
                    "Publications in the window"
                    "Not by itself. At `window.entries` the oldest are dropped."
                observed window_bytes = Read::Gauge(|now| now.window().bytes);
                    "Bytes of memory that the publications in the window may take"
                    "Not by itself. At `window.bytes` the oldest are dropped."
                observed window_seconds = Read::Seconds(|now| now.window().seconds);
                    "Age of the oldest publication in the window in seconds"
                    "When it is far below `window.age` while `window_entries` or `window_bytes` is at its bound: the window covers only that time. Raise the bound."
                observed window_age_seconds = Read::Seconds(|now| now.window().reach.as_secs_f64());
                    "How far back the window reaches in seconds: a client that was away for no longer is sent what it missed"
                    "When it is below the outages that clients are to survive without a fetch, and the node has run for longer: see `window_entries` and `window_bytes` for the bound to raise, and `gaps` for publications that did not arrive."
            }
            "Recovery", "Clients that were away, and what they missed." {
                observed recoveries = Read::Sum(STATS.recoveries);
                    "When another outcome than `recovered` becomes usual: these clients fetch again. `age` and `too-much`: see `window_age_seconds`, `recovery.messages` and `recovery.bytes`. `epoch`: nodes restart without `window.file`, or clients change between nodes that share no log. `ahead`: the node reads the log late."
                observed replayed = Read::Sum(STATS.replayed);
                    "When it grows faster than connections are lost: clients reconnect often, see `evictions` and the close codes."
                observed catch_up_seconds = Read::Histogram(|now| now.node.totals.catch_ups());
                    "How long connections took to catch up with the live publications, after they came back or were held, in seconds"
                    "When its upper quantiles exceed a second: clients do not accept what they are sent, or many came back at once."
                counted resumes by "outcome" ResumeOutcome;
                    "Clients that offered a resume ticket, by outcome: except for `resumed` and `limit`, the API was called for them"
                    "When another outcome than `resumed` becomes usual. `secret`: nodes have different `resume.secret`, or none. `old`: clients send `ping` less often than `resume.max_age`, or clocks differ. `epoch`, `age`, `ahead`, `gap`: as for `recoveries`. `credentials`: cookies that change often. `invalid`: somebody tries."
            }
            "Readiness", "Whether triggers reach the shards: the node sends itself a probe every `readiness.probe_interval`." {
                observed ready = Read::Gauge(|now| u64::from(now.sources.readiness.reasons().is_empty()));
                    "1 while the node is ready for traffic, like `/ready`"
                    "When it is 0 without a restart of the node or the broker: `/ready` has the reason."
                observed probe_lag_seconds = Read::Seconds(|now| now.node.delivery.lag());
                    "Duration of the last successful probe in seconds"
                    "When it is far above its usual value: triggers take as long. Beyond `readiness.probe_timeout` the node is not ready."
                observed probe_seconds = Read::Histogram(|now| now.node.delivery.lags());
                    "Durations of successful probes in seconds"
                    "When its upper buckets fill: triggers wait for the broker or the shards."
                counted probe_failures by "reason" ProbeFailure;
                    "Probes that did not arrive within `readiness.probe_timeout`"
                    "When it grows at all. `broker`: it is unavailable or accepts nothing. `late`: the probe did not arrive back. `shard`: a thread is stuck or overloaded; the node stays ready while other threads reply, and `/ready` names the thread."
            }
            "Permissions", "Changes of what clients that are connected may do." {
                observed connections_held = Read::Sum(STATS.connections_held);
                    "When it stays above 0: the API does not answer, see `hold_seconds`, `bootstraps` and the log."
                observed permissions_changed = Read::Sum(STATS.permissions_changed);
                    "Not by itself."
                observed window_catch_ups = Read::Sum(STATS.window_catch_ups);
                    "Not by itself."
                observed window_gaps = Read::Sum(STATS.window_gaps);
                    "When it grows at all: connections were held for longer than the window reaches back. Raise `window.entries`, `window.bytes` or `window.age`, or lower `permissions.hold_timeout`."
                observed hold_seconds = Read::Histogram(|now| now.node.rechecks.hold_seconds());
                    "How long connections waited for the API's answer about changed permissions, in seconds; meanwhile they are sent no publications"
                    "When its upper quantiles approach `permissions.hold_timeout`: the API is too slow, or too many connections were invalidated at once (send `within`)."
                counted permissions_asked by "reason" RecheckReason;
                    "Connections about which the API was to be queried again, by reason"
                    "When it grows much faster than commands are sent and permissions expire: see who sends `invalidate`. `newcomer`: a command arrived while the client connected."
                counted permissions_unreachable;
                    "Connections about which the API gave no usable answer within `permissions.hold_timeout`"
                    "When it grows at all: they were closed, or with `permissions.unreachable = \"keep\"` have permissions that the API may have taken."
            }
            "Gaps", "Publications that may not have reached this node or a part of it." {
                observed gaps = Read::CounterBy("reason", words::<GapReason>, |now| now.node.gaps.counts());
                    "Times that publications may have been missed (gaps), by cause"
                    "When it grows at all: clients miss publications until they have reconnected. The warning `gap: this node may have missed publications` names cause and remedy."
                observed gaps_told = Read::Sum(STATS.gaps_told);
                    "When it grows without an outage of the broker: see `gaps`. These clients stay connected, and fetch again."
                observed gap_closes = Read::Counter(|now| now.node.gaps.closed());
                    "Connections closed with 1012 `gap` so that their clients fetch again"
                    "When it grows without an outage of the broker: see `gaps`."
            }
            "Broker", "Only on a node with a broker." {
                observed broker_up = Read::BrokerGauge(|broker| u64::from(broker.health() == Health::Ready));
                    "1 while the node can receive triggers from the broker"
                    "When it is 0 for longer than a restart of the broker takes."
                observed broker_messages = Read::BrokerCounter(|broker| broker.counts().received);
                    "Messages from the broker"
                    "When it does not grow while others publish."
                observed broker_rejected = Read::BrokerCounter(|broker| broker.counts().rejected);
                    "Messages from the broker that were not valid triggers"
                    "When it grows at all: a publisher sends something else, and it is dropped."
                observed broker_of_tenants = Read::BrokerCounter(|broker| broker.counts().of_tenants);
                    "Messages from the broker that were of tenants, at a node without tenants: not delivered"
                    "When it grows at all: configure `[tenants]` on this node as on the others, or give it another log."
                observed broker_failures = Read::BrokerCounter(|broker| broker.counts().failures);
                    "Connections to the broker that were lost or failed"
                    "When it grows by more than the broker's restarts."
            }
            "Tenants", "Only on a node with tenants. At most `metrics.tenants_max` tenants have a label of their own, the others are `other`, in which a tenant of that name is, too. A tenant gets a label when one is free, or when it has more than twice the connections of the smallest one that has one. No counter ever goes backwards: what a tenant did without a label stays in `other`, and what it did with one is shown again when it gets one again. So rates are right, and their sum is that of the node. `GET /tenants/<name>/metrics` shows these metrics of one tenant since the start of the process, whatever its label." {
                observed tenants = Read::TenantsGauge(|now| now.node.tenants.count() as u64);
                    "Tenants of this node, suspended ones and `main` included"
                    "When nodes differ for longer than `tenants.interval`, or it drops to 0: the source lost its tenants."
                observed tenants_age_seconds = Read::TenantsGauge(|now| now.node.administration.freshness().age().as_secs());
                    "How long the list of tenants has been older than its source, in seconds, also before this process started: the registry gave no list, or a file has a mistake. 0 while it is current"
                    "When it is above 300: no tenant can be added, changed or removed. `/ready` and the log have the cause."
                observed tenant_connections = Read::TenantGauge(|it| it.connections);
                    "Open connections of the tenant"
                    "When it nears `limits.connections` of the tenant."
                observed tenant_waiting_bytes = Read::TenantGauge(|it| it.waiting);
                    "Bytes of publications of the tenant that threads have taken and not delivered yet"
                    "When it stays high for one tenant: it publishes more than its clients are sent. See `inbox_bytes` for what threads have not taken."
                observed tenant_connection_seconds = Read::TenantCounter(|it| it.counts.connection_ms() / 1_000);
                    "Time that connections of the tenant were open, in seconds, summed over them"
                    "Not by itself: bills are made from the files of `usage.file`."
                observed tenant_messages = Read::TenantCounter(|it| it.counts.messages());
                    "Messages of clients of the tenant, valid or not"
                    "When one tenant sends much more than its connections explain."
                observed tenant_publications = Read::TenantCounter(|it| it.counts.publications());
                    "Publications of the tenant that were placed in the order of this node; every node that reads the same log counts all of them"
                    "When one tenant publishes much more than the others: set its `limits.publish_per_second`."
                observed tenant_triggers = Read::TenantCounter(|it| it.counts.triggers());
                    "Triggers and commands of the tenant that this node accepted over HTTP"
                    "See `tenant_publications`."
                observed tenant_deliveries = Read::TenantCounter(|it| it.counts.deliveries());
                    "Publish frames written to sockets of the tenant"
                    "When one tenant has most of the deliveries: set its `limits.messages_per_second`."
                observed tenant_sent_bytes = Read::TenantCounter(|it| it.counts.bytes_out());
                    "Bytes of all frames for clients of the tenant, those that are queued included, before TLS and TCP"
                    "When one tenant fills the network: set its `limits.bytes_per_second`."
                observed tenant_busy_closes = Read::TenantsCounter(|now| now.totals.tenant_busy);
                    "Connections of any tenant closed with 4101 `tenant-busy`, because what it sends its clients waited for more than five seconds"
                    "When it grows: `tenant_deliveries` and `tenant_sent_bytes` show which tenant reached its `limits.messages_per_second` or `limits.bytes_per_second`."
                observed tenant_window_trimmed = Read::TenantsCounter(|now| now.sources.pipelines.trimmed());
                    "Entries of any tenant that left the window early, because it had more than its `limits.window_bytes`, or most of a full window"
                    "When clients of a tenant fetch after short outages with the reason `trimmed`: raise its `limits.window_bytes`, or `window.bytes` and `window.entries` of the node."
                observed tenant_bootstraps = Read::TenantCounterBy("outcome", words::<BootstrapOutcome>, |it| it.counts.bootstraps());
                    "Bootstrap calls to the API of the tenant, by outcome"
                    "When another outcome than `admitted` and the refusals grows: the API of this tenant fails."
                observed tenant_answers_refused = Read::TenantsCounter(|now| now.node.tenants.answers().refused());
                    "Bootstrap responses of any tenant that were discarded, because its API had its share of `limits.answer_total_bytes`"
                    "When it grows: `tenant_bootstraps` shows which API sends too much, or too slowly. Raise `limits.answer_total_bytes` if all are meant to."
                observed tenant_grants_refused = Read::TenantsCounter(|now| now.node.interner.grant_bytes().refused());
                    "Responses of APIs of any tenant that were rejected, because the tenant had its share of `limits.grant_total_bytes`"
                    "When it grows: the log names the tenant. Have its API permit rooms with `*` instead of many, or raise `limits.grant_total_bytes`."
                observed tenant_refusals = Read::TenantCounterBy("limit", words::<TenantLimit>, |it| it.counts.refusals());
                    "Clients and requests that were rejected because of a limit of the tenant, by limit"
                    "When it grows: the tenant needs a higher limit, or something of it is broken."
            }
            "Logs of tenants' own", "Only on a node with tenants. These are of each log that a tenant has of its own: see [a log of its own](tenants.md#a-log-of-its-own). What is above under \"Window\", \"Nodes\" and \"Broker\" is of the log of all other tenants; everything else counts all of them, and threads of own logs follow those of the node." {
                observed tenant_log_up = Read::OwnLogGauge(|it| u64::from(it.is_up));
                    "1 while the log of the tenant is read, and what is published to it arrives"
                    "When it is 0 for longer than a restart of its server takes: what the tenant publishes is refused, and its clients hear nothing."
                observed tenant_log_messages = Read::OwnLogCounter(|it| it.counts.received);
                    "Messages from the log of the tenant"
                    "Not by itself."
                observed tenant_log_rejected = Read::OwnLogCounter(|it| it.counts.rejected);
                    "Messages from the log of the tenant that were not valid triggers, or named another tenant"
                    "When it grows at all: somebody sends something else to it, and it is dropped."
                observed tenant_log_failures = Read::OwnLogCounter(|it| it.counts.failures);
                    "Connections to the server of the tenant's log that were lost or failed"
                    "When it grows by more than the server's restarts."
                observed tenant_log_nodes = Read::OwnLogGauge(|it| it.nodes);
                    "Nodes that read the log of the tenant, this one included"
                    "When it differs from `nodes`: a node does not have this tenant, or cannot reach its log."
                observed tenant_log_window_bytes = Read::OwnLogGauge(|it| it.window.bytes);
                    "Bytes of memory that the publications in the window of the tenant's log may take"
                    "Not by itself. At `window.bytes`, or `limits.window_bytes` of the tenant, the oldest are dropped."
                observed tenant_log_window_age_seconds = Read::OwnLogSeconds(|it| it.window.reach.as_secs_f64());
                    "How far back the window of the tenant's log reaches in seconds"
                    "See `window_age_seconds`."
            }

            "Usage", "Only where `usage.file` is set." {
                observed usage_write_failures = Read::UsageCounter(|usage| usage.write_failures.load(Ordering::Relaxed));
                    "Checkpoints of usage that could not be written"
                    "When it grows at all: a crash would lose what was used since. The log names folder and cause."
                observed usage_post_failures = Read::UsageCounter(|usage| usage.post_failures.load(Ordering::Relaxed));
                    "Requests to `usage.url` that were not accepted"
                    "When it grows for an hour: bills are late. They are sent again until `usage.keep` is over."
                observed usage_unsent_files = Read::UsageGauge(|usage| usage.unsent.load(Ordering::Relaxed));
                    "Files of complete hours that `usage.url` has not accepted yet"
                    "When it stays above 1 for longer than the receiver is ever away."
            }

            "Memory", "Memory of the process and of what it holds for clients." {
                observed answer_bytes = Read::Gauge(|now| now.node.tenants.answers().bytes());
                    "Bytes of the bootstrap responses that the APIs of tenants are sending, all together"
                    "When it stays near half of `limits.answer_total_bytes`: see `tenant_answers_refused`."
                observed grant_bytes = Read::Gauge(|now| now.node.interner.grant_bytes().bytes());
                    "Bytes of the rooms that clients of tenants other than `main` are permitted, all together"
                    "When it stays near half of `limits.grant_total_bytes`: see `tenant_grants_refused`."
                observed memory_bytes = Read::Gauge(|now| now.node.memory.resident());
                    "Resident memory of the process"
                    "When it nears `limits.memory_bytes`, or grows while `connections` does not."
                observed memory_allocated_bytes = Read::Gauge(|now| now.node.memory.allocated());
                    "Memory that the process has allocated, in bytes, without freed memory that the allocator retains"
                    "When it grows while neither `connections` nor `subscriptions` do. `limits.memory_bytes` is compared with 1.25 times this value, or with resident memory if that is less."
                observed memory_short = Read::Gauge(|now| u64::from(now.node.memory.is_short()));
                    "1 while new clients and triggers are rejected because memory is short"
                    "When it is 1: see `outbox_bytes`, `connections` and `subscriptions` for what uses it."
                observed client_bytes = Read::GaugeBy(
                    "kind",
                    || Kind::ALL.iter().map(|kind| kind.as_str()).collect(),
                    |now| Kind::ALL.iter().map(|&kind| now.node.accounts.bytes(kind) as u64).collect(),
                );
                    "Memory held for clients in addition to outboxes, in bytes, by purpose"
                    "When the sum nears `limits.client_total_bytes`: the connections that hold most are about to be evicted, see `evictions`."
                counted triggers_shed;
                    "Requests to `/trigger/` that were rejected because memory was short"
                    "When it grows at all: they were not published by this node."
            }

            "Process", "Build information, and the process metrics of Prometheus' client libraries under their usual names." {
                observed build_info = Read::Build;
                    "Version, commit and compiler that this program was built from, as labels of the constant 1"
                    "Not by itself. Compare it across nodes to find nodes that run another version."
                observed process_cpu_seconds = Read::ProcessCounter(|process| process.cpu_seconds);
                    "Total user and system CPU time spent in seconds"
                    "When its rate nears the number of cores of the node: deliveries are delayed."
                observed process_resident_memory_bytes = Read::ProcessGauge(|process| process.resident_bytes);
                    "Resident memory size in bytes"
                    "As `memory_bytes`, the same value sampled four times a second."
                observed process_virtual_memory_bytes = Read::ProcessGauge(|process| process.virtual_bytes);
                    "Virtual memory size in bytes"
                    "Not by itself: the allocator reserves much more than it uses."
                observed process_open_fds = Read::ProcessGauge(|process| process.open_fds);
                    "Number of open file descriptors"
                    "When it nears `process_max_fds`: new connections wait. Each connection uses one descriptor."
                observed process_max_fds = Read::ProcessGauge(|process| process.max_fds);
                    "Maximum number of open file descriptors"
                    "When it is below `limits.connections`: raise the hard limit (`LimitNOFILE`)."
                observed process_start_time_seconds = Read::ProcessGauge(|process| process.start_seconds);
                    "Start time of the process since unix epoch in seconds"
                    "When it changes without a deployment: the process restarted and its clients reconnected."
                observed process_threads = Read::ProcessGauge(|process| process.threads);
                    "Number of OS threads in the process"
                    "When it grows steadily."
            }

            "Hooks", "Notifying the API of connects and disconnects (presence)." {
                counted hooks;
                    "Hooks that were called"
                    "When it does not grow while clients connect and disconnect."
                counted hook_errors by "reason" FailureKind;
                    "Hooks without a response"
                    "When it grows: the API's presence information is wrong."
                counted hooks_dropped;
                    "Hooks lost because the queue was full"
                    "When it grows at all: `hooks.queue` is full, the API is too slow for `hooks.max_in_flight`."
            }

            "Log", "The log itself." {
                observed log_lines_dropped = Read::Counter(|_| LOG_LINES_DROPPED.load(Ordering::Relaxed));
                    "Lines of the log that were dropped"
                    "When it grows at all: the log's reader is too slow, or its disk is full."
            }
        }
    };
}

pub(crate) use every_metric;
