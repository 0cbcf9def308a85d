//! `high-templar postgres`: what the log in PostgreSQL needs.

use ht_broker::postgres::{Schema, SchemaError};

use crate::cli::{Done, Exit, print};

/// What to do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the SQL that makes the log and the outbox, for psql; applied again it changes nothing
    Schema(SchemaArgs),
}

#[derive(Debug, clap::Args)]
struct SchemaArgs {
    /// The schema (postgres.log)
    #[arg(
        long,
        value_name = "NAME",
        env = "HT_POSTGRES__LOG",
        default_value = "high_templar",
        value_parser = schema
    )]
    log: Schema,
    /// Give this role what a gateway needs, and nothing more; may be repeated
    #[arg(long, value_name = "ROLE")]
    gateway: Vec<String>,
    /// Give this role what inserting into the outbox needs, and nothing more; may be repeated
    #[arg(long, value_name = "ROLE")]
    publisher: Vec<String>,
}

fn schema(name: &str) -> Result<Schema, SchemaError> {
    Schema::new(name)
}

pub(super) fn run(args: &Args) -> Done {
    let Command::Schema(args) = &args.command;
    print("BEGIN;")?;
    print(&args.log.sql())?;
    for role in &args.gateway {
        print(&args.log.grant_gateway(role))?;
    }
    for role in &args.publisher {
        print(&args.log.grant_publisher(role))?;
    }
    print("COMMIT;")?;
    Ok(Exit::Success)
}
