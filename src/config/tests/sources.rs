//! Files: the configuration file and `.env`.

use std::fs;

use super::*;

#[test]
fn dotenv_files_count_below_the_environment() {
    let folder = Folder::with(&[
        (".env", "APP_URL=https://file\nOTHER=x\nHT_THREADS=zero\n"),
        ("named.env", "APP_URL=https://named\nRABBITMQ_HOST=mq\n"),
    ]);
    let Err(mistakes) = folder.load(&[]) else {
        panic!("HT_THREADS is wrong")
    };
    let line = format!("{}/.env:3: HT_THREADS: ", folder.0.display());
    assert!(mistakes.to_string().contains(&line), "{mistakes}");
    let config = folder.load(&[("HT_THREADS", "2")]).unwrap();
    assert_eq!(config.backend.url, "https://file/api/");
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains(".env: APP_URL")),
        "{:?}",
        config.notes
    );
    assert!(
        config.notes.iter().all(|note| !note.contains("OTHER")),
        "{:?}",
        config.notes
    );
    let config = folder
        .load(&[("ENV_FILE", "named.env"), ("RABBITMQ_HOST", "real")])
        .unwrap();
    assert_eq!(config.backend.url, "https://named/api/");
    assert_eq!(
        config.rabbitmq.unwrap().url,
        "amqp://rabbitmq:rabbitmq@real"
    );
    let found = folder
        .load(&[("ENV_FILE", "none.env"), URL])
        .err()
        .unwrap()
        .to_string();
    assert!(found.contains("ENV_FILE: cannot read"), "{found}");

    fs::create_dir_all(folder.0.join("below/there")).unwrap();
    let below = Folder(folder.0.join("below/there"));
    assert_eq!(
        below.load(&[("HT_THREADS", "2")]).unwrap().backend.url,
        "https://file/api/"
    );
}

#[test]
fn the_file_can_be_named() {
    let folder = Folder::with(&[
        ("other.toml", "[backend]\nurl = 'http://other/'\n"),
        ("latin", ""),
    ]);
    fs::write(folder.0.join("latin"), b"# \xe9").unwrap();
    let config = folder.load(&[("HT_CONFIG", "other.toml")]).unwrap();
    assert_eq!(config.backend.url, "http://other/");
    for (name, part) in [
        ("none.toml", "no such file"),
        ("latin", "not UTF-8"),
        (".", "a folder"),
    ] {
        let found = folder
            .load(&[("HT_CONFIG", name), URL])
            .err()
            .unwrap()
            .to_string();
        assert!(
            found.contains("HT_CONFIG: ") && found.contains(part),
            "{found}"
        );
    }
}
