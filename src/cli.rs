//! The command line: one file per command, and one place that turns errors into exit codes.

mod bench;
mod broker;
mod check;
mod client;
mod closed;
mod command;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod disconnect;
mod finding;
mod invalidate;
mod key;
mod listen;
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

use crate::config::Mistakes;
use crate::systemd::SocketsError;

/// Exit code for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
const EX_CONFIG: u8 = 78;

/// A WebSocket gateway for APIs that only speak HTTP.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Serve(serve::Args),
    /// Check the configuration, and test the listeners, the API and the broker
    Check(check::Args),
    /// Publish data to the subscribers of a room
    Publish(publish::Args),
    /// Disconnect users
    Disconnect(disconnect::Args),
    /// Ask the API again what connected users may subscribe to
    Invalidate(invalidate::Args),
    /// Subscribe to rooms and print their publications, one line of JSON each
    Listen(listen::Args),
    /// Load-test a running gateway with simulated clients and triggers, to size a machine
    Bench(bench::Args),
    /// Print a configuration file with all defaults, or the reference of the settings or metrics
    Config(config::Args),
    /// Add, list, check, suspend and remove tenants
    Tenant(tenant::Args),
    /// Print the SQL of the log in PostgreSQL
    Postgres(postgres::Args),
    /// Run a demo on this machine: gateway, a small backend and a web page
    #[cfg(feature = "demo")]
    Demo(ht_demo::Args),
}

impl Cli {
    /// Runs the command. Errors go to stderr as one sentence.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Check(args) => check::run(args),
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
        };
        match done {
            Ok(code) => code,
            // `high-templar listen | head -1` has printed the requested lines.
            Err(error) if error.is::<StdoutClosed>() => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("high-templar: {error:#}");
                if is_configuration(&error) {
                    ExitCode::from(EX_CONFIG)
                } else {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// Whether the configuration is the cause, so that starting again would fail again.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.is::<Mistakes>()
        || error.is::<BackendSetupError>()
        || error.is::<SocketsError>()
        || matches!(error.downcast_ref(), Some(StartError::InternalIsOpen(_)))
}

/// Result of a command: its exit code, or an error that is printed to stderr as one sentence.
type Done = anyhow::Result<ExitCode>;

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
