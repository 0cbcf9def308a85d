//! The services of the control side, which run as long as the node, and their shutdown.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use ht_proto::labels;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

labels! {
    /// One service of a node.
    pub(crate) enum Service {
        /// The listener for browsers.
        Public = "public listener",
        /// Sends probes on the path of triggers.
        Prober = "prober",
        /// Closes connections that may have missed publications.
        GapCloser = "gap closer",
        /// What the backend needs beside its calls.
        Upkeep = "upkeep",
        /// Closes the connections of tenants that are removed or suspended.
        TenantCloser = "tenant closer",
        /// Follows the broker's log.
        Broker = "broker",
        /// Calls the hooks.
        Hooks = "hooks",
        /// Sends beacons to the other nodes.
        Reporter = "reporter",
        /// Queries the API again about clients that are connected.
        Rechecker = "rechecker",
        /// Writes and posts the usage of tenants.
        Usage = "usage",
        /// The listener for the API and operators.
        Internal = "internal listener",
        /// Samples the memory of the process.
        MemoryWatch = "memory watch",
    }
}

impl Service {
    /// The stage of the shutdown in which it ends.
    const fn stage(self) -> ShutdownStage {
        match self {
            Self::Public | Self::Prober | Self::GapCloser | Self::Upkeep | Self::TenantCloser => {
                ShutdownStage::Clients
            }
            Self::Broker | Self::Hooks | Self::Reporter | Self::Rechecker => {
                ShutdownStage::Delivery
            }
            Self::Internal | Self::MemoryWatch | Self::Usage => ShutdownStage::Health,
        }
    }
}

/// The stages of a shutdown, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownStage {
    /// First: no client is accepted any more.
    Clients,
    /// When all connections are closed and all triggers are ordered.
    Delivery,
    /// Last: until then metrics and health are served.
    Health,
}

/// All services of a node. Those that still run are cancelled when it is dropped.
#[derive(Debug)]
pub(crate) struct Services {
    /// The context of what they log.
    span: Span,
    clients: Group,
    delivery: Group,
    health: Group,
}

/// The services of one stage.
#[derive(Debug, Default)]
struct Group {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Services {
    fn default() -> Self {
        Self::within(Span::none())
    }
}

impl Services {
    /// None yet; what they log has this context.
    pub(crate) fn within(span: Span) -> Self {
        Self {
            span,
            clients: Group::default(),
            delivery: Group::default(),
            health: Group::default(),
        }
    }

    /// Cancelled when the services of a stage must end.
    pub(crate) fn shutdown(&self, stage: ShutdownStage) -> CancellationToken {
        self.group(stage).stop.clone()
    }

    /// Runs a service until its stage ends. A panic or an early end is logged at once.
    pub(crate) fn start<F>(&self, service: Service, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Group { stop, tasks } = self.group(service.stage());
        let (running, stop) = (run(stop.clone()), stop.clone());
        let service = service.as_str();
        let supervised = async move {
            match supervise(running, &stop).await {
                End::Asked => {}
                End::Panic => tracing::error!(service, "a task panicked"),
                End::Early => tracing::error!(
                    service,
                    "a task ended although the node is running: restart this node, and report it"
                ),
            }
        };
        tasks.spawn(supervised.instrument(self.span.clone()));
    }

    /// Cancels the services of a stage, and waits for them.
    pub(crate) async fn end(&self, stage: ShutdownStage) {
        let Group { stop, tasks } = self.group(stage);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    fn group(&self, stage: ShutdownStage) -> &Group {
        match stage {
            ShutdownStage::Clients => &self.clients,
            ShutdownStage::Delivery => &self.delivery,
            ShutdownStage::Health => &self.health,
        }
    }
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// When it was cancelled.
    Asked,
    /// By a panic, whose cause and location the process has logged.
    Panic,
    /// Without being cancelled.
    Early,
}

/// Runs a service to its end.
async fn supervise(service: impl Future<Output = ()>, stop: &CancellationToken) -> End {
    let ended = AssertUnwindSafe(service).catch_unwind().await;
    match ended {
        Err(_) => End::Panic,
        Ok(()) if stop.is_cancelled() => End::Asked,
        Ok(()) => End::Early,
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for group in [&self.clients, &self.delivery, &self.health] {
            group.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn services_end_stage_by_stage() {
        let (services, ended) = (Services::default(), Arc::new(Mutex::new(Vec::new())));
        for service in Service::ALL {
            let ended = Arc::clone(&ended);
            services.start(service, |stop| async move {
                stop.cancelled().await;
                ended.lock().unwrap().push(service.stage());
            });
        }
        let order = [
            ShutdownStage::Clients,
            ShutdownStage::Delivery,
            ShutdownStage::Health,
        ];
        for stage in order {
            services.end(stage).await;
            let ended = std::mem::take(&mut *ended.lock().unwrap());
            assert!(!ended.is_empty(), "{stage:?}");
            assert!(ended.iter().all(|it| *it == stage), "{stage:?}: {ended:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_and_an_early_end_are_noticed() {
        let stop = CancellationToken::new();
        let panics = async { panic!("a bug") };
        assert_eq!(supervise(panics, &stop).await, End::Panic);
        assert_eq!(supervise(async {}, &stop).await, End::Early);
        stop.cancel();
        assert_eq!(supervise(stop.cancelled(), &stop).await, End::Asked);
    }

    #[tokio::test]
    async fn a_service_that_panics_does_not_keep_its_stage_from_ending() {
        let services = Services::default();
        services.start(Service::Prober, |_| async { panic!("a bug") });
        services.end(ShutdownStage::Clients).await;
    }

    #[tokio::test]
    async fn services_end_with_their_owner() {
        let services = Services::default();
        let shutdowns = [
            ShutdownStage::Clients,
            ShutdownStage::Delivery,
            ShutdownStage::Health,
        ]
        .map(|stage| services.shutdown(stage));
        drop(services);
        for shutdown in shutdowns {
            shutdown.cancelled().await;
        }
    }
}
