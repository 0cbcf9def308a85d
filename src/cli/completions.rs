//! `high-templar completions`: what a shell completes, from the definition of the command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Done, Exit, print};

/// Name of the program in a shell.
const PROGRAM: &str = "high-templar";

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Supported,
}

/// The shells that packages install completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Supported {
    Bash,
    Zsh,
    Fish,
}

impl From<Supported> for Shell {
    fn from(shell: Supported) -> Self {
        match shell {
            Supported::Bash => Self::Bash,
            Supported::Zsh => Self::Zsh,
            Supported::Fish => Self::Fish,
        }
    }
}

pub(super) fn run(args: &Args) -> Done {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(Shell::from(args.shell), &mut command, PROGRAM, &mut script);
    print(String::from_utf8(script)?.trim_end())?;
    Ok(Exit::Success)
}
