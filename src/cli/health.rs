//! `high-templar health`: whether the gateway of this configuration is alive or ready, for container
//! engines and scripts that have no HTTP client.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use ht_node::identity;
use http::StatusCode;

use crate::cli::inquiry::get;
use crate::cli::{Done, Exit, print};
use crate::config::Sources;

/// The longest part of a response that is printed, in bytes.
const SHOWN_BYTES: usize = 1_000;

/// What to ask.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file [default: high-templar.toml if it exists, or HT_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask whether it is ready for clients and triggers (/ready), not only alive (/live)
    #[arg(long)]
    ready: bool,
    /// Time limit of the response, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) fn run(args: Args) -> Done {
    let config = Sources::of_process(args.config)
        .load()
        // Container engines know 0 and 1 alone.
        .map_err(|mistakes| anyhow!("{mistakes}"))?;
    let listen = config.server.internal.listen;
    let path = if args.ready { "/ready" } else { "/live" };
    let limit = Duration::from_secs(args.timeout);
    super::block_on(async {
        let reply = match tokio::time::timeout(limit, get(&listen, path)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(cause)) => bail!("no gateway answers at internal.listen ({listen}): {cause}"),
            Err(_) => bail!("the gateway at {listen} did not answer within {limit:?}"),
        };
        if !args.ready && identity::read(&reply.headers).is_none() {
            bail!("what answers at internal.listen ({listen}) is no high-templar");
        }
        let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(SHOWN_BYTES)]);
        print(text.trim())?;
        Ok(match reply.status {
            StatusCode::OK => Exit::Success,
            _ => Exit::Failure,
        })
    })
}
