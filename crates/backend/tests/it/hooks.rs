//! The calls at connect, ping and disconnect.

use std::time::Duration;

use ht_backend::config::{BackendConfig, HookCall};
use ht_backend::{Backend, Credentials, Failure, Hook, Waiting};
use http::Method;

use crate::kit::{answer, ask, backend, credentials, guarded, rooms};
use crate::stub::{Reply, Seen, Stub};

fn hooks(config: &mut BackendConfig) {
    let call = |path: &str| {
        Some(HookCall {
            method: Method::POST,
            path: path.into(),
        })
    };
    config.hooks.connect = call("user/notify_online/");
    config.hooks.ping = call("user/notify_online/");
    config.hooks.disconnect = call("user/notify_offline/");
    config.hooks.timeout = Duration::from_secs(20);
}

async fn call(backend: &impl Backend, hook: Hook) -> Result<(), Failure> {
    backend.hook(hook, &Credentials::default()).await
}

#[tokio::test]
async fn a_hook_posts_nothing_with_the_headers_of_the_bootstrap_call() {
    let stub = Stub::tcp(|_| Reply::Send(rooms("[]"))).await;
    let backend = backend(&stub, |config| {
        hooks(config);
        config.url.push_str("api/");
    });
    let visitor = credentials(&[("cookie", "a=1"), ("authorization", "Token t")]);
    let _ = backend.bootstrap(&visitor).await;
    for hook in [Hook::Connect, Hook::Ping, Hook::Disconnect] {
        assert!(backend.has_hook(hook));
        assert_eq!(backend.hook(hook, &visitor).await, Ok(()));
    }
    let log = stub.log();
    assert_eq!(log.opened, 1, "they share the connection");
    let targets: Vec<_> = log.requests[1..].iter().map(|seen| &*seen.target).collect();
    assert_eq!(
        targets,
        [
            "/api/user/notify_online/",
            "/api/user/notify_online/",
            "/api/user/notify_offline/"
        ]
    );
    for seen in &log.requests[1..] {
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.header("content-length"), Some(&b"0"[..]));
        let mut headers = seen.headers.clone();
        headers.remove("content-length");
        assert_eq!(headers, log.requests[0].headers);
    }
}

#[tokio::test]
async fn an_unconfigured_hook_is_not_called() {
    let stub = Stub::tcp(|_| Reply::Send(rooms("[]"))).await;
    let backend = backend(&stub, |_| {});
    for hook in [Hook::Connect, Hook::Ping, Hook::Disconnect] {
        assert!(!backend.has_hook(hook));
        assert_eq!(call(&backend, hook).await, Ok(()));
    }
    assert_eq!(stub.log().opened, 0);
}

#[tokio::test]
async fn the_status_and_the_body_do_not_matter() {
    for reply in [
        Reply::Send(answer(500, "", b"error")),
        Reply::Send(answer(404, "", b"")),
        Reply::Send(answer(302, "Location: http://other.test/\r\n", b"")),
        Reply::Send(b"HTTP/1.1 204 X\r\n\r\n".into()),
        Reply::Close(b"HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\nshort".into()),
        Reply::Hang(b"HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\nshort".into()),
        Reply::Endless(b"HTTP/1.1 200 X\r\n\r\n".into(), vec![b'x'; 10_000]),
    ] {
        let stub = Stub::tcp(move |_| reply.clone()).await;
        let backend = backend(&stub, hooks);
        assert_eq!(call(&backend, Hook::Connect).await, Ok(()));
        assert_eq!(stub.log().requests.len(), 1);
    }
}

#[tokio::test]
async fn no_answer_is_a_failure() {
    let stub = Stub::tcp(|_| Reply::Hang(Vec::new())).await;
    let within = Duration::from_secs(2);
    let slow = backend(&stub, |config| {
        hooks(config);
        config.hooks.timeout = within;
    });
    let waiting = Waiting::Head;
    assert_eq!(
        call(&slow, Hook::Ping).await,
        Err(Failure::Timeout { within, waiting })
    );
    stub.until(|log| log.closed == 1).await;

    let stub = Stub::tcp(|_| Reply::Close(Vec::new())).await;
    let closed = backend(&stub, hooks);
    assert_eq!(call(&closed, Hook::Ping).await, Err(Failure::Closed));
}

