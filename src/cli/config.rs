//! `high-templar config`: the settings as documents, and the metrics.

use crate::cli::{Done, Exit, print};
use crate::config;

/// What to print.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Args {
    /// A commented high-templar.toml with every setting at its default
    #[arg(long)]
    toml: bool,
    /// The reference of every setting
    #[arg(long)]
    markdown: bool,
    /// The reference of every metric
    #[arg(long)]
    metrics: bool,
    /// Alert rules for Prometheus
    #[arg(long)]
    alerts: bool,
    /// A dashboard for Grafana, to be imported
    #[arg(long)]
    dashboard: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let text = if args.markdown {
        config::markdown()
    } else if args.metrics {
        ht_node::metrics::markdown()
    } else if args.alerts {
        ht_node::metrics::alerts()
    } else if args.dashboard {
        ht_node::metrics::dashboard()
    } else {
        debug_assert!(args.toml, "one of them is required");
        config::toml()
    };
    print(text.trim_end_matches('\n'))?;
    Ok(Exit::Success)
}
