//! The pure crates stay pure: their dependencies and calls are checked.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates of this workspace without I/O, clock, threads and locks.
const PURE: [&str; 5] = ["pages", "proto", "frame", "core", "overload"];

/// All permitted dependencies: none of them has a socket, a thread or a runtime.
const PERMITTED: [&str; 18] = [
    // Pointers that are replaced as a whole: without blocking.
    "arc-swap",
    "base64",
    "bytes",
    "flate2",
    "foldhash",
    "hashbrown",
    "ht-frame",
    "ht-pages",
    "ht-proto",
    "itoa",
    "percent-encoding",
    "serde",
    "serde_json",
    "simdutf8",
    "slab",
    "smallvec",
    "thiserror",
    // Only the type: its ids are generated elsewhere.
    "uuid",
];

/// Names that their code must not contain, except in tests.
const BANNED: [&str; 12] = [
    "Instant::now",
    "SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "std::os",
    "std::process",
    "std::env",
    "std::sync::mpsc",
    "Mutex",
    "RwLock",
    "println!",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("a file of ours").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file is a module of tests only.
fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

#[test]
fn pure_crates_depend_on_pure_crates() {
    for name in PURE {
        let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for dependency in dependencies.into_iter().flat_map(toml::Table::keys) {
            assert!(
                PERMITTED.contains(&&**dependency),
                "{name} may not depend on {dependency}: it does no I/O, knows no clock, no thread \
                 and no runtime"
            );
        }
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        for target in targets.into_iter().flat_map(toml::Table::keys) {
            assert_eq!(target, "cfg(fuzzing)", "{name}: one for all");
        }
        assert!(!manifest.contains_key("build-dependencies"), "{name}");
    }
}

#[test]
fn pure_code_makes_no_system_calls() {
    for name in PURE {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        assert!(!files.is_empty(), "{name}");
        for path in files.iter().filter(|path| !is_test(path)) {
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for banned in BANNED {
                assert!(!code.contains(banned), "{}: {banned}", path.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for name in PURE {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            // An empty module of tests needs no doc comment yet.
            assert!(lines < 2 || text.starts_with("//! "), "{}", path.display());
        }
    }
}
