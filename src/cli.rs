//! The command line: one file per command, and one place that turns errors into exit codes.

mod bench;
mod broker;
mod check;
mod client;
mod closed;
mod command;
mod completions;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod disconnect;
mod exit;
mod finding;
mod health;
mod inquiry;
mod invalidate;
mod key;
mod listen;
mod man;
mod occupant;
mod owner;
mod postgres;
mod publish;
mod serve;
mod tenant;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ht_backend::{BackendSetupError, tls};
use ht_node::StartError;

use crate::cli::exit::Exit;
use crate::config::Mistakes;
use crate::systemd::SocketsError;

/// Help without a blank line after the first one: so it fits a terminal of 24 lines.
const HELP: &str = "{about}\n{usage-heading} {usage}\n\n{all-args}";

/// A WebSocket gateway for APIs that only speak HTTP.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(help_template = HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Serve(serve::Args),
    /// Check the configuration, the listeners, the API and the broker
    Check(check::Args),
    /// Ask the running gateway whether it is alive, or ready
    Health(health::Args),
    /// Publish data to the subscribers of a room
    Publish(publish::Args),
    /// Disconnect users
    #[command(
        override_usage = "high-templar disconnect <--user <ID>|--label <LABEL>|...> [OPTIONS]"
    )]
    Disconnect(disconnect::Args),
    /// Ask the API again what connected users may subscribe to
    #[command(
        override_usage = "high-templar invalidate <--user <ID>|--label <LABEL>|...> [OPTIONS]"
    )]
    Invalidate(invalidate::Args),
    /// Subscribe to rooms, and print publications as lines of JSON
    Listen(listen::Args),
    /// Load-test a running gateway with simulated clients
    Bench(bench::Args),
    /// Print a settings file, or the reference of settings or metrics
    Config(config::Args),
    /// Add, list, check, suspend and remove tenants
    Tenant(tenant::Args),
    /// Print the SQL of the log in PostgreSQL
    Postgres(postgres::Args),
    /// Run a demo on this machine: gateway, small backend and web page
    #[cfg(feature = "demo")]
    Demo(ht_demo::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Print the manual page, or write those of all commands
    Man(man::Args),
}

impl Cli {
    /// Runs the command. Errors go to stderr as one sentence.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Check(args) => check::run(args),
            Command::Health(args) => health::run(args),
            Command::Publish(args) => publish::run(args),
            Command::Disconnect(args) => disconnect::run(&args),
            Command::Invalidate(args) => invalidate::run(&args),
            Command::Listen(args) => listen::run(args),
            Command::Bench(args) => bench::run(&args),
            Command::Config(args) => config::run(&args),
            Command::Tenant(args) => tenant::run(args),
            Command::Postgres(args) => postgres::run(&args),
            #[cfg(feature = "demo")]
            Command::Demo(args) => demo::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        };
        let exit = match done {
            Ok(exit) => exit,
            // `high-templar listen | head -1` has printed the requested lines.
            Err(error) if error.is::<StdoutClosed>() => Exit::Success,
            Err(error) => {
                eprintln!("high-templar: {error:#}");
                if is_configuration(&error) {
                    Exit::Configuration
                } else {
                    Exit::Failure
                }
            }
        };
        exit.into()
    }
}

/// Whether the configuration is the cause, so that starting again would fail again.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.is::<Mistakes>()
        || error.is::<BackendSetupError>()
        || error.is::<SocketsError>()
        || matches!(error.downcast_ref(), Some(StartError::InternalIsOpen(_)))
}

/// Result of a command: how it ended, or an error that is printed to stderr as one sentence.
type Done = anyhow::Result<Exit>;

/// The reader of stdout has closed it.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
struct StdoutClosed;

/// Prints a line to stdout.
fn print(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        Err(cause) => Err(cause).context("cannot write to stdout"),
    }
}

/// Runs a short command's future.
fn block_on<F: Future<Output = Done>>(future: F) -> Done {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// Checks the file of `--ca`.
fn check_ca(file: &Path) -> anyhow::Result<()> {
    tls::check_ca_file(file).context("--ca")
}

/// A JSON object from the command line.
fn room(text: &str) -> Result<Box<serde_json::value::RawValue>, String> {
    let room = json(text)?;
    if room.get().starts_with('{') {
        Ok(room)
    } else {
        Err("a room is a JSON object, such as {\"target\":\"order\",\"customer\":\"7\"}".to_owned())
    }
}

/// A JSON text from the command line, kept byte for byte.
fn json(text: &str) -> Result<Box<serde_json::value::RawValue>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("this is not JSON ({error}); in a shell, put it in single quotes"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Rows and columns of the smallest usual terminal; the prompt needs a row.
    const ROWS: usize = 24 - 1;
    const COLUMNS: usize = 80;

    /// Commands whose options do not fit: load tests and commands that select clients in many ways.
    const LONGER: [&str; 3] = ["bench", "disconnect", "invalidate"];

    #[test]
    fn help_fits_a_small_terminal() {
        let mut program = Cli::command().term_width(COLUMNS);
        program.build();
        let fits = |command: &mut clap::Command| {
            let text = command
                .clone()
                .term_width(COLUMNS)
                .render_help()
                .to_string();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(COLUMNS), "{widest:?}:\n{text}");
            (text.lines().count(), text)
        };
        let (rows, text) = fits(&mut program);
        assert!(rows <= ROWS, "{rows} rows:\n{text}");
        for command in program.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let (rows, text) = fits(command);
            let is_longer = LONGER.contains(&name.as_str());
            assert_eq!(rows > ROWS, is_longer, "{name}: {rows} rows:\n{text}");
        }
    }

    #[test]
    fn every_command_is_documented() {
        let page = include_str!("../docs/command-line.md");
        for command in Cli::command().get_subcommands() {
            let row = format!("| `{}` | ", command.get_name());
            assert!(page.contains(&row), "{row}");
        }
    }
}
