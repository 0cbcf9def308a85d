//! `high-templar tenant suspend`: one line of a tenant's file.

use ht_node::config::TenantName;

use super::{elsewhere, folder, when};
use crate::cli::{Done, Exit, print};
use crate::config::Tenancy;

/// Which tenant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tenant's name
    name: TenantName,
    /// Serve it again
    #[arg(long)]
    end: bool,
}

pub(super) fn run(tenancy: &Tenancy, args: Args) -> Done {
    let folder = folder(tenancy)?;
    let Args { name, end } = args;
    let survey = tenancy.survey();
    elsewhere(&survey, &folder, &name)?;
    let written = survey.find(name.as_str());
    let written = written.filter(|it| it.document.broken.is_empty());
    let is_suspended = written.map(|it| it.document.to_json()["suspended"] == true);
    let state = if end { "served" } else { "suspended" };
    if is_suspended == Some(!end) {
        print(&format!("{name} is {state} already."))?;
        return Ok(Exit::Success);
    }
    folder.set_suspended(&name, !end)?;
    let when = when(tenancy, &tenancy.survey());
    print(&format!("{name} is {state}. {when}"))?;
    Ok(Exit::Success)
}
