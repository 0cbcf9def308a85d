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
    let script = String::from_utf8(script)?;
    // In bash, a hyphen in the program's name separates the names of functions in one place, and is a part
    // of them in another: without this, no option of a command is completed.
    print(
        script
            .replace("high__subcmd__templar", "high__templar")
            .trim_end(),
    )?;
    Ok(Exit::Success)
}
