//! `high-templar demo`: the gateway, a little backend and a page, until Ctrl-C.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Done;
use crate::config::Format;
use crate::config::Level;
use crate::config::LogConfig;
use crate::demo;
use crate::logging;
use crate::process;
use crate::process::Signals;

pub(super) fn run(args: &demo::Args) -> Done {
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
        demo::run(args.options(), shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
