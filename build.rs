//! Passes commit and compiler version to the program: `HT_BUILD_COMMIT` and `HT_BUILD_RUSTC`.

use std::path::Path;
use std::process::Command;

/// Set this variable to name the commit when building without a repository, as from a source archive.
const COMMIT: &str = "HT_BUILD_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    // It changes with each commit and each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let named = std::env::var(COMMIT)
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = named
        .or_else(commit)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={COMMIT}={commit}");
    let rustc = rustc().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=HT_BUILD_RUSTC={rustc}");
}

/// The commit of this repository; `None` if the source is in another one or in none.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let own = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let is_own = Path::new(&top).canonicalize().ok()? == Path::new(&own).canonicalize().ok()?;
    is_own
        .then(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .flatten()
}

/// The version of the compiler, such as `1.95.0`.
fn rustc() -> Option<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let text = output(Command::new(rustc).arg("--version"))?;
    text.split(' ').nth(1).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

/// Output of a command, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|it| it.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
