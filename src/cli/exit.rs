//! Exit codes of all commands.

use std::process::ExitCode;

/// How a command ended. Scripts and service managers rely on the codes: `docs/command-line.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It did what it was asked to do.
    Success,
    /// It could not, or found something that is to be fixed.
    Failure,
    /// The arguments were not understood. Only the parser of the command line returns it.
    Usage,
    /// The configuration cannot be used: `EX_CONFIG` of sysexits.h.
    Configuration,
}

impl Exit {
    /// Every way to end, by code.
    pub(super) const ALL: [Self; 4] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Configuration,
    ];

    /// The code of the process.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Configuration => 78,
        }
    }

    /// What it means: a sentence for the manual.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Success => {
                "Success. `serve` and `demo` were asked to end by a signal, and have shut down."
            }
            Self::Failure => {
                "The command failed, or found something to fix; the reason is on stderr, or in the \
                 lines that begin with FIX."
            }
            Self::Usage => "The arguments were not understood: a command or option is unknown.",
            Self::Configuration => {
                "The configuration cannot be used. Starting again would fail again: service managers \
                 should not restart (RestartPreventExitStatus=78)."
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/command-line.md");

    #[test]
    fn the_documentation_has_every_code_and_its_meaning() {
        for exit in Exit::ALL {
            let row = format!("| {} | {} |\n", exit.code(), exit.meaning());
            assert!(PAGE.contains(&row), "{row}");
        }
    }

    #[test]
    fn the_parser_of_the_command_line_has_the_code_of_wrong_usage() {
        let error = clap::Command::new("any").try_get_matches_from(["any", "--none"]);
        let code = error.expect_err("there is no such option").exit_code();
        assert_eq!(code, i32::from(Exit::Usage.code()));
    }

    #[test]
    fn the_service_manager_does_not_restart_on_a_wrong_configuration() {
        let unit = include_str!("../../packaging/high-templar.service");
        let line = format!(
            "\nRestartPreventExitStatus={}\n",
            Exit::Configuration.code()
        );
        assert!(unit.contains(&line), "{line}");
    }
}
