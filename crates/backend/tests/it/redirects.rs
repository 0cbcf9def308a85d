//! Redirects: followed at home, refused abroad.

use ht_backend::{Backend, Elsewhere, Refusal};

use crate::kit::{admit, answer, ask, backend, credentials, refusal, rooms, told};
use crate::stub::{Reply, Seen, Stub};

fn to(status: u16, location: &str) -> Reply {
    let header = format!("Location: {location}\r\nContent-Type: text/html\r\n");
    Reply::Send(answer(status, &header, b"<a href=elsewhere>"))
}

#[tokio::test]
async fn the_same_origin_is_followed_with_the_same_headers() {
    for status in [301, 302, 303, 307, 308] {
        let stub = Stub::tcp(move |seen: &Seen| match &*seen.target {
            "/api/bootstrap/" => to(status, "../v2/bootstrap/?page=1"),
            "/api/v2/bootstrap/?page=1" => Reply::Send(rooms("[2]")),
            other => panic!("{other}"),
        })
        .await;
        let backend = backend(&stub, |config| config.url.push_str("api/"));
        let forwarded = credentials(&[("cookie", "a=1"), ("authorization", "Token t")]);
        assert_eq!(told(backend.bootstrap(&forwarded).await), Ok("[2]".into()));

        let log = stub.log();
        assert_eq!((log.requests.len(), log.opened), (2, 1), "one connection");
        assert_eq!(log.requests[0].headers, log.requests[1].headers);
        assert_eq!(log.requests[1].method, "GET");
    }
}

#[tokio::test]
async fn an_absolute_location_of_the_same_origin_is_followed() {
    let stub = Stub::tcp(|seen: &Seen| {
        let host = String::from_utf8(seen.header("host").unwrap().to_vec()).unwrap();
        match seen.nth {
            0 => to(302, &format!("http://{host}/there")),
            _ => Reply::Send(rooms("[1]")),
        }
    })
    .await;
    assert_eq!(ask(&backend(&stub, |_| {})).await, Ok("[1]".into()));
    assert_eq!(stub.log().requests[1].target, "/there");
}

#[tokio::test]
async fn another_origin_is_never_called() {
    let other = Stub::tcp(admit).await;
    let location = format!("{}login/?next=/api/&token=secret", other.url);
    let stub = Stub::tcp(move |_| to(302, &location)).await;
    let refusal = refusal(&backend(&stub, |_| {})).await;
    let location = format!("{}login/", other.url);
    let sentence = refusal.to_string();
    assert!(sentence.contains(&location), "{sentence}");
    assert!(refusal.advice().contains("login page"), "{refusal:?}");
    assert!(!sentence.contains("secret"), "{sentence}");
    let elsewhere = Elsewhere::Other;
    let expected = Refusal::Redirect {
        location,
        elsewhere,
    };
    assert_eq!(refusal, expected);
    assert_eq!(other.log().opened, 0);
    assert_eq!(stub.log().requests.len(), 1);
}

#[tokio::test]
async fn five_are_followed_and_not_six() {
    for (wanted, count) in [
        (Ok("[]".to_owned()), 5),
        (Err("refused: redirect".into()), 6),
    ] {
        let stub = Stub::tcp(move |seen: &Seen| match seen.nth < count {
            true => to(302, &format!("/{}", seen.nth + 1)),
            false => Reply::Send(rooms("[]")),
        })
        .await;
        assert_eq!(ask(&backend(&stub, |_| {})).await, wanted);
        assert_eq!(stub.log().requests.len(), 6);
    }
    let stub = Stub::tcp(|_| to(307, "/round?secret")).await;
    let location = "/round".into();
    assert_eq!(
        refusal(&backend(&stub, |_| {})).await,
        Refusal::RedirectLoop { location }
    );
}

/// The usual response of an API to a client that is not signed in: a redirect to a login page.
#[tokio::test]
async fn a_redirect_that_does_not_end_in_json_is_a_refusal() {
    for (status, headers, content_type) in [
        (
            200,
            "Content-Type: text/html; charset=utf-8\r\n",
            Some("text/html"),
        ),
        (
            200,
            "Content-Type: application/xhtml+xml\r\n",
            Some("application/xhtml+xml"),
        ),
        (200, "", None),
    ] {
        let stub = Stub::tcp(move |seen: &Seen| match seen.nth {
            0 => to(302, "/accounts/login/?next=/bootstrap/"),
            _ => Reply::Send(answer(status, headers, b"<form>")),
        })
        .await;
        let refusal = refusal(&backend(&stub, |_| {})).await;
        let expected = Refusal::LoginPage {
            location: "/accounts/login/".into(),
            content_type: content_type.map(str::to_owned),
        };
        assert_eq!(refusal, expected);
        assert!(
            refusal.to_string().contains("/accounts/login/"),
            "{refusal}"
        );
    }
    for (status, wanted) in [
        (403, "refused: status"),
        (404, "refused: status"),
        (500, "failed: server-error"),
    ] {
        let stub = Stub::tcp(move |seen: &Seen| match seen.nth {
            0 => to(302, "/elsewhere/"),
            _ => Reply::Send(answer(status, "Content-Type: text/html\r\n", b"<html>")),
        })
        .await;
        assert_eq!(ask(&backend(&stub, |_| {})).await, Err(wanted.into()));
    }
}

#[tokio::test]
async fn a_redirect_without_a_location_is_a_status() {
    let stub = Stub::tcp(|_| Reply::Send(answer(302, "", b""))).await;
    assert_eq!(
        ask(&backend(&stub, |_| {})).await,
        Err("refused: status".into())
    );
}
