//! What a reader may rely on in every file of the repository.

#![allow(clippy::unwrap_used)] // A failure here is a failed test.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Lines of a source file, tests aside.
const LINES_MAX: usize = 400;

/// Which crates each crate may know: arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("frame", &[]),
    ("core", &["ht-frame", "ht-proto"]),
    ("backend", &["ht-proto"]),
    ("broker", &["ht-proto"]),
    (
        "server",
        &["ht-backend", "ht-broker", "ht-core", "ht-frame", "ht-proto"],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this ending, but for what is built or fetched.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !matches!(&*name, "target" | "node_modules" | ".git" | ".test") {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(root()).unwrap();
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = files(root(), ".rs")
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without a //! line: {silent:?}");
}

#[test]
fn no_source_file_outgrows_its_reader() {
    let long: Vec<_> = files(root(), ".rs")
        .into_iter()
        .filter(|path| !is_test(path))
        .filter(|path| fs::read_to_string(path).unwrap().lines().count() > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn crates_know_only_what_is_below_them() {
    for (name, allowed) in ARROWS {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap();
        let all = text.split("\n[dependencies]\n").nth(1).unwrap();
        let own = all.split("\n[").next().unwrap();
        for line in own.lines().filter(|line| line.starts_with("ht-")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            assert!(
                allowed.contains(&dependency),
                "{name} must not know {dependency}"
            );
        }
    }
}

#[test]
fn lines_to_alert_on_are_lines_that_are_logged() {
    let guide = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let logs = guide.split("\n## Logs\n").nth(1).unwrap();
    let logs = logs.split("\n## ").next().unwrap();
    let rows = logs
        .lines()
        .filter(|line| line.starts_with("| error") || line.starts_with("| warn"));
    let sources = files(&root().join("crates"), ".rs").into_iter();
    let sources = sources.chain(files(&root().join("src"), ".rs"));
    let sources = sources.filter(|path| !is_test(path));
    let code: String = sources
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut count = 0;
    for row in rows {
        let line = row.split('`').nth(1).unwrap();
        assert!(code.contains(line), "nothing logs {line:?}");
        count += 1;
    }
    assert!(count > 0, "no table of lines");
}

#[test]
fn links_in_documents_lead_somewhere() {
    for document in files(root(), ".md") {
        let text = fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(
                path.exists(),
                "{}: {target} is not there",
                document.display()
            );
        }
    }
}
