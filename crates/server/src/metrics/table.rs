//! Every metric of a node, defined once: what is counted, what `/metrics` shows and what
//! docs/metrics.md says all come from this table.
//!
//! A row under `counted` is a counter of [`Counters`] by its name: a plain one, or one per word of
//! a label, which are all the words there are. A row under `observed` is read where its number is
//! kept. Each says in one sentence what it is and in another when an operator should worry.

use std::sync::atomic::{AtomicU64, Ordering};

use ht_broker::Health;
use ht_core::account::Kind;
use ht_core::peer::Eviction;
use ht_proto::code::ErrorCode;

use crate::gaps::GapReason;
use crate::metrics::{LOG_LINES_DROPPED, Labels, Metric, Read, Section};
use crate::{inbox, readiness};

macro_rules! counter_type {
    () => {
        AtomicU64
    };
    ($label:literal) => {
        Labels
    };
}

macro_rules! counter_new {
    () => { AtomicU64::new(0) };
    ([$($word:literal)*]) => { Labels::new(&[$($word,)*]) };
}

macro_rules! counter_read {
    ($name:ident) => {
        Read::Counter(|now| now.node.counters.$name.load(Ordering::Relaxed))
    };
    ($name:ident $label:literal [$($word:literal)*]) => {
        Read::CounterBy($label, || vec![$($word,)*], |now| now.node.counters.$name.all())
    };
}

macro_rules! metrics {
    ($($title:literal, $about:literal {
        $(observed $seen:ident = $read:expr; $seen_help:literal $seen_worry:literal)*
        $(counted $name:ident $(by $label:literal [$($word:literal)*])?; $help:literal $worry:literal)*
    })*) => {
        /// What is counted outside of the shards.
        #[derive(Debug)]
        pub(crate) struct Counters {
            $($(#[doc = $help] pub(crate) $name: counter_type!($($label)?),)*)*
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($($name: counter_new!($([$($word)*])?),)*)*
                }
            }
        }

        /// Every metric, in the order of `/metrics` and of the documentation.
        pub(crate) static SECTIONS: &[Section] = &[$(Section {
            title: $title,
            about: $about,
            metrics: &[
                $(Metric {
                    name: stringify!($seen),
                    read: $read,
                    help: $seen_help,
                    worry: $seen_worry,
                },)*
                $(Metric {
                    name: stringify!($name),
                    read: counter_read!($name $($label [$($word)*])?),
                    help: $help,
                    worry: $worry,
                },)*
            ],
        },)*];
    };
}

