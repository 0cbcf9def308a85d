//! The API behind a unix socket.

use std::path::PathBuf;

use ht_backend::HttpBackend;
use ht_backend::config::BackendConfig;

use crate::kit::{admit, ask, config, failure, rooms};
use crate::stub::{Reply, Seen, Stub};

/// A path for a socket in a folder of its own, removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(test: &str) -> Self {
        let name = format!("ht-backend-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder.join("api.sock"))
    }

    fn backend(&self) -> HttpBackend {
        let path = self.0.clone();
        let edit = |config: &mut BackendConfig| config.socket = Some(path);
        HttpBackend::new(config("http://api.test:8000/prefix/", edit)).unwrap()
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if let Some(folder) = self.0.parent() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

#[tokio::test]
async fn the_url_still_gives_the_prefix_and_the_host() {
    let path = SocketPath::new("prefix");
    let stub = Stub::unix(path.0.clone(), admit).await;
    let backend = path.backend();
    for _ in 0..3 {
        assert_eq!(ask(&backend).await, Ok("[]".into()));
    }
    let log = stub.log();
    assert_eq!((log.requests.len(), log.opened), (3, 1));
    assert_eq!(log.requests[0].target, "/prefix/bootstrap/");
    assert_eq!(log.requests[0].header("host"), Some(&b"api.test:8000"[..]));
}

#[tokio::test]
async fn a_stale_connection_is_retried() {
    let path = SocketPath::new("stale");
    let stub = Stub::unix(path.0.clone(), |seen: &Seen| match seen.nth {
        0 => Reply::Send(rooms("[1]")),
        _ => Reply::Close(Vec::new()),
    })
    .await;
    let backend = path.backend();
    for _ in 0..3 {
        assert_eq!(ask(&backend).await, Ok("[1]".into()));
    }
    assert!(stub.log().opened >= 2);
}

#[tokio::test]
async fn an_absent_socket_is_named() {
    let path = SocketPath::new("absent");
    let failure = failure(&path.backend()).await;
    assert_eq!(failure.kind().as_str(), "connect");
    assert!(
        failure.to_string().contains(path.0.to_str().unwrap()),
        "{failure}"
    );
}
