//! `high-templar tenant suspend`: one line of a tenant's file.

use std::process::ExitCode;

use anyhow::anyhow;
use ht_node::config::TenantName;

use super::{folder, when};
use crate::cli::{Done, print};
use crate::config::Config;

/// Which tenant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tenant's name
    name: TenantName,
    /// Serve it again
    #[arg(long)]
    end: bool,
}

pub(super) fn run(config: &Config, args: Args) -> Done {
    let folder = folder(config)?;
    let Args { name, end } = args;
    let found = config
        .server
        .tenants
        .list
        .iter()
        .find(|tenant| tenant.name == name);
    let tenant = found.ok_or_else(|| anyhow!("there is no tenant {name}"))?;
    let state = if end { "served" } else { "suspended" };
    if tenant.is_suspended != end {
        print(&format!("{name} is {state} already."))?;
        return Ok(ExitCode::SUCCESS);
    }
    folder.set_suspended(&name, !end)?;
    print(&format!("{name} is {state}. {}", when(config)))?;
    Ok(ExitCode::SUCCESS)
}