metrics! {
    "Connections", "Who is here, and who was let go." {
        observed connections = Read::Gauge(|now| now.node.connections.load(Ordering::Acquire));
            "Admitted connections that are open"
            "When it nears `limits.connections`, or falls to nothing within seconds."
        observed shard_connections = Read::GaugeByShard(|now| now.node.connections_by_shard().collect());
            "Admitted connections by shard; they differ by the few that left last"
            "When one shard has many more than the others: they are given out evenly."
        observed rooms = Read::Gauge(|now| now.node.census.rooms());
            "Rooms that have a subscriber"
            "Not by itself; with `subscriptions` it explains memory."
        observed subscriptions = Read::Gauge(|now| now.totals.subscriptions);
            "Subscriptions"
            "When it grows and `connections` does not: a page subscribes again and again."
        observed admitted = Read::Counter(|now| now.totals.admitted);
            "Connections that were admitted"
            "When it grows much faster than usual: pages reconnect, see `evictions` and the close codes."
        observed refused = Read::Counter(|now| now.totals.refused);
            "Visitors that were refused or failed"
            "When it outgrows `admitted`: `bootstraps` says why."
        observed evictions = Read::CounterBy(
            "reason",
            || Eviction::ALL.iter().map(|reason| reason.as_str()).collect(),
            |now| now.totals.evictions.to_vec(),
        );
            "Connections ended to protect the others, by the limit that was reached"
            "When it goes on growing: clients cannot keep up with what is published to them. `outbox_total_bytes` says that memory for all of them is short. Those that begin with `client_` are clients that make the gateway keep much, `message_timeout` those that do not finish a message: an attack, or a bound that is too low for your pages."
        observed violations = Read::Counter(|now| now.totals.violations);
            "Connections that broke the websocket protocol or a size limit"
            "When it grows steadily: a client has a bug, or something between it and here has."
        observed idle_timeouts = Read::Counter(|now| now.totals.idle_timeouts);
            "Connections closed because their client said nothing for too long"
            "When it follows `admitted`: the pages send no `ping`."
        observed no_pongs = Read::Counter(|now| now.totals.no_pongs);
            "Connections closed because their client did not answer a control ping"
            "Not by itself: phones and laptops go to sleep. When it jumps, a network between here and many clients went away."
    }

    "Visitors", "From the handshake to the API's answer." {
        observed backend_calls_in_flight = Read::Gauge(|now| now.node.guard().in_flight as u64);
            "Bootstrap calls under way"
            "When it stays at `backend.max_in_flight`: the API is as busy as it may be, and visitors wait."
        observed backend_waiting = Read::Gauge(|now| now.node.guard().waiting as u64);
            "Bootstrap calls that wait in line for their turn"
            "When it does not fall again: more visitors come than the API can serve."
        observed backend_shared = Read::Counter(|now| now.node.guard().shared);
            "Visitors who shared the bootstrap call of another with the very same credentials"
            "Not by itself: calls that the API was spared."
        observed backend_circuit_open = Read::Gauge(|now| u64::from(now.node.guard().circuit_open));
            "1 while the backend circuit breaker is open: the API did not answer the gateway either"
            "When it is 1 for longer than a restart of the API takes: nobody new gets in."
        observed backend_circuit_opened = Read::Counter(|now| now.node.guard().circuit_opened);
            "Times that the backend circuit breaker opened"
            "When it grows by more than the API's restarts."
        counted handshake_errors by "reason" ["handshake" "head" "forward" "forward-bytes" "token" "authenticate" "origin" "proxy-protocol" "handshakes" "handshake-bytes"
            "handshakes-per-address" "connections" "connections-per-address" "unfinished-per-address" "connections-per-user" "handshakes-per-second" "handshake-timeout" "memory" "leaving"];
            "Visitors refused by the gateway itself"
            "`memory`, `handshakes`, `connections` and those `per-address`, `per-user` and `per-second` are limits that are reached: visitors are sent away. `handshake-timeout` is a backend that lets visitors wait too long. `origin` are pages of other sites; many at once may be your own behind a proxy that changes `Host`: the log names them. `proxy-protocol` is a balancer that does not speak it. `handshake-bytes` are long request heads and first frames while all of them hold a quarter of `limits.client_total_bytes`. `forward-bytes` are visitors whose cookies are longer than `backend.forward_bytes_max`. `leaving` are those who were on their way in when the node left. The others are clients that do not speak the protocol."
        counted bootstraps by "outcome" [
            "admitted" "status" "allowed-rooms" "connect" "tls" "closed" "timeout" "busy" "line-full"
            "circuit-open" "server-error" "redirect" "protocol" "content-type" "encoding" "too-large" "truncated" "not-utf-8"
            "not-json" "not-object"
        ];
            "What became of visitors at the backend"
            "Every outcome but `admitted` and `status` is the backend's fault or the configuration's. After `busy`, `line-full` and `circuit-open` it was not even asked. `server-error` is a status that is not about the visitor (5xx, 429), as while the API is deployed: clients reconnect. `status` is any other answer but 200, and `redirect` is usually a login page: many at once are a login that has ended."
        counted accept_waits by "listener" ["public" "internal"];
            "Times that a new connection had to wait because every place for one was taken"
            "When it grows: `public` are connections that are not websockets yet, see `limits.handshakes`; `internal` are publishers and probes, of which 1,024 are served at once. The log says what to do."
        counted accept_errors;
            "Times that no connection could be accepted"
            "When it grows at all: the process most likely has no file descriptor left."
    }

    "Messages of clients", "What clients ask." {
        observed messages = Read::Counter(|now| now.totals.messages);
            "Messages of clients, valid or not"
            "When it outgrows the connections: one `ping` each half minute is usual."
        observed client_errors = Read::CounterBy(
            "code",
            || ErrorCode::ALL.iter().map(|code| code.as_str()).collect(),
            |now| now.totals.errors.to_vec(),
        );
            "Error replies to clients"
            "`room-not-found` at every page load is a permission that pages count on and the API does not grant; the others are bugs of clients."
    }

    "Deliveries", "From a publication to the sockets." {
        observed publications = Read::Counter(|now| now.totals.publications);
            "Publications matched, per shard"
            "Not by itself: the shards' work, beside `triggers`."
        observed deliveries = Read::Counter(|now| now.totals.deliveries);
            "Publish frames handed to the system"
            "When it stands still while `triggers` grows and pages are open."
        observed shard_turn_seconds_max = Read::SecondsByShard(|now| now.node.longest_turns());
            "Longest turn of a shard in the last one to two minutes, in seconds: in a turn a shard serves all of its connections once, within a budget of work"
            "When it is above 0.02 on a machine that is not overloaded: deliveries and pings of that shard wait as long. A machine without idle time makes turns longer, too; `compression.level` and `limits.message_bytes` above their defaults as well."
        observed undelivered = Read::Counter(|now| now.totals.undelivered);
            "Publish frames that were lost with their connection"
            "When it grows faster than connections end: see `evictions`."
        observed queued_frames = Read::Gauge(|now| now.totals.queued);
            "Publish frames that wait for slow clients"
            "When it goes on growing: many clients are slow at once, or the network is."
        observed outbox_bytes = Read::Gauge(|now| now.node.outboxes.bytes() as u64);
            "Memory that holds what waits for slow clients, in bytes; a large publication that many wait for counts once"
            "When it nears `limits.outbox_total_bytes`: those who stand still for longest are about to be evicted."
        observed deflated_publications = Read::Counter(|now| now.totals.deflated);
            "Publications that were compressed, each once"
            "Not by itself: what compression costs, beside the bytes below."
        observed deflate_input_bytes = Read::Counter(|now| now.totals.deflate_bytes_in);
            "Bytes of the publications that were compressed, before"
            "Not by itself."
        observed deflate_output_bytes = Read::Counter(|now| now.totals.deflate_bytes_out);
            "The same bytes after; what did not become smaller counts as it was"
            "When it is near the input: the data does not compress, switch `compression.enabled` off."
    }

    "Triggers", "From the API to the order of publications." {
        observed trigger_bytes_in_flight = Read::Gauge(|now| now.node.triggers_in_flight.bytes());
            "Bytes of the bodies of `/trigger/` that are being read, parsed or placed"
            "When it stays near `limits.triggers_in_flight`: shards or broker are slower than the API."
        observed inbox_queued = Read::GaugeByShard(|now| now.node.by_inbox(inbox::Sender::len));
            "Inputs, most of them requests or messages with publications, that wait for each thread"
            "When it stays near `limits.inbox`: publishers wait for this thread (back-pressure)."
        observed inbox_bytes = Read::GaugeByShard(|now| now.node.by_inbox(inbox::Sender::bytes));
            "Bytes of publications that wait for each thread"
            "When it grows steadily: the thread is behind. At its part of `limits.inbox_bytes` it drops them: see `publications_missed`."
        counted triggers;
            "Triggers that got a place in the order, repetitions included"
            "When it stands still while the API publishes."
        counted trigger_duplicates;
            "Triggers whose id was seen before: accepted, not delivered again"
            "When it grows steadily: the API does not hear the answers, see `internal_errors`."
        counted back_pressure;
            "Waits of publishers for a thread whose inbox was full"
            "When it grows steadily: more is published than that thread can deliver. Give the node more cores, raise `threads`, or publish less."
        counted publications_missed;
            "Publications that a thread dropped because it was too far behind; counted for each thread"
            "When it grows at all: the clients of that thread were closed with 1012 `gap` to fetch again. A warning names the thread."
        counted trigger_overloads;
            "Requests to `/trigger/` refused because `limits.triggers_in_flight` was reached"
            "When it grows at all: what is refused is lost if the API does not send it again."
        counted internal_connections_refused;
            "Connections to the internal listener that were closed because their address has three quarters of all"
            "When it grows at all: a program opens connections and does not reuse them."
        counted internal_errors by "status" ["400" "401" "403" "404" "405" "408" "413" "415" "421" "503" "504" "other"];
            "Requests to the internal listener that were refused"
            "`401`, `403` and `421` are somebody who should not be there, a wrong key, or a name that `internal.hosts` does not have. `503` and `504` are triggers that were not published, or not for sure."
        counted api_key_uses by "position" ["1" "2" "3" "4" "5" "6" "7" "8"];
            "Requests to the internal listener that carried a key of `internal.api_key`, by the position of the key in the list"
            "Not by itself. While a key is being replaced: the old key can be removed once the counter of its position stands still."
    }

    "Readiness", "Whether triggers reach the shards: the node sends itself a probe every `readiness.probe_interval`." {
        observed ready = Read::Gauge(|now| u64::from(readiness::reasons(now.node).is_empty()));
            "1 while the node may get traffic, as `/ready` says"
            "When it is 0 and nobody restarts the node or the broker: `/ready` has the reason."
        observed probe_lag_seconds = Read::Seconds(|now| now.node.delivery.lag());
            "Seconds that the last probe took which came through"
            "When it is far above its usual value: triggers take as long. Near `readiness.probe_timeout` the node turns not ready."
        observed probe_seconds = Read::Histogram(|now| now.node.delivery.lags());
            "Seconds that probes took which came through"
            "When its upper buckets fill: what triggers wait for the broker and the shards."
        counted probe_failures by "reason" ["broker" "late" "shard"];
            "Probes that did not come through within `readiness.probe_timeout`"
            "When it grows at all. `broker`: it is away or takes nothing; `late`: the probe did not come back; `shard`: a thread is stuck or overloaded. Where the others took the probe the node stays ready, and `/ready` notes which did not."
    }

    "Gaps", "Publications that may not have reached this node or a part of it." {
        observed gaps = Read::CounterBy(
            "reason",
            || GapReason::all().map(GapReason::as_str).collect(),
            |now| now.node.gaps.counts(),
        );
            "Times that publications may have been missed, by cause"
            "When it grows at all: clients miss what others saw until they have reconnected. The warning `gap: this node may have missed publications` names cause and remedy."
        observed gap_closes = Read::Counter(|now| now.node.gaps.closed());
            "Connections closed with 1012 `gap` so that their clients fetch again"
            "When it grows without an outage of the broker: see `gaps`."
    }

    "Broker", "Only on a node with a broker." {
        observed broker_up = Read::BrokerGauge(|broker| u64::from(broker.health() == Health::Ready));
            "1 while triggers can come in from the broker"
            "When it is 0 for longer than a restart of the broker takes."
        observed broker_messages = Read::BrokerCounter(|broker| broker.counts().received);
            "Messages from the broker"
            "When it stands still while others publish."
        observed broker_rejected = Read::BrokerCounter(|broker| broker.counts().rejected);
            "Messages from the broker that were no trigger"
            "When it grows at all: a publisher sends something else, and nobody hears it."
        observed broker_failures = Read::BrokerCounter(|broker| broker.counts().failures);
            "Times that the broker was lost or could not be reached"
            "When it grows by more than the broker's restarts."
    }

    "Memory", "Whether the process has enough of it." {
        observed memory_bytes = Read::Gauge(|now| now.node.memory.resident());
            "Resident memory of the process"
            "When it nears `limits.memory_bytes`, or grows and `connections` does not."
        observed memory_allocated_bytes = Read::Gauge(|now| now.node.memory.allocated());
            "Memory that the process has allocated, in bytes, without what the allocator keeps of what was freed"
            "When it grows and neither `connections` nor `subscriptions` do. With a quarter for the allocator it is what `limits.memory_bytes` is compared with, where resident memory is more."
        observed memory_short = Read::Gauge(|now| u64::from(now.node.memory.is_short()));
            "1 while visitors and triggers are turned away because memory is short"
            "When it is 1: see `outbox_bytes`, `connections` and `subscriptions` for what takes it."
        observed client_bytes = Read::GaugeBy(
            "kind",
            || Kind::ALL.iter().map(|kind| kind.as_str()).collect(),
            |now| Kind::ALL.iter().map(|&kind| now.node.accounts.bytes(kind) as u64).collect(),
        );
            "Memory that clients hold beside outboxes, in bytes, by what it is kept for"
            "When the sum nears `limits.client_total_bytes`: the connections that hold most are about to be evicted, see `evictions`."
        counted triggers_shed;
            "Requests to `/trigger/` that were turned away because memory was short"
            "When it grows at all: what they held was not published by this node."
    }

    "Process", "What Prometheus' own client libraries report of every program, by the same names." {
        observed build_info = Read::Build;
            "Version, commit and compiler that this program was built from, as labels of the constant 1"
            "Not by itself: whether all nodes run the same version, and what a change of other metrics came with."
        observed process_cpu_seconds = Read::ProcessCounter(|process| process.cpu_seconds);
            "Total user and system CPU time spent in seconds"
            "When its rate nears the number of cores that the node may use: deliveries wait for the processor."
        observed process_resident_memory_bytes = Read::ProcessGauge(|process| process.resident_bytes);
            "Resident memory size in bytes"
            "See `memory_bytes`, which is the same number a moment earlier."
        observed process_virtual_memory_bytes = Read::ProcessGauge(|process| process.virtual_bytes);
            "Virtual memory size in bytes"
            "Not by itself: the allocator reserves much more than it uses."
        observed process_open_fds = Read::ProcessGauge(|process| process.open_fds);
            "Number of open file descriptors"
            "When it nears `process_max_fds`: new connections wait. Each connection takes one."
        observed process_max_fds = Read::ProcessGauge(|process| process.max_fds);
            "Maximum number of open file descriptors"
            "When it is below `limits.connections`: raise the hard limit (`LimitNOFILE`)."
        observed process_start_time_seconds = Read::ProcessGauge(|process| process.start_seconds);
            "Start time of the process since unix epoch in seconds"
            "When it changes and nobody deployed: the process was restarted, and all of its clients reconnected."
        observed process_threads = Read::ProcessGauge(|process| process.threads);
            "Number of OS threads in the process"
            "When it grows steadily."
    }

    "Hooks", "Telling the API who came and went." {
        counted hooks;
            "Hooks that were called"
            "When it stands still while connections come and go."
        counted hook_errors by "reason" [
            "connect" "tls" "closed" "timeout" "busy" "redirect" "protocol" "content-type" "encoding" "too-large"
            "truncated" "not-utf-8" "not-json" "not-object"
        ];
            "Hooks that got no answer"
            "When it grows: the API does not know any more who is online."
        counted hooks_dropped;
            "Hooks lost because the queue was full"
            "When it grows at all: `hooks.queue` is full, the API is too slow for `hooks.max_in_flight`."
    }

    "Log", "What the process says." {
        observed log_lines_dropped = Read::Counter(|_| LOG_LINES_DROPPED.load(Ordering::Relaxed));
            "Lines of the log that were lost"
            "When it grows at all: whoever reads the log is too slow, or its disk is full."
    }
}
