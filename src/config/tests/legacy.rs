//! The variables of the Python version.

use std::path::Path;

use ht_backend::config::HeaderSource;

use super::*;

fn hook(call: Option<&ht_backend::config::HookCall>) -> String {
    call.map_or("-".into(), |call| format!("{} {}", call.method, call.path))
}

#[test]
fn the_families_of_the_python_version_are_honoured() {
    type Row<'a> = (
        &'a [(&'a str, &'a str)],
        &'a str,
        Option<&'a str>,
        Option<&'a str>,
        bool,
    );
    let rows: &[Row<'_>] = &[
        // variables, url, socket, Referer, whether serve.py's code is meant
        (
            &[("APP_URL", "https://app.nl")],
            "https://app.nl/api/",
            None,
            Some("https://app.nl/api/"),
            true,
        ),
        (
            &[("APP_URL", "https://app.nl/")],
            "https://app.nl/api/",
            None,
            Some("https://app.nl/api/"),
            true,
        ),
        (
            &[
                ("APP_URL", "https://app.nl"),
                ("BINDER_INTERNAL", "http://binder/x/"),
            ],
            "http://binder/x/",
            None,
            Some("https://app.nl/api/"),
            true,
        ),
        (
            &[
                ("APP_URL", "https://app.nl"),
                ("BINDER_SOCKET", "/run/b.sock"),
            ],
            "http://localhost/api/",
            Some("/run/b.sock"),
            Some("https://app.nl/api/"),
            true,
        ),
        (
            &[("BINDER_INTERNAL", "http://binder/")],
            "http://binder/",
            None,
            None,
            true,
        ),
        (
            &[
                ("BINDER_INTERNAL", "http://binder/"),
                ("BINDER_SOCKET", "/b"),
            ],
            "http://binder/",
            Some("/b"),
            None,
            true,
        ),
        (
            &[("CY_BINDER_INTERNAL", "http://cy/")],
            "http://cy/",
            None,
            None,
            false,
        ),
        (
            &[("CY_BINDER_SOCKET", "/cy")],
            "http://localhost/api/",
            Some("/cy"),
            None,
            false,
        ),
        (&[("API_URL", "http://a/")], "http://a/", None, None, false),
        (
            &[("API_URL", "http://a/"), ("API_SOCKET", "/a")],
            "http://a/",
            Some("/a"),
            None,
            false,
        ),
        (
            &[
                ("API_URL", "http://a/"),
                ("CY_BINDER_INTERNAL", "http://cy/"),
                ("APP_URL", ""),
            ],
            "http://cy/",
            None,
            None,
            false,
        ),
    ];
    for (variables, url, socket, referer, serve_py) in rows {
        let config = good("", variables);
        assert_eq!(config.backend.url, *url, "{variables:?}");
        assert_eq!(
            config.backend.socket.as_deref(),
            socket.map(Path::new),
            "{variables:?}"
        );
        let fixed = config
            .backend
            .headers
            .iter()
            .find(|rule| rule.name == "referer");
        let expected = referer.map(|referer| HeaderSource::Fixed(referer.to_owned()));
        assert_eq!(
            fixed.map(|rule| &rule.source),
            expected.as_ref(),
            "{variables:?}"
        );
        let session = header_names(&config).contains(&"x-session-token");
        assert_eq!(session, *serve_py, "{variables:?}");
        let hooks = &config.backend.hooks;
        let found =
            [&hooks.connect, &hooks.ping, &hooks.disconnect].map(|call| hook(call.as_ref()));
        let online = "POST user/notify_online/";
        let expected = match serve_py {
            true => [online, online, "POST user/notify_offline/"],
            false => ["-"; 3],
        };
        assert_eq!(found, expected, "{variables:?}");
        let note = config
            .notes
            .iter()
            .find(|note| note.contains("Python version"))
            .unwrap();
        for (name, text) in *variables {
            let weaker = *name == "API_URL" && url.contains("cy");
            let used = !text.is_empty() && !weaker;
            assert_eq!(note.contains(name), used, "{note}: {name}");
        }
    }
}

#[test]
fn newer_settings_beat_those_of_the_python_version() {
    let file = "[backend]\nurl = 'http://new/'\n[hooks]\nping = ''\n\
        [backend.headers]\nX-Session-Token = false\nReferer = { fixed = 'r' }\n\
        [rabbitmq]\nurl = 'amqp://new'\n[log]\nlevel = 'error'\n";
    let variables = [
        ("APP_URL", "https://app.nl"),
        ("RABBITMQ_HOST", "old"),
        ("LOGFILE_LEVEL", "nonsense"),
        ("LOGFILE_PATH", "/var/log/x"),
    ];
    let config = good(file, &variables);
    assert_eq!(config.backend.url, "http://new/");
    assert!(config.backend.hooks.ping.is_none());
    assert!(config.backend.hooks.connect.is_some());
    assert!(!header_names(&config).contains(&"x-session-token"));
    let referer = config
        .backend
        .headers
        .iter()
        .find(|rule| rule.name == "referer")
        .unwrap();
    assert_eq!(referer.source, HeaderSource::Fixed("r".to_owned()));
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://new");
    assert_eq!(config.log.level, Level::Error);
    let notes = config.notes.join("\n");
    assert!(notes.contains("in use: APP_URL\n"), "{notes}");
    assert!(notes.contains("LOGFILE_PATH is not used"), "{notes}");
}

