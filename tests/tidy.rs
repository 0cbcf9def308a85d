//! Properties that every file of the repository has.

#![allow(clippy::unwrap_used)] // A failure here is a failed test.

#[path = "tidy/circles.rs"]
mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ht_proto::close::{Advice, Close};

/// Lines of a source file, tests aside.
const LINES_MAX: usize = 400;

/// Allowed dependencies of each package, by its folder: arrows point down only, and no shipped
/// package depends on the load generator.
const ARROWS: &[(&str, &[&str])] = &[
    ("crates/proto", &[]),
    ("crates/frame", &[]),
    ("crates/overload", &["ht-pages"]),
    ("crates/pages", &[]),
    ("crates/telemetry", &[]),
    ("crates/testkit", &["ht-broker", "ht-proto"]),
    ("crates/trigger-client", &[]),
    ("crates/core", &["ht-frame", "ht-pages", "ht-proto"]),
    (
        "crates/edge",
        &["ht-frame", "ht-overload", "ht-proto", "ht-telemetry"],
    ),
    (
        "crates/backend",
        &["ht-overload", "ht-proto", "ht-telemetry", "ht-token"],
    ),
    ("crates/token", &["ht-proto"]),
    ("crates/broker", &["ht-proto", "ht-telemetry"]),
    ("crates/control", &["ht-core", "ht-proto"]),
    (
        "crates/node",
        &[
            "ht-backend",
            "ht-broker",
            "ht-control",
            "ht-core",
            "ht-edge",
            "ht-frame",
            "ht-overload",
            "ht-proto",
            "ht-telemetry",
        ],
    ),
    (
        "",
        &[
            "ht-backend",
            "ht-broker",
            "ht-core",
            "ht-demo",
            "ht-node",
            "ht-proto",
            "ht-telemetry",
            "ht-trigger-client",
        ],
    ),
    (
        "tools/demo",
        &["ht-backend", "ht-core", "ht-node", "ht-trigger-client"],
    ),
    ("tools/bench", &["ht-backend", "ht-telemetry"]),
    (
        "tools/sim",
        &[
            "ht-broker",
            "ht-control",
            "ht-core",
            "ht-frame",
            "ht-overload",
            "ht-proto",
        ],
    ),
    (
        "fuzz",
        &[
            "high-templar",
            "ht-backend",
            "ht-core",
            "ht-frame",
            "ht-node",
            "ht-proto",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this ending, except built or fetched ones.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !matches!(
                &*name,
                "target" | "node_modules" | ".git" | ".test" | ".venv"
            ) {
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
fn every_module_has_a_doc_comment() {
    let silent: Vec<_> = files(root(), ".rs")
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without a //! line: {silent:?}");
}

#[test]
fn source_files_have_a_maximum_length() {
    let long: Vec<_> = files(root(), ".rs")
        .into_iter()
        .filter(|path| !is_test(path))
        .filter(|path| fs::read_to_string(path).unwrap().lines().count() > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

/// The packages of this repository that a manifest depends on, but for those of its tests.
fn own_dependencies(manifest: &str) -> Vec<&str> {
    let mut own = Vec::new();
    let mut counts = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            // Also those of one target only: `target.'cfg(…)'.dependencies`.
            counts = table.ends_with("dependencies]")
                && !table.ends_with("dev-dependencies]")
                && !table.starts_with("workspace.");
            assert!(!table.contains("dependencies."), "one line each: {line}");
        } else if counts && (line.starts_with("ht-") || line.starts_with("high-templar")) {
            own.extend(line.split(['.', ' ', '=']).next());
        }
    }
    own
}

#[test]
fn packages_depend_only_on_those_below_them() {
    for manifest in files(root(), "Cargo.toml") {
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
        let row = ARROWS.iter().find(|(known, _)| Path::new(known) == folder);
        let (_, allowed) = row.unwrap_or_else(|| panic!("{folder:?} has no row in ARROWS"));
        let text = fs::read_to_string(&manifest).unwrap();
        for dependency in own_dependencies(&text) {
            let is_allowed = allowed.contains(&dependency);
            assert!(is_allowed, "{folder:?} must not know {dependency}");
        }
    }
}

#[test]
fn own_dependencies_are_found_in_every_table() {
    let manifest = "[package]\nht-no = 1\n[dependencies]\nht-a.workspace = true\nserde = \"1\"\n\
        [target.'cfg(unix)'.dependencies]\nht-b = { path = \"b\" }\n[build-dependencies]\nht-c = \"1\"\n\
        [dev-dependencies]\nht-no = \"1\"\n[workspace.dependencies]\nht-no = \"1\"\n";
    assert_eq!(own_dependencies(manifest), ["ht-a", "ht-b", "ht-c"]);
}

#[test]
fn log_fields_are_values_and_no_debug_text() {
    // `?field` logs what Debug writes: `Some("…")`, `1.5s`. A number of 128 bits becomes a text.
    let is_text = |line: &str| {
        let is_debugged = |part: &[u8]| matches!(part, [b' ' | b'(', b'?', b'a'..=b'z']);
        let is_wide = line.contains(" = ") && line.ends_with(".as_millis(),");
        is_wide || line.as_bytes().windows(3).any(is_debugged)
    };
    for path in files(root(), ".rs") {
        let below = path.strip_prefix(root()).unwrap();
        if is_test(&path) || !(below.starts_with("src") || below.starts_with("crates")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().enumerate();
        let found = lines.find(|(_, line)| !line.trim_start().starts_with("//") && is_text(line));
        assert_eq!(found, None, "{below:?}");
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
fn close_codes_in_the_protocol_are_those_of_the_code() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let part = page.split("\n## Close codes\n").nth(1).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let rows = part.split("\n| code | reason | cause |\n").nth(1).unwrap();
    let documented: BTreeSet<_> = rows
        .lines()
        .skip(1)
        .take_while(|row| row.starts_with('|'))
        .filter_map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (code, reason) = (cells.next()?, cells.next()?);
            let word = reason.trim_matches('`').replace(" <ms>", "");
            // Errors of the frame layer are sentences.
            (reason != "what was wrong").then(|| (code.parse::<u16>().unwrap(), word))
        })
        .collect();
    let known = Close::ALL.map(|close| (close.code(), close.word().to_owned()));
    assert_eq!(documented, BTreeSet::from(known));
    let advice = |rows: &str, what: &str| {
        let row = rows.lines().find(|row| row.contains(what)).unwrap();
        let codes = row.split('|').nth(1).unwrap();
        let ends = codes.split(", ").map(|codes| {
            let range = codes.trim().split_once('–');
            let (first, last) = range.unwrap_or((codes.trim(), codes.trim()));
            first.parse::<u16>().unwrap()..=last.parse().unwrap()
        });
        ends.flatten().collect::<BTreeSet<_>>()
    };
    for (what, meant) in [
        ("| reconnect soon", Advice::Soon),
        ("| reconnect later", Advice::Later),
        ("| do not reconnect", Advice::Never),
        ("| log in again", Advice::SignIn),
    ] {
        let codes = (1_000..5_000).filter(|code| Advice::of(*code) == meant);
        // Those never travel, and have a row of their own.
        let codes = codes.filter(|code| !matches!(code, 1005 | 1006));
        assert_eq!(advice(part, what), codes.collect(), "{what}");
    }
}

#[test]
fn links_in_documents_are_valid() {
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

#[test]
fn every_test_named_in_security_exists() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let named: Vec<_> = page
        .split([' ', ',', '\n'])
        .filter_map(|word| word.split_once("::"))
        .collect();
    for (file, name) in &named {
        let text = fs::read_to_string(root().join(file)).unwrap();
        // Also in a module of tests.
        let text: String = text
            .lines()
            .map(|line| line.trim_start().to_owned() + "\n")
            .collect();
        let before = [format!("\nfn {name}("), format!("\nasync fn {name}(")]
            .iter()
            .find_map(|line| text.split_once(line))
            .map_or("", |(before, _)| before);
        let attributes = before
            .lines()
            .rev()
            .take_while(|line| line.starts_with("#["));
        let is_test = attributes.into_iter().any(|line| line.contains("test"));
        assert!(is_test, "{file} has no test {name}");
    }
    assert!(named.len() > 30, "no table of tests");
}

#[test]
fn every_package_forbids_what_the_workspace_forbids() {
    for manifest in files(root(), "Cargo.toml") {
        // A workspace of its own, whose macros are not.
        if manifest.starts_with(root().join("fuzz")) {
            continue;
        }
        let text = fs::read_to_string(&manifest).unwrap();
        let inherits = text.contains("[lints]\nworkspace = true\n");
        assert!(inherits, "{}: no lints", manifest.display());
    }
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(text.contains("\nunsafe_code = \"forbid\"\n"));
}
