//! `high-templar man`: the manual pages, from the definition of the command line.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::exit::Exit;
use crate::cli::{Cli, Done, print};

/// Files that commands read, and what is in them.
const FILES: [(&str, &str); 3] = [
    (
        "high-templar.toml",
        "The settings, in the current folder; --config or HT_CONFIG names another file. `high-templar \
         config --toml` prints one with every setting, its default and a comment.",
    ),
    (
        "/etc/high-templar/high-templar.toml",
        "The settings of the service of systemd.",
    ),
    (
        "/etc/high-templar/environment",
        "The secrets of the service of systemd, as variables; only root may read it.",
    ),
];

/// Variables that every command reads.
const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "HT_SECTION__KEY",
        "A setting, such as HT_BACKEND__URL; it overrides the file. HT_SECTION__KEY_FILE names a file \
         that contains a secret.",
    ),
    ("HT_CONFIG", "The configuration file."),
    (
        "RUST_LOG",
        "What the log of `serve` contains; overrides log.level.",
    ),
    (
        "NO_COLOR",
        "If it is set and not empty, nothing is coloured. Only a terminal is ever written to in colour.",
    ),
];

/// The section that ends a page.
const LAST: &[u8] = b".SH VERSION";

/// Where to write.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the page of the program and of each command to this folder, which must exist
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Done {
    let mut program = Cli::command();
    program.build();
    match &args.dir {
        None => print(String::from_utf8(program_page(&program)?)?.trim_end())?,
        Some(folder) => write_all(&program, folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?,
    }
    Ok(Exit::Success)
}

/// Writes the pages of a program and of everything below it.
fn write_all(program: &Command, folder: &Path) -> io::Result<()> {
    std::fs::write(
        folder.join(Man::new(program.clone()).get_filename()),
        program_page(program)?,
    )?;
    let mut pending: Vec<_> = program.get_subcommands().collect();
    while let Some(command) = pending.pop() {
        let page = Man::new(command.clone());
        let mut text = Vec::new();
        page.render(&mut text)?;
        std::fs::write(folder.join(page.get_filename()), text)?;
        pending.extend(command.get_subcommands());
    }
    Ok(())
}

/// The page of the program itself, with what holds for all commands before its version.
fn program_page(program: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(program.clone()).render(&mut page)?;
    let mut more = Roff::new();
    let codes = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning()));
    let codes = codes.each_ref().map(|(code, text)| (code.as_str(), *text));
    list(&mut more, "EXIT STATUS", &codes);
    list(&mut more, "ENVIRONMENT", &ENVIRONMENT);
    list(&mut more, "FILES", &FILES);
    let last = page.windows(LAST.len()).position(|part| part == LAST);
    let last = last.unwrap_or(page.len());
    page.splice(last..last, more.to_roff().into_bytes());
    Ok(page)
}

/// A section of terms, each with its meaning.
fn list(roff: &mut Roff, title: &str, terms: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Cli::command();
        program.build();
        write_all(&program, folder.path()).unwrap();
        let read = |name: &str| {
            let path = folder.path().join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{name}: {cause}"))
        };
        let main = read("high-templar.1");
        for part in [
            ".TH high-templar 1",
            ".SH \"EXIT STATUS\"",
            "RestartPreventExitStatus=78",
            "HT_CONFIG",
        ] {
            assert!(main.contains(part), "{part:?} in {main}");
        }
        for command in program.get_subcommands() {
            let name = command.get_name();
            // Hyphens are escaped.
            let text = read(&format!("high-templar-{name}.1")).replace('\\', "");
            assert!(text.contains(&format!("high-templar {name}")), "{text}");
            assert!(
                main.replace('\\', "")
                    .contains(&format!("high-templar-{name}(1)")),
                "{name}"
            );
        }
        read("high-templar-tenant-add.1");
    }
}
