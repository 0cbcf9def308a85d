//! What runs on the control side for as long as a node does, and how it ends.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When a service ends in a shutdown; in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// First: nobody is let in any more.
    Clients,
    /// When all connections are closed and all triggers are placed.
    Delivery,
    /// Last: until then it is reported how the node is.
    Health,
}

/// All services of a node. Those that still run are told to end when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Services {
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

impl Services {
    /// Cancelled when the services of a stage are to end.
    pub(crate) fn shutdown(&self, stage: Stage) -> CancellationToken {
        self.group(stage).stop.clone()
    }

    /// Runs a service until its stage ends. That it panics, or ends before, is logged at once.
    pub(crate) fn start<F>(
        &self,
        stage: Stage,
        name: &'static str,
        service: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Group { stop, tasks } = self.group(stage);
        let (running, stop) = (service(stop.clone()), stop.clone());
        tasks.spawn(async move {
            match supervise(running, &stop).await {
                End::Asked => {}
                End::Panic => tracing::error!(service = name, "a task panicked"),
                End::Early => tracing::error!(
                    service = name,
                    "a task ended although the node is running: restart this node, and report it"
                ),
            }
        });
    }

    /// Has the services of a stage end, and waits for them.
    pub(crate) async fn end(&self, stage: Stage) {
        let Group { stop, tasks } = self.group(stage);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    fn group(&self, stage: Stage) -> &Group {
        match stage {
            Stage::Clients => &self.clients,
            Stage::Delivery => &self.delivery,
            Stage::Health => &self.health,
        }
    }
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As it was told to.
    Asked,
    /// By a panic, whose cause and place the log has from the process.
    Panic,
    /// Although it was not told to.
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
        for stage in [Stage::Health, Stage::Clients, Stage::Delivery] {
            let ended = Arc::clone(&ended);
            services.start(stage, "a test", |stop| async move {
                stop.cancelled().await;
                ended.lock().unwrap().push(stage);
            });
        }
        let order = [Stage::Clients, Stage::Delivery, Stage::Health];
        for (count, stage) in (1..).zip(order) {
            services.end(stage).await;
            assert_eq!(*ended.lock().unwrap(), order[..count]);
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
        services.start(Stage::Clients, "a test", |_| async { panic!("a bug") });
        services.end(Stage::Clients).await;
    }

    #[tokio::test]
    async fn services_end_with_their_owner() {
        let services = Services::default();
        let shutdowns =
            [Stage::Clients, Stage::Delivery, Stage::Health].map(|stage| services.shutdown(stage));
        drop(services);
        for shutdown in shutdowns {
            shutdown.cancelled().await;
        }
    }
}
