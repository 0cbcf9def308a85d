//! `high-templar disconnect`: one command `disconnect` over HTTP.

use clap::ValueEnum;
use serde_json::Value;

use crate::cli::Done;
use crate::cli::command::{self, CommandArgs, Verb, members};

/// Whom to disconnect, how, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    command: CommandArgs,
    /// What clients do then: reconnect at once or later, once the user has signed in again, or never
    #[arg(long, value_enum, default_value_t = ComeBack::SignIn, value_name = "WHEN")]
    come_back: ComeBack,
    /// The reason in the close frame: a word of a to z and hyphens
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
}

/// What a client does that was disconnected.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ComeBack {
    Soon,
    Later,
    SignIn,
    Never,
}

const VERB: Verb = Verb {
    done: "disconnected",
    would: "would disconnect",
};

pub(super) fn run(args: &Args) -> Done {
    command::send(&args.command, &body(args)?, VERB)
}

/// The command's JSON.
fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let come_back = args.come_back.to_possible_value();
    let own = members([
        ("come_back", come_back.map(|word| word.get_name().into())),
        ("reason", args.reason.as_deref().map(Value::from)),
    ]);
    command::body("disconnect", &args.command, own)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        let words = ["disconnect"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn options_become_members() {
        for (line, expected) in [
            (
                "--user 7",
                r#"{"come_back":"sign-in","command":"disconnect","user":"7"}"#,
            ),
            (
                "--session s --label a --label b --come-back soon --reason moved --id x",
                r#"{"come_back":"soon","command":"disconnect","id":"x","label":["a","b"],"reason":"moved","session":"s"}"#,
            ),
            (
                r#"--connection c --room {"n":1e400} --come-back later"#,
                r#"{"come_back":"later","command":"disconnect","connection":"c","room":{"n":1e400}}"#,
            ),
            (
                "--everyone --dry-run --come-back never",
                r#"{"come_back":"never","command":"disconnect","dry_run":true,"everyone":true}"#,
            ),
        ] {
            let body = body(&parsed(line).unwrap()).unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn without_a_selector_no_client_is_selected() {
        for line in [
            "",
            "--come-back soon",
            "--everyone --user 7",
            "--everyone --label a",
            "--user 7 --come-back now",
            "--room 7",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
