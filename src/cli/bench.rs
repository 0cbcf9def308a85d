//! `high-templar bench`: load-tests a running gateway with clients and triggers, to size a machine.

mod clients;
mod publisher;
mod received;
mod report;
mod run;

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use serde_json::value::RawValue;
use tokio::task::LocalSet;

use crate::cli::bench::received::DATA_BYTES_MIN;
use crate::cli::bench::report::Report;
use crate::cli::client::{ClientArgs, Dial};
use crate::cli::key::KeyArgs;
use crate::cli::{Done, Exit, print};

/// Maximum connections of one process: it has no more ports to the same address, and no more file
/// descriptors.
const CONNECTIONS_MAX: i64 = 19_000;

/// Maximum deliveries a second: more than one machine can handle.
const DELIVERIES_MAX: u64 = 1_000_000;

/// Open files other than connections.
const OTHER_FILES: u64 = 100;

/// The gateway, and the load.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The room to subscribe to and to publish to, a JSON object
    #[arg(long, value_name = "JSON", value_parser = super::room)]
    room: Box<RawValue>,
    /// Connections, each with one subscription
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// Triggers a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// How long to publish
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Bytes of data in each trigger
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(DATA_BYTES_MIN as i64..=1 << 20))]
    data_bytes: u32,
    #[command(flatten)]
    client: ClientArgs,
    /// URL of the gateway's internal listener, or unix: followed by the path of its socket
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8002")]
    trigger: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Process id of the gateway, if it runs on this machine: reports its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let dial = Dial::new(&args.client)?;
    check(args, &dial)?;
    raise_open_files(args.connections)?;
    eprintln!(
        "this publishes {} triggers to a real room: all subscribers of {} at {} receive them",
        args.triggers() + 1,
        args.room.get(),
        args.trigger,
    );
    let clients = LocalSet::new();
    super::block_on(clients.run_until(async {
        tokio::select! {
            report = run::run(args, &dial) => print_report(&report?, args.json),
            _ = tokio::signal::ctrl_c() => bail!("interrupted: nothing was measured"),
        }
    }))
}

impl Args {
    /// Number of triggers that are measured.
    fn triggers(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }
}

fn check(args: &Args, dial: &Dial) -> anyhow::Result<()> {
    let deliveries = u64::from(args.rate) * u64::from(args.connections);
    if deliveries > DELIVERIES_MAX {
        bail!(
            "--connections times --rate is {deliveries} deliveries a second; the \
             maximum is {DELIVERIES_MAX}"
        );
    }
    let host = dial.host().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if args.pid.is_some() && !is_local {
        bail!("--pid: the gateway at {host} is not on this machine");
    }
    Ok(())
}

fn raise_open_files(connections: u32) -> anyhow::Result<()> {
    let wanted = u64::from(connections) + OTHER_FILES;
    let files = rlimit::increase_nofile_limit(wanted).context("cannot raise the open files")?;
    if files < wanted {
        bail!(
            "this process may open {files} files, too few for {connections} connections: raise \
             the hard limit (ulimit -Hn) or use fewer"
        );
    }
    Ok(())
}

fn print_report(report: &Report, json: bool) -> Done {
    if json {
        print(&serde_json::to_string(report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(if report.is_clean() {
        Exit::Success
    } else {
        Exit::Failure
    })
}
