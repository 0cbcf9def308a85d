//! Secrets in files.

use std::fs;

use super::*;

fn with_secret(name: &str, text: &str) -> Folder {
    Folder::with(&[(name, text)])
}

fn key_of(config: &Config) -> &str {
    &config.server.internal.api_keys.first().unwrap().0
}

#[track_caller]
fn mistakes_of(folder: &Folder, variables: &[(&str, &str)]) -> Vec<String> {
    let Err(mistakes) = folder.load(variables) else {
        panic!("expected mistakes in {variables:?}");
    };
    mistakes.lines().collect()
}

#[test]
fn every_secret_may_stand_in_a_file() {
    for (name, text) in [
        ("plain", "geheim"),
        ("line", "geheim\n"),
        ("windows", "geheim\r\n"),
        ("lines", "geheim\n\n"),
    ] {
        let folder = with_secret(name, text);
        let path = folder.0.join(name).display().to_string();
        // Absolute and relative to the current folder.
        for path in [&*path, name] {
            let config = folder.load(&[URL, ("HT_INTERNAL__API_KEY_FILE", path)]);
            assert_eq!(key_of(&config.unwrap()), "geheim", "{text:?}");
        }
        let file = format!("[internal]\napi_key_file = '{path}'\n");
        assert_eq!(key_of(&good(&file, &[URL])), "geheim", "{text:?}");
    }
    let folder = Folder::with(&[
        ("url", "amqp://u:p@mq/v\n"),
        ("password", "p @\n"),
        ("headers", "{\n  \"X-Key\": {\"fixed\": \"geheim\"}\n}\n"),
    ]);
    let variables = [
        URL,
        ("HT_RABBITMQ__URL_FILE", "url"),
        ("HT_RABBITMQ__PASSWORD_FILE", "password"),
        ("HT_BACKEND__HEADERS_FILE", "headers"),
    ];
    let config = folder.load(&variables).unwrap();
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://u:p%20%40@mq/v");
    assert_eq!(config.backend.headers.last().unwrap().name, "x-key");
    let variables = [
        URL,
        ("RABBITMQ_HOST", "mq"),
        ("RABBITMQ_PASSWORD_FILE", "password"),
    ];
    let config = folder.load(&variables).unwrap();
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://rabbitmq:p%20%40@mq");
}

#[test]
fn a_file_counts_where_the_plain_setting_would() {
    let folder = Folder::with(&[
        ("key", "from-file\n"),
        ("high-templar.toml", "[internal]\napi_key_file = 'key'\n"),
    ]);
    let key = |variables: &[(&str, &str)]| {
        let config = folder.load(&[&[URL], variables].concat()).unwrap();
        key_of(&config).to_owned()
    };
    assert_eq!(key(&[]), "from-file");
    assert_eq!(key(&[("HT_INTERNAL__API_KEY", "other")]), "other");
    fs::write(folder.0.join("key2"), "second").unwrap();
    assert_eq!(key(&[("HT_INTERNAL__API_KEY_FILE", "key2")]), "second");
    // Empty ones set nothing, as from `KEY=${KEY:-}`.
    let empty = [
        ("HT_INTERNAL__API_KEY", ""),
        ("HT_INTERNAL__API_KEY_FILE", "key2"),
    ];
    assert_eq!(key(&empty), "second");
    assert_eq!(key(&[("HT_INTERNAL__API_KEY_FILE", "")]), "from-file");
}

#[test]
fn a_secret_that_cannot_be_read_or_is_set_twice_is_a_mistake() {
    let folder = Folder::with(&[
        ("key", "geheim\n"),
        ("empty", "\n"),
        ("blank", "ge heim"),
        ("long", &"x".repeat(70_000)),
    ]);
    fs::write(folder.0.join("latin"), b"ge\xe9heim").unwrap();
    fs::create_dir(folder.0.join("folder")).unwrap();
    for (path, part) in [
        ("none", "there is no such file"),
        ("folder", "it is a folder"),
        ("latin", "not UTF-8"),
        ("empty", "it is empty"),
        ("long", "larger than 64 KiB"),
        ("blank", "a blank in it"),
    ] {
        // The listener is open: nothing may start without the key, nor complain that it is missing.
        let variables = [
            URL,
            ("HT_INTERNAL__LISTEN", "0.0.0.0:8002"),
            ("HT_INTERNAL__API_KEY_FILE", path),
        ];
        let found = mistakes_of(&folder, &variables);
        assert_each(&found, &[("HT_INTERNAL__API_KEY_FILE: ", part)]);
        assert!(
            found[0].contains(path) && !found[0].contains("heim"),
            "{found:?}"
        );
    }
    let both = [
        URL,
        ("HT_INTERNAL__API_KEY", "geheim"),
        ("HT_INTERNAL__API_KEY_FILE", "key"),
    ];
    let found = mistakes_of(&folder, &both);
    assert_each(
        &found,
        &[("HT_INTERNAL__API_KEY_FILE: ", "keep one of the two")],
    );
    let file = "[internal]\napi_key = 'geheim'\napi_key_file = 'key'\n";
    assert_each(
        &bad(file, &[URL]),
        &[(
            "high-templar.toml:3: internal.api_key: ",
            "keep one of the two",
        )],
    );
    let headers = [URL, ("HT_BACKEND__HEADERS_FILE", "key")];
    let found = mistakes_of(&folder, &headers);
    assert_each(
        &found,
        &[("HT_BACKEND__HEADERS_FILE: key: ", "a table of headers")],
    );
    assert!(!found[0].contains("geheim"), "{found:?}");
    let found = mistakes_of(&folder, &[URL, ("HT_RABBITMQ__PASSWORD_FILE", "key")]);
    assert_each(
        &found,
        &[(
            "HT_RABBITMQ__PASSWORD_FILE: key: ",
            "rabbitmq.url is missing",
        )],
    );
    let found = mistakes_of(&folder, &[URL, ("HT_INTERNAL__APIKEY_FILE", "key")]);
    assert_each(
        &found,
        &[(
            "HT_INTERNAL__APIKEY_FILE: ",
            "did you mean HT_INTERNAL__API_KEY_FILE?",
        )],
    );
}
