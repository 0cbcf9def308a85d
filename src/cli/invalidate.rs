//! `high-templar invalidate`: one command `invalidate` over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::cli::Done;
use crate::cli::command::{self, CommandArgs, Verb, members};
use crate::config::period;

/// Whose permissions the API is asked for again, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    command: CommandArgs,
    /// Spread the calls of the API over this time, such as 500ms, 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    within: Option<Duration>,
}

const VERB: Verb = Verb {
    done: "invalidated",
    would: "would invalidate",
};

pub(super) fn run(args: &Args) -> Done {
    command::send(&args.command, &body(args)?, VERB)
}

fn time(text: &str) -> Result<Duration, &'static str> {
    period(text).ok_or("expected a time such as 500ms, 60s or 5m")
}

/// The command's JSON.
fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let within = args.within.map(|span| u64::try_from(span.as_millis()));
    let within = within.transpose()?.map(Value::from);
    command::body("invalidate", &args.command, members([("within", within)]))
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
        let words = ["invalidate"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn options_become_members() {
        for (line, expected) in [
            ("--user 7", r#"{"command":"invalidate","user":"7"}"#),
            (
                "--everyone --within 60s --dry-run",
                r#"{"command":"invalidate","dry_run":true,"everyone":true,"within":60000}"#,
            ),
            (
                "--user 7 --confirm everywhere",
                r#"{"command":"invalidate","confirm":"everywhere","user":"7"}"#,
            ),
            (
                r#"--room {"n":"*"} --within 1500ms --id x"#,
                r#"{"command":"invalidate","id":"x","within":1500,"room":{"n":"*"}}"#,
            ),
        ] {
            let body = body(&parsed(line).unwrap()).unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "",
            "--within 60s",
            "--user 7 --within 60x",
            "--user 7 --within -1s",
            "--user 7 --confirm here",
            "--user 7 --confirm everywhere --dry-run",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