#[test]
fn rabbitmq_and_log_level_come_from_old_variables() {
    let login = [URL, ("RABBITMQ_USERNAME", "u"), ("RABBITMQ_PASSWORD", "p@")];
    let config = good("", &login);
    assert!(config.rabbitmq.is_none());
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("without RABBITMQ_HOST"))
    );
    let config = good("", &[&login[..], &[("RABBITMQ_HOST", "mq:1/v")]].concat());
    assert_eq!(config.rabbitmq.unwrap().url, "amqp://u:p%40@mq:1/v");
    let notes = config.notes.join("\n");
    assert!(
        notes.contains("RABBITMQ_HOST, RABBITMQ_USERNAME, RABBITMQ_PASSWORD"),
        "{notes}"
    );
    assert!(!notes.contains("p%40") && !notes.contains("p@"), "{notes}");
    for (name, level) in [
        ("DEBUG", Level::Debug),
        ("warning", Level::Warn),
        ("CRITICAL", Level::Error),
    ] {
        assert_eq!(
            good("", &[URL, ("LOGFILE_LEVEL", name)]).log.level,
            level,
            "{name}"
        );
    }
    assert_each(
        &bad("", &[URL, ("LOGFILE_LEVEL", "LOUD")]),
        &[("LOGFILE_LEVEL: ", "WARNING")],
    );
    assert_each(
        &bad("", &[("BINDER_INTERNAL", "http://x")]),
        &[("BINDER_INTERNAL: ", "slash")],
    );
}

#[test]
fn a_family_has_its_broker_by_default() {
    let serve_py = ("BINDER_SOCKET", "/b");
    let asgi_py = ("CY_BINDER_INTERNAL", "http://cy/");
    let host = ("RABBITMQ_HOST", "mq:1/v");
    let login = [("RABBITMQ_USERNAME", "u"), ("RABBITMQ_PASSWORD", "p")];
    let off = ("HT_RABBITMQ__URL", "");
    let on = ("HT_RABBITMQ__URL", "amqp://new");
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, &'a str);
    let local = "amqp://rabbitmq:rabbitmq@localhost";
    let rows: &[Row<'_>] = &[
        // variables, address, the variable that implies it
        (&[serve_py], Some(local), "BINDER_SOCKET"),
        (
            &[serve_py, ("RABBITMQ_HOST", "")],
            Some(local),
            "BINDER_SOCKET",
        ),
        (
            &[("APP_URL", "http://a"), login[0], login[1]],
            Some("amqp://u:p@localhost"),
            "APP_URL",
        ),
        (
            &[serve_py, host],
            Some("amqp://rabbitmq:rabbitmq@mq:1/v"),
            "",
        ),
        (&[serve_py, off], None, ""),
        (&[serve_py, host, off], None, ""),
        (&[serve_py, on], Some("amqp://new"), ""),
        (
            &[asgi_py],
            Some("amqp://rabbitmq:rabbitmq@rabbitmq"),
            "CY_BINDER_INTERNAL",
        ),
        (
            &[asgi_py, host],
            Some("amqp://rabbitmq:rabbitmq@mq:1/v"),
            "",
        ),
        (&[asgi_py, off], None, ""),
        (&[asgi_py, on], Some("amqp://new"), ""),
        (&[("API_URL", "http://a/")], None, ""),
        (&[("API_URL", "http://a/"), ("API_SOCKET", "/a")], None, ""),
        (&[URL, host], Some("amqp://rabbitmq:rabbitmq@mq:1/v"), ""),
        (&[URL, host, off], None, ""),
    ];
    for (variables, url, implied_by) in rows {
        let config = good("", variables);
        let found = config.rabbitmq.map(|rabbitmq| rabbitmq.url);
        assert_eq!(found.as_deref(), *url, "{variables:?}");
        let notes = config.notes.join("\n");
        let told = notes.contains(&format!("{implied_by} implies RabbitMQ on the host"));
        assert_eq!(told, !implied_by.is_empty(), "{variables:?}: {notes}");
    }
    let file = "[backend]\nurl = 'http://new/'\n[rabbitmq]\nurl = ''\n";
    assert!(good(file, &[serve_py]).rabbitmq.is_none());
}

#[test]
fn the_environment_wins_over_the_file_that_it_names() {
    let folder = Folder::with(&[(
        "old.env",
        "APP_URL=https://file.nl\nRABBITMQ_HOST=file\nRABBITMQ_PASSWORD=secret\n\
         BINDER_INTERNAL=http://binder/api/\n",
    )]);
    let load = |variables: &[(&str, &str)]| {
        let named = [&[("ENV_FILE", "old.env")], variables].concat();
        let config = folder
            .load(&named)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let referer = config
            .backend
            .headers
            .iter()
            .find(|rule| rule.name == "referer")
            .cloned();
        (
            config.backend.url,
            config.rabbitmq.map(|rabbitmq| rabbitmq.url),
            referer.map(|rule| rule.source),
        )
    };
    let referer = |text: &str| Some(HeaderSource::Fixed(text.to_owned()));
    let amqp = |host| Some(format!("amqp://rabbitmq:secret@{host}"));
    assert_eq!(
        load(&[]),
        (
            "http://binder/api/".to_owned(),
            amqp("file"),
            referer("https://file.nl/api/")
        )
    );
    assert_eq!(
        load(&[("RABBITMQ_HOST", "os"), ("APP_URL", "https://os.nl")]),
        (
            "http://binder/api/".to_owned(),
            amqp("os"),
            referer("https://os.nl/api/")
        )
    );
    // Set, though empty: the file's line does not count either.
    let cleared = [("BINDER_INTERNAL", ""), ("RABBITMQ_HOST", "")];
    assert_eq!(
        load(&cleared),
        (
            "https://file.nl/api/".to_owned(),
            amqp("localhost"),
            referer("https://file.nl/api/")
        )
    );
}
