//! `high-templar tenant`: the tenants of a service, in the folder that `tenants.file` names.

mod add;
mod suspend;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use ht_node::config::{TenantConfig, TenantName};

use crate::cli::{Done, check, print};
use crate::config::{Config, Mistakes, Sources, TenantSource, tenant_schema};
use crate::tenants::folder::Folder;

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
    /// List the tenants
    List,
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
            Ok(ExitCode::SUCCESS)
        }
        Command::Add(args) => add::run(&sources.load()?, args),
        Command::List => list(&sources.load()?),
        Command::Show(Name { name }) => show(&sources.load()?, &name),
        Command::Remove(Name { name }) => {
            folder(&sources.load()?)?.remove(&name)?;
            let config = sources.load()?;
            let when = if config.server.tenants.list.is_empty() {
                // As where a folder is not mounted.
                "It was the last tenant: a running gateway serves it until its settings are reloaded \
                 (SIGHUP)."
                    .to_owned()
            } else {
                when(&config)
            };
            print(&format!("Removed {name}. {when}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Suspend(args) => suspend::run(&sources.load()?, args),
        Command::Check => {
            let config = sources.load()?;
            of_files(&config)?;
            super::block_on(async {
                let all_work = check::tenants(&config.server.tenants.list).await?;
                Ok(if all_work {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                })
            })
        }
    }
}

/// The folder of tenants, which commands change.
fn folder(config: &Config) -> anyhow::Result<Folder> {
    of_files(config)?;
    let Some(path) = config.tenancy.files() else {
        bail!("name a folder for the files of tenants: file = \"tenants\" under [tenants]");
    };
    let path = config.tenancy.folder.join(path);
    if !path.is_dir() {
        bail!(
            "{} is one file of all tenants: change it by hand, or make it a folder with a file for \
             each tenant",
            path.display()
        );
    }
    Ok(Folder::new(&path))
}

fn of_files(config: &Config) -> anyhow::Result<()> {
    match &config.tenancy.source {
        TenantSource::File { .. } => Ok(()),
        TenantSource::None => Err(anyhow!(
            "there are no tenants: set source = \"file\" and file = \"tenants\" under [tenants]"
        )),
        TenantSource::Http { url, .. } => Err(anyhow!(
            "the tenants are those of the registry at {url}: change them there"
        )),
    }
}

/// When a running gateway takes up a change of files.
fn when(config: &Config) -> String {
    let seconds = match &config.tenancy.source {
        TenantSource::File { interval, .. } => interval.as_secs().max(1) * 2,
        TenantSource::None | TenantSource::Http { .. } => 0,
    };
    format!("A running gateway takes it up within {seconds} s, or at a reload at once.")
}

fn list(config: &Config) -> Done {
    of_files(config)?;
    for tenant in &config.server.tenants.list {
        print(&line(tenant))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(tenant: &TenantConfig) -> String {
    let state = if tenant.is_suspended {
        "suspended"
    } else {
        "active"
    };
    let hosts: Vec<_> = tenant.hosts.iter().map(ToString::to_string).collect();
    let (name, url, path) = (tenant.name.as_str(), &tenant.backend.url, &tenant.path);
    let place = [hosts.join(","), path.to_string()].join(" ");
    format!("{name:<20} {state:<10} {url:<40} {}", place.trim())
}

fn show(config: &Config, name: &TenantName) -> Done {
    of_files(config)?;
    let mut mistakes = Mistakes::default();
    let documents = config.tenancy.documents(&mut mistakes);
    let found = documents
        .iter()
        .find(|document| document.name() == name.as_str());
    let document = found.ok_or_else(|| anyhow!("there is no tenant {name}"))?;
    print(&format!("{:#}", document.to_json()))?;
    Ok(ExitCode::SUCCESS)
}