/// The backend closes a kept connection for being idle while a hook is on its way.
#[tokio::test]
async fn a_hook_that_passes_the_close_of_an_idle_connection_is_sent_again() {
    for end in [Reply::Close(Vec::new()), Reply::Reset] {
        let stub = Stub::tcp(move |seen: &Seen| match (seen.connection, seen.nth) {
            (_, 0) => Reply::Send(rooms("[]")),
            _ => end.clone(),
        })
        .await;
        let backend = backend(&stub, hooks);
        assert!(ask(&backend).await.is_ok());
        assert_eq!(call(&backend, Hook::Connect).await, Ok(()));
        let log = stub.log();
        assert_eq!((log.requests.len(), log.opened), (3, 2));
        assert_eq!(log.requests[1].headers, log.requests[2].headers);
    }
}

#[tokio::test]
async fn a_hook_that_the_backend_took_is_not_sent_twice() {
    // A fresh connection, a part of an answer, a close after longer than a round trip.
    for (fresh, end) in [
        (true, Reply::Close(Vec::new())),
        (true, Reply::Reset),
        (false, Reply::Close(b"HTT".into())),
        (false, Reply::Close(b"HTTP/1.1 200 X\r\nContent-".into())),
        (false, Reply::CloseAfter(Duration::from_millis(1_200))),
    ] {
        let stub = Stub::tcp(move |seen: &Seen| match seen.nth {
            0 if !fresh => Reply::Send(rooms("[]")),
            _ => end.clone(),
        })
        .await;
        let backend = backend(&stub, hooks);
        if !fresh {
            assert!(ask(&backend).await.is_ok());
        }
        assert_eq!(call(&backend, Hook::Connect).await, Err(Failure::Closed));
        let log = stub.log();
        let hooks = log.requests.iter().filter(|seen| seen.method == "POST");
        assert_eq!((hooks.count(), log.opened), (1, 1));
    }
}

#[tokio::test]
async fn a_connection_that_was_idle_for_longer_than_servers_keep_one_is_not_used_again() {
    let stub = Stub::tcp(|_| Reply::Send(rooms("[]"))).await;
    let backend = backend(&stub, hooks);
    assert!(ask(&backend).await.is_ok());
    tokio::time::pause();
    // Less than gunicorn's default, which is the shortest of all; in steps, so that the client's
    // own timers run in between.
    for _ in 0..19 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    tokio::time::resume();
    assert_eq!(call(&backend, Hook::Connect).await, Ok(()));
    assert_eq!(stub.log().opened, 2);
}

#[tokio::test]
async fn a_hook_uses_a_new_connection_when_the_old_one_was_closed() {
    let stub = Stub::tcp(|_| Reply::Close(rooms("[]"))).await;
    let backend = backend(&stub, hooks);
    for calls in 1..=10 {
        assert_eq!(call(&backend, Hook::Ping).await, Ok(()));
        stub.until(|log| log.closed == calls).await;
    }
    assert_eq!(stub.log().requests.len(), 10);
}

#[tokio::test]
async fn hooks_need_no_slot() {
    let stub = Stub::tcp(|seen: &Seen| match &*seen.method {
        "GET" => Reply::Hang(Vec::new()),
        _ => Reply::Send(answer(200, "", b"")),
    })
    .await;
    let backend = guarded(&stub, |config| {
        hooks(config);
        config.guard.max_in_flight = 1;
    });
    let nobody = Credentials::default();
    tokio::select! {
        _ = backend.bootstrap(&nobody) => panic!("the stub hangs"),
        done = async {
            stub.until(|log| log.in_flight == 1).await;
            call(&backend, Hook::Disconnect).await
        } => assert_eq!(done, Ok(())),
    }
}
