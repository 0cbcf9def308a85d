//! Arbitrary bytes on the public listener: the gateway survives, its responses are HTTP, and the
//! backend receives no injected header.

#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use high_templar::config::Sources;
use ht_backend::{Answer, Backend, Credentials, Failure, ForwardRules, Hook, Permissions};
use ht_node::live::{Live, LiveSettings};
use ht_node::{Gateway, InheritedSockets};
use libfuzzer_sys::fuzz_target;

/// Admits every client and checks the forwarded headers.
struct Suspicious;

impl Backend for Suspicious {
    fn bootstrap<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, Answer> {
        for (name, value) in credentials.headers() {
            let clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
            assert!(value.as_bytes().iter().all(clean), "{name}: {value:?}");
            let allowed = [
                "cookie",
                "user-agent",
                "x-real-ip",
                "x-csrftoken",
                "authorization",
            ];
            assert!(allowed.contains(&name.as_str()), "{name}");
        }
        let answer = Answer::Admitted(Permissions::of(b"[]".as_slice().into()));
        Box::pin(std::future::ready(answer))
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        let answer = Answer::Admitted(Permissions::of(b"[]".as_slice().into()));
        Box::pin(std::future::ready(answer))
    }

    fn has_hook(&self, _: Hook) -> bool {
        false
    }

    fn hook<'a>(&'a self, _: Hook, _: &'a Credentials) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The gateway's public socket. The gateway runs as long as the fuzzer.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let path = folder.join("public");
    let settings = [
        ("HT_BACKEND__URL", "http://localhost/".to_owned()),
        ("HT_LISTEN", format!("unix:{}", path.display())),
        (
            "HT_INTERNAL__LISTEN",
            format!("unix:{}", folder.join("internal").display()),
        ),
        ("HT_THREADS", "1".to_owned()),
        ("HT_AUTH__FIRST_FRAME", "true".to_owned()),
    ];
    let sources = Sources {
        file: None,
        environment: settings
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        folder,
    };
    let config = sources.load().expect("a configuration");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rules = ForwardRules::of(&config.backend);
    let live = Live::new(LiveSettings::new(&config.server, rules));
    let sockets = InheritedSockets::default();
    let starting = Gateway::start(config.server, Some(Arc::new(Suspicious)), live, None, sockets);
    let gateway = runtime.block_on(starting).expect("a gateway");
    // Neither ends while the fuzzer runs.
    std::mem::forget((gateway, runtime));
    path
});

fuzz_target!(|bytes: &[u8]| {
    let mut stream = UnixStream::connect(&*SOCKET).expect("a gateway that listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(9)))
        .expect("a timeout");
    // It may close the connection before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let reset = ended
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
    assert!(
        ended.is_ok() || reset,
        "{ended:?}: not closed after the end of what was said"
    );
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "{}",
        answer.escape_ascii()
    );
});
