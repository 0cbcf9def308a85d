//! `high-templar demo`: the gateway, a small backend and a page, until Ctrl-C.

use anyhow::Context as _;
use ht_demo::Args;

use crate::cli::{Done, Exit};
use crate::config::{Format, Level, LogConfig};
use crate::logging;
use crate::process::{self, BUILD, Signals};

pub(super) fn run(args: &Args) -> Done {
    let _log = logging::start(LogConfig {
        level: Level::Warn,
        format: Format::Text,
    })?;
    process::log_panics();
    super::block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let shutdown = async {
            signals.next().await;
        };
        ht_demo::run(args.options(), BUILD, shutdown).await?;
        Ok(Exit::Success)
    })
}
