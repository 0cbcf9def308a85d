//! Configuration files, `.env` files and environments: nothing panics, a mistake has a sentence,
//! and no mistake shows a secret.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use high_templar::config::Sources;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// The text of every secret, which no output may contain.
const SECRET: &str = "s3cr3t-v4lu3";

// The configuration file, the `.env` file and the environment as lines NAME=value, separated by
// NUL.
fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\0');
    let mut put = |name: &str| {
        let text = parts.next().unwrap_or_default();
        std::fs::write(FOLDER.path().join(name), text).expect("a file");
    };
    put("high-templar.toml");
    put(".env");
    let lines = parts.next().unwrap_or_default().lines();
    let mut environment: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once('='))
        // These variables name other files.
        .filter(|(name, _)| !["ENV_FILE", "HT_CONFIG"].contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    environment.insert("HT_INTERNAL__API_KEY".into(), SECRET.into());
    environment.insert("RABBITMQ_PASSWORD".into(), SECRET.into());
    let sources = Sources {
        file: None,
        environment,
        folder: FOLDER.path().to_owned(),
    };
    match sources.load() {
        Ok(config) => {
            let shown = format!("{:?} {:?}", config.server, config.backend);
            assert!(!shown.contains(SECRET));
        }
        Err(mistakes) => {
            let sentences = mistakes.to_string();
            assert!(!sentences.is_empty());
            assert!(!sentences.contains(SECRET));
        }
    }
});
