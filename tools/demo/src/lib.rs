//! `high-templar demo`: the gateway, a small backend and a web page that shows both JSON sides.
//!
//! The gateway is the real one, and it calls the backend over real HTTP on loopback. The backend
//! (`api`) is what a team writes itself: who may enter, what is saved, a trigger per change.

mod api;
mod gateway;
mod guard;
mod journal;
mod options;
mod page;
mod reply;
mod serve;
mod shop;
mod users;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Context as _;
use ht_node::config::BuildInfo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use options::{Addresses, Args, DemoError, DemoOptions, Taken};

use api::Api;
use gateway::Keeper;
use journal::Journal;

/// A running demo. It goes on until [`Demo::stop`].
pub struct Demo {
    addresses: Addresses,
    keeper: Arc<Keeper>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts everything on the current tokio runtime. The gateway reports `build` in its metrics.
///
/// # Errors
/// When a port is taken or an address is not loopback ([`DemoError`]), or the gateway does not
/// start.
pub async fn start(options: DemoOptions, build: BuildInfo) -> anyhow::Result<Demo> {
    options.check()?;
    let page = TcpListener::bind(options.page).await;
    let page = page.with_context(|| format!("cannot listen on {} (the page)", options.page))?;
    let backend = TcpListener::bind(options.backend).await;
    let backend =
        backend.with_context(|| format!("cannot listen on {} (the backend)", options.backend))?;

    let keeper = Arc::new(Keeper::start(&options, backend.local_addr()?, build).await?);
    let addresses = Addresses {
        page: page.local_addr()?,
        backend: backend.local_addr()?,
        gateway: keeper.public()?,
        internal: keeper.internal()?,
    };

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let internal = format!("http://{}", addresses.internal);
    let (journal, news) = Journal::new();
    let api = Arc::new(Api::new(journal, internal.clone()));
    let site = page::Page {
        api: Arc::clone(&api),
        keeper: Arc::clone(&keeper),
        addresses,
    };
    let publish = journal::publish(news, internal);
    tasks.spawn(stop.clone().run_until_cancelled_owned(publish));
    tasks.spawn(serve::serve(
        backend,
        Arc::new(page::Backend(api)),
        stop.clone(),
    ));
    tasks.spawn(serve::serve(page, Arc::new(site), stop.clone()));
    tasks.close();
    Ok(Demo {
        addresses,
        keeper,
        stop,
        tasks,
    })
}

impl Demo {
    /// Where everything listens, with the ports that were really taken.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Starts the gateway anew on its ports, as the page's button does.
    ///
    /// # Errors
    /// When the gateway does not start; calling this again tries once more.
    pub async fn restart_gateway(&self) -> anyhow::Result<()> {
        self.keeper.restart().await
    }

    /// Shuts the gateway down gracefully, then backend and page.
    pub async fn stop(self) {
        self.keeper.stop().await;
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Runs the demo until `shutdown`, after printing where everything is.
///
/// # Errors
/// As [`start`].
pub async fn run(
    options: DemoOptions,
    build: BuildInfo,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let demo = start(options, build).await?;
    println!("{}", greeting(&demo.addresses()));
    shutdown.await;
    println!("The demo is shutting down.");
    demo.stop().await;
    Ok(())
}

fn greeting(addresses: &Addresses) -> String {
    let Addresses {
        page,
        backend,
        gateway,
        internal,
    } = addresses;
    format!(
        "\nThe high-templar demo is running. Open this page in a browser:\n\
         \n    http://{page}/\n\
         \n  websockets for browsers    ws://{gateway}/ws/\
         \n  triggers from the backend  http://{internal}/trigger/\
         \n  the demo's small backend   http://{backend}/api/\n\
         \nTo publish from another terminal:\n\
         \n  curl http://{internal}/trigger/ \\\
         \n    -d '{{\"rooms\":[{{\"target\":\"chat\",\"room\":\"lobby\"}}],\"data\":\"hello\"}}'\n\
         \nCtrl-C ends everything.\n"
    )
}
