//! `high-templar serve`: the life cycle of the gateway's process.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ht_backend::{Backend, ForwardRules, Guard};
use ht_node::live::{Live, LiveSettings};
use ht_node::{Gateway, InheritedSockets};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::{Done, Exit, broker};
use crate::config::{Config, Sources};
use crate::logging::LogLevel;
use crate::process::{Request, Signals};
use crate::reload::Reloader;
use crate::tenants::Keeper;
use crate::{logging, process, systemd, tenants};

/// Maximum threads of the control side: the API, the broker, triggers. More cost a small machine
/// more in hand-overs than they bring.
const CONTROL_THREADS_MAX: usize = 2;

/// Time limit of blocking work at the end of the process.
const GRACE: Duration = Duration::from_secs(1);

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file [default: high-templar.toml if it exists, or HT_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Done {
    // Before any thread is started.
    let sockets = systemd::sockets()?;
    let sources = Sources::of_process(args.config);
    let config = sources.load()?;
    let log = logging::start(config.log)?;
    process::log_panics();
    info!(version = env!("CARGO_PKG_VERSION"), "starting high-templar");
    for note in &config.notes {
        info!("{note}");
    }
    process::raise_open_files(config.server.limits.connections);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            config
                .server
                .threads
                .div_ceil(2)
                .clamp(1, CONTROL_THREADS_MAX),
        )
        .thread_name("ht-control")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let done = runtime.block_on(life(sources, config, sockets, log.level()));
    runtime.shutdown_timeout(GRACE);
    done
}

/// Starts, serves until a signal, and shuts down gracefully.
async fn life(
    sources: Sources,
    config: Config,
    sockets: InheritedSockets,
    level: LogLevel,
) -> Done {
    let mut reloader = Reloader::new(sources, config.clone(), level);
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let rules = ForwardRules::of(&config.backend);
    let engine = config.engine();
    let mut keeper = Keeper::new(&config.tenancy)?;
    let mut config = config;
    config.server.tenants.list = keeper.first(&config.survey).await?;
    if config.server.tenants.is_enabled {
        tenants::announce(&config);
    }
    // Where there are tenants, there need be no API of the gateway itself.
    let backend: Option<Arc<dyn Backend>> = match config.backend.url.is_empty() {
        true => None,
        false => Some(Arc::new(Guard::http(config.backend)?)),
    };
    let websocket_path = config.server.public.websocket_path.clone();
    let live = Live::new(LiveSettings::new(&config.server, rules));
    let reading = broker::reading(&config.server);
    config.server.tenants.logs.open = Some(broker::opener(reading, live.clone()));
    let broker = broker::make(engine, reading, live.clone())?;
    let gateway = tokio::select! {
        gateway = Gateway::start(config.server, backend, live, broker, sockets) => gateway?,
        signal = signals.shutdown() => {
            info!("{signal} during startup: shutting down");
            return Ok(Exit::Success);
        }
    };
    info!(
        "browsers connect to {} at {websocket_path}",
        gateway.public()
    );
    info!("triggers, metrics and health are on {}", gateway.internal());

    keeper.serve(&gateway);
    let status = format!("browsers connect to {}", gateway.public());
    systemd::ready(&status).await;
    tokio::spawn(systemd::watchdog(gateway.heartbeat()));

    let signal = loop {
        let request = tokio::select! {
            request = signals.next() => request,
            turn = keeper.next() => {
                tokio::select! {
                    () = keeper.take(turn, &gateway) => continue,
                    signal = signals.shutdown() => break signal,
                }
            }
        };
        match request {
            Request::Shutdown(signal) => break signal,
            Request::Reload => {
                systemd::reloading().await;
                tokio::select! {
                    () = reloader.reload(&gateway, &mut keeper) => systemd::ready(&status).await,
                    signal = signals.shutdown() => break signal,
                }
            }
        }
    };
    info!("{signal}: shutting down gracefully");
    systemd::stopping("shutting down gracefully").await;
    drain(gateway, &mut signals).await;
    Ok(Exit::Success)
}

/// Drains the gateway. A second signal closes all connections at once, a third ends the process.
async fn drain(gateway: Gateway, signals: &mut Signals) {
    let close_all = CancellationToken::new();
    let mut drained = pin!(gateway.drain(close_all.clone()));
    loop {
        tokio::select! {
            () = &mut drained => return,
            signal = signals.shutdown() => {
                if close_all.is_cancelled() {
                    warn!("third signal ({signal}): exiting immediately");
                    return;
                }
                warn!("second signal ({signal}): closing all connections now");
                close_all.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ht_node::config::DrainConfig;

    use super::*;

    /// Time that `docker stop` waits before it kills.
    const DOCKER: Duration = Duration::from_secs(10);

    #[test]
    fn supervisors_wait_longer_than_a_shutdown_takes() {
        let DrainConfig { delay, timeout, .. } = DrainConfig::default();
        let longest = delay + timeout + GRACE;
        // One second for a busy machine.
        assert!(longest + Duration::from_secs(1) <= DOCKER, "{longest:?}");
        let unit = include_str!("../../packaging/high-templar.service");
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("TimeoutStopSec="));
        let seconds = line.and_then(|text| text.strip_suffix('s')?.parse().ok());
        let unit = Duration::from_secs(seconds.expect("a time in seconds"));
        assert!(longest < unit, "{longest:?} {unit:?}");
    }
}
