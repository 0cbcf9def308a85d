//! `high-templar tenant`: the tenants of a service, in the folder that `tenants.file` names.
//!
//! A command about one tenant does not depend on what is written about the others, and none of them
//! needs the secrets of the service.

mod add;
mod list;
mod suspend;

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use ht_node::config::TenantName;

use crate::cli::{Done, Exit, check, print};
use crate::config::{Sources, Survey, Surveyed, Tenancy, TenantSource, tenant_schema};
use crate::tenants::folder::Folder;
use crate::tenants::survey_of_registry;

/// What to do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The configuration file [default: high-templar.toml if it exists, or HT_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a tenant, and print its keys once
    Add(add::Args),
    /// List the tenants as they are written, or those of a running gateway
    List(list::Args),
    /// Print what is written about a tenant, as JSON
    Show(Name),
    /// Remove a tenant: its connections are closed, and its clients get 404
    Remove(Name),
    /// Suspend a tenant: its connections are closed, and it is refused
    Suspend(suspend::Args),
    /// Check all tenants, and call the API of each
    Check,
    /// Print the JSON schema of a tenant
    Schema,
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The tenant's name
    name: TenantName,
}

pub(super) fn run(args: Args) -> Done {
    let sources = Sources::of_process(args.config);
    match args.command {
        Command::Schema => {
            print(&format!("{:#}", tenant_schema()))?;
            Ok(Exit::Success)
        }
        Command::Add(args) => {
            let (tenancy, websocket_path) = sources.tenancy()?;
            add::run(&tenancy, &websocket_path, args)
        }
        Command::List(args) => list::run(&sources, args),
        Command::Show(Name { name }) => show(&sources.tenancy()?.0, &name),
        Command::Remove(Name { name }) => remove(&sources.tenancy()?.0, &name),
        Command::Suspend(args) => suspend::run(&sources.tenancy()?.0, args),
        Command::Check => {
            let (tenancy, _) = sources.tenancy()?;
            super::block_on(async {
                let survey = survey(&tenancy).await?;
                Ok(if check::survey(&survey, tenancy.trigger_bytes).await? {
                    Exit::Success
                } else {
                    Exit::Failure
                })
            })
        }
    }
}

/// What is written about tenants, in files or in a registry.
async fn survey(tenancy: &Tenancy) -> anyhow::Result<Survey> {
    match &tenancy.source {
        TenantSource::None => bail!(NOWHERE),
        TenantSource::File { .. } => Ok(tenancy.survey()),
        TenantSource::Http { url, .. } => {
            let found = survey_of_registry(tenancy).await?;
            found.map_err(|cause| anyhow!("registry {url}: {cause}"))
        }
    }
}

const NOWHERE: &str =
    "there are no tenants: set source = \"file\" and file = \"tenants\" under [tenants]";

/// The folder of tenants, which commands change.
fn folder(tenancy: &Tenancy) -> anyhow::Result<Folder> {
    match &tenancy.source {
        TenantSource::File { .. } => {}
        TenantSource::None => bail!(NOWHERE),
        TenantSource::Http { url, .. } => {
            bail!("the tenants are those of the registry at {url}: change them there")
        }
    }
    let Some(path) = tenancy.files() else {
        bail!("name a folder for the files of tenants: file = \"tenants\" under [tenants]");
    };
    let (shown, path) = (path.display(), tenancy.folder.join(path));
    if !path.exists() {
        bail!("there is no folder {shown}, which tenants.file names: make it (mkdir {shown})");
    }
    if !path.is_dir() {
        bail!(
            "{shown} is one file of all tenants: change it by hand, or make it a folder with a file \
             for each tenant"
        );
    }
    Ok(Folder::new(&path))
}

/// That a tenant is not in a file of its own; where it is, and what to do.
fn elsewhere(survey: &Survey, folder: &Folder, name: &TenantName) -> anyhow::Result<()> {
    if folder.has(name) {
        return Ok(());
    }
    let Some(Surveyed { document, .. }) = survey.find(name.as_str()) else {
        bail!("there is no tenant {name}: high-templar tenant list");
    };
    bail!(
        "the tenant {name} is not in a file of its own but in {}: change it there, and reload the \
         settings of running gateways (SIGHUP)",
        document.node.place.shown()
    );
}

/// When a running gateway takes up a change of files, of which this is left.
fn when(tenancy: &Tenancy, left: &Survey) -> String {
    let seconds = match &tenancy.source {
        TenantSource::File { interval, .. } => interval.as_secs().max(1) * 2,
        TenantSource::None | TenantSource::Http { .. } => 0,
    };
    // Those of references are known to the gateway alone.
    let mistakes = left.mistakes.lines();
    let own = left.tenants.iter();
    let mistakes = mistakes.chain(own.flat_map(|it| it.mistakes.lines().collect::<Vec<_>>()));
    let mistakes: Vec<_> = mistakes.map(|it| format!("\n  {it}")).collect();
    if mistakes.is_empty() {
        format!("A running gateway takes it up within {seconds} s, or at a reload at once.")
    } else {
        format!(
            "A running gateway takes it up once these mistakes are corrected:{}",
            mistakes.concat()
        )
    }
}

fn show(tenancy: &Tenancy, name: &TenantName) -> Done {
    super::block_on(async {
        let survey = survey(tenancy).await?;
        let found = survey.find(name.as_str());
        let Some(Surveyed { document, .. }) = found else {
            bail!("there is no tenant {name}: high-templar tenant list");
        };
        if !document.broken.is_empty() {
            let lines: Vec<_> = document.broken.lines().collect();
            bail!("the file of {name} cannot be read: {}", lines.join("; "));
        }
        print(&format!("{:#}", document.to_json()))?;
        Ok(Exit::Success)
    })
}

fn remove(tenancy: &Tenancy, name: &TenantName) -> Done {
    let folder = folder(tenancy)?;
    elsewhere(&tenancy.survey(), &folder, name)?;
    folder.remove(name)?;
    let left = tenancy.survey();
    let when = if left.tenants.is_empty() && left.mistakes.is_empty() {
        // As where a folder is not mounted.
        "It was the last tenant: a running gateway serves it until its settings are reloaded \
         (SIGHUP)."
            .to_owned()
    } else {
        when(tenancy, &left)
    };
    print(&format!("Removed {name}. {when}"))?;
    Ok(Exit::Success)
}
