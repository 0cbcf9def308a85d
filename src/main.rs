//! The program: `high-templar --help` tells the commands.

use std::process::ExitCode;

use clap::Parser;
use high_templar::cli::Cli;

/// Gave the smallest resident memory for many idle connections, and hands freed memory back in
/// the background.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
