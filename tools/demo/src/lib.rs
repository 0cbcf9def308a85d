//! `high-templar demo`: the gateway, a small backend and a web page that shows both JSON sides.
//!
//! It runs the real gateway, which calls the backend over HTTP on loopback. The backend (`api`) is what
//! a team writes itself: authentication, grants, storage, and a trigger for each change.

mod api;
mod cross_site;
mod gateway;
mod journal;
mod options;
mod page;
mod reply;
mod serve;
mod shop;
mod users;

#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use ht_node::config::BuildInfo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use options::{Addresses, Args, DemoError, DemoOptions, Taken};

use api::Api;
use gateway::Supervisor;
use journal::Journal;

/// A running demo, until [`Demo::stop`].
pub struct Demo {
    addresses: Addresses,
    supervisor: Arc<Supervisor>,
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

    let supervisor = Arc::new(Supervisor::start(&options, backend.local_addr()?, build).await?);
    let addresses = Addresses {
        page: page.local_addr()?,
        backend: backend.local_addr()?,
        gateway: supervisor.public()?,
        internal: supervisor.internal()?,
    };

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let internal = format!("http://{}", addresses.internal);
    let (journal, entries) = Journal::new();
    let api = Arc::new(Api::new(journal, internal.clone()));
    let page_handler = page::Page {
        api: Arc::clone(&api),
        supervisor: Arc::clone(&supervisor),
        addresses,
    };
    let publish = journal::publish(entries, internal);
    tasks.spawn(stop.clone().run_until_cancelled_owned(publish));
    tasks.spawn(serve::serve(
        backend,
        Arc::new(page::Backend(api)),
        stop.clone(),
    ));
    tasks.spawn(serve::serve(page, Arc::new(page_handler), stop.clone()));
    tasks.close();
    Ok(Demo {
        addresses,
        supervisor,
        stop,
        tasks,
    })
}

impl Demo {
    /// The addresses of all listeners, with their actual ports.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Restarts the gateway on its ports, as the page's button does.
    ///
    /// # Errors
    /// When the gateway does not start. It can be called again.
    pub async fn restart_gateway(&self) -> anyhow::Result<()> {
        self.supervisor.restart().await
    }

    /// Shuts the gateway down gracefully, then backend and page.
    pub async fn stop(self) {
        self.supervisor.stop().await;
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Prints the addresses and runs the demo until `shutdown`.
///
/// # Errors
/// As [`start`].
pub async fn run(
    options: DemoOptions,
    build: BuildInfo,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let demo = start(options, build).await?;
    print(&greeting(&demo.addresses()));
    shutdown.await;
    print("The demo is shutting down.");
    demo.stop().await;
    Ok(())
}

/// Prints a line. Whoever reads it may have gone; the demo does not depend on that.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
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
         \nCtrl-C ends the demo.\n"
    )
}
