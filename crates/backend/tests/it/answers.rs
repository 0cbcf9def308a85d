//! Responses: good, refusing, broken and lying.

use std::time::Duration;

use futures_util::future::join_all;
use ht_backend::{Answer, Backend, Credentials, Failure, Refusal, Waiting};
use tokio::net::TcpListener;

use crate::kit::{JSON, answer, ask, ask_about, backend, config, failure, gzip, rooms};
use crate::stub::{Reply, Stub};

fn failed(kind: &str) -> Result<String, String> {
    Err(format!("failed: {kind}"))
}

#[tokio::test]
async fn an_admission_has_its_rooms_and_its_user() {
    let body = br#"{"user": {"id": 7}, "allowed_rooms": [{"a": 1.0}]}"#;
    let stub = Stub::tcp(move |_| Reply::Send(answer(200, JSON, body))).await;
    let got = backend(&stub, |_| {})
        .bootstrap(&Credentials::default())
        .await;
    let Answer::Admitted(admission) = got else {
        panic!("admitted, not {got:?}");
    };
    assert_eq!(admission.allowed_rooms, r#"[{"a": 1.0}]"#);
    assert_eq!(admission.user_id.as_deref(), Some("7"));
}

#[tokio::test]
async fn every_way_to_frame_a_body_is_read() {
    let body = br#"{"allowed_rooms": [1]}"#;
    let (half, rest) = body.split_at(9);
    let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let zipped = gzip(body);
    let zipped_head = format!("{head}Content-Encoding: gzip\r\n");
    for reply in [
        Reply::Send(answer(200, JSON, body)),
        Reply::Pieces(vec![
            answer(200, JSON, body)[..70].into(),
            answer(200, JSON, body)[70..].into(),
        ]),
        Reply::Pieces(vec![
            chunked,
            chunk(half),
            chunk(rest),
            b"0\r\n\r\n".to_vec(),
        ]),
        Reply::Close([format!("{head}\r\n").as_bytes(), body].concat()),
        Reply::Close([format!("HTTP/1.0 200 OK\r\n{JSON}\r\n").as_bytes(), body].concat()),
        Reply::Send(
            [
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(),
                answer(200, JSON, body),
            ]
            .concat(),
        ),
        Reply::Send(answer(
            200,
            &format!("{JSON}Content-Encoding: gzip\r\n"),
            &zipped,
        )),
        Reply::Close([format!("{zipped_head}\r\n").as_bytes(), &zipped].concat()),
        Reply::Pieces(vec![
            format!("{zipped_head}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
            chunk(&zipped[..15]),
            chunk(&zipped[15..]),
            b"0\r\n\r\n".to_vec(),
        ]),
    ] {
        assert_eq!(ask_about(reply).await, Ok("[1]".into()));
    }
}

#[tokio::test]
async fn any_other_status_about_the_client_refuses() {
    for status in [
        201, 202, 204, 206, 300, 304, 305, 400, 401, 402, 403, 404, 405, 406, 409, 410, 413, 414,
        415, 418, 422, 431, 451,
    ] {
        let reply = match status {
            204 | 304 => format!("HTTP/1.1 {status} X\r\n\r\n").into_bytes(),
            _ => answer(status, JSON, br#"{"allowed_rooms": [1]}"#),
        };
        let stub = Stub::tcp(move |_| Reply::Send(reply.clone())).await;
        let got = backend(&stub, |_| {})
            .bootstrap(&Credentials::default())
            .await;
        let Answer::Refused(refusal) = got else {
            panic!("{status}: refused, not {got:?}");
        };
        assert_eq!(refusal, Refusal::Status(status));
        assert_eq!(
            refusal.to_string(),
            format!("the backend answered with status {status}")
        );
    }
}

/// A server error, or one of the client errors that are not about who the client is.
#[tokio::test]
async fn a_status_that_is_not_about_the_client_fails() {
    let date = "Date: Fri, 31 Dec 1999 23:59:50 GMT\r\n";
    let at = format!("{date}Retry-After: Sat, 01 Jan 2000 00:00:02 GMT\r\n");
    let over = format!("{date}Retry-After: Fri, 31 Dec 1999 23:59:40 GMT\r\n");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (status, headers, retry_after) in [
        (500, "", None),
        (501, "Retry-After: 7\r\n", seconds(7)),
        (502, "Retry-After:   0  \r\n", seconds(0)),
        (
            503,
            "Retry-After: 99999999999999999999999\r\n",
            seconds(300),
        ),
        (503, "Retry-After: 301\r\n", seconds(300)),
        (504, "Retry-After: soon\r\n", None),
        (503, "Retry-After: -5\r\n", None),
        (503, "Retry-After: 1.5\r\n", None),
        (503, "Retry-After:\r\n", None),
        (503, &at, seconds(12)),
        (503, &over, None),
        (503, "Retry-After: Sat, 01 Jan 2000 00:00:02 GMT\r\n", None),
        (599, "", None),
        (407, "", None),
        (408, "", None),
        (421, "", None),
        (425, "", None),
        (429, "Retry-After: 30\r\n", seconds(30)),
    ] {
        let reply = Reply::Send(answer(status, headers, b"<html>"));
        let stub = Stub::tcp(move |_| reply.clone()).await;
        let failure = failure(&backend(&stub, |_| {})).await;
        let expected = Failure::Status {
            status,
            retry_after,
        };
        assert_eq!(failure, expected, "{status} {headers}");
        assert_eq!(failure.is_outage(), (502..=504).contains(&status));
        assert!(failure.to_string().contains(&status.to_string()));
    }
}

#[tokio::test]
async fn rooms_other_than_a_list_refuse() {
    for value in ["null", "1", "\"*\"", "{}"] {
        let got = ask_about(Reply::Send(rooms(value))).await;
        assert_eq!(got, Err("refused: allowed-rooms".into()), "{value}");
    }
}

#[tokio::test]
async fn unusable_bodies_fail() {
    let json = |body: &[u8]| Reply::Send(answer(200, JSON, body));
    let html = answer(200, "Content-Type: text/html; charset=utf-8\r\n", b"<html>");
    let brotli = answer(200, &format!("{JSON}Content-Encoding: br\r\n"), b"x");
    let bomb = gzip(&vec![b' '; 1_000_000]);
    let bomb = answer(200, &format!("{JSON}Content-Encoding: gzip\r\n"), &bomb);
    let cut = gzip(&b"{}  ".repeat(50));
    let cut = answer(
        200,
        &format!("{JSON}Content-Encoding: gzip\r\n"),
        &cut[..20],
    );
    let table = [
        (json(b""), "not-json"),
        (json(b"<html>"), "not-json"),
        (json(b"{\"allowed_rooms\": ["), "not-json"),
        (json(b"[]"), "not-object"),
        (json(b"{\"x\": \"\xe9\"}"), "not-utf-8"),
        (Reply::Send(html), "content-type"),
        (Reply::Send(answer(200, "", b"{}")), "content-type"),
        (Reply::Send(brotli), "encoding"),
        (Reply::Send(bomb), "too-large"),
        (Reply::Send(cut), "truncated"),
        (json(&vec![b' '; 100_001]), "too-large"),
    ];
    for (reply, kind) in table {
        assert_eq!(ask_about(reply).await, failed(kind));
    }
}

#[tokio::test]
async fn lies_about_the_length_fail() {
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}");
    let short = format!("{head}Content-Length: 50\r\n\r\n{{\"allowed_rooms\": []}}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n40\r\n{{}}");
    let no_end = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n");
    let bad_size = format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n");
    let huge = format!("{head}Content-Length: 99999999999\r\n\r\n");
    let two = format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x");
    let table = [
        (Reply::Close(short.into()), "truncated"),
        (Reply::Close(chunked.into()), "truncated"),
        (Reply::Close(no_end.into()), "truncated"),
        (Reply::Close(bad_size.into()), "protocol"),
        (Reply::Hang(huge.into()), "too-large"),
        (Reply::Close(two.into()), "protocol"),
    ];
    for (reply, kind) in table {
        assert_eq!(ask_about(reply).await, failed(kind));
    }
}

#[tokio::test]
async fn endless_answers_end_at_a_bound() {
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}");
    let body = Reply::Endless(format!("{head}\r\n").into(), vec![b' '; 10_000]);
    assert_eq!(ask_about(body).await, failed("too-large"));
    let chunks = Reply::Endless(
        format!("{head}Transfer-Encoding: chunked\r\n\r\n").into(),
        b"1\r\n \r\n".repeat(1000),
    );
    assert_eq!(ask_about(chunks).await, failed("too-large"));
    let headers = Reply::Endless(head.into(), b"X-Filler: yes\r\n".repeat(100));
    assert_eq!(ask_about(headers).await, failed("protocol"));
    let line = Reply::Endless(b"HTTP/1.1 200 ".into(), vec![b'a'; 10_000]);
    assert_eq!(ask_about(line).await, failed("protocol"));
    let hints = Reply::Endless(Vec::new(), b"HTTP/1.1 103 Hint\r\n\r\n".repeat(1000));
    let stub = Stub::tcp(move |_| hints.clone()).await;
    let backend = backend(&stub, |config| config.timeout = Duration::from_millis(300));
    assert_eq!(ask(&backend).await, failed("timeout"));
}

#[tokio::test]
async fn anything_but_http_fails() {
    for (bytes, kind) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "protocol"),
        (b"HTTP/9.9 200 OK\r\n\r\n", "protocol"),
        (b"\x15\x04\x01\x00\x02\x02\x28", "protocol"),
        // An alert: the port speaks TLS.
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls"),
    ] {
        let answer = ask_about(Reply::Close(bytes.into())).await;
        assert_eq!(answer, failed(kind), "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_fails() {
    for reply in [
        Reply::Close(Vec::new()),
        Reply::Close(b"HTTP/1.1 20".into()),
        Reply::Reset,
    ] {
        assert_eq!(ask_about(reply).await, failed("closed"));
    }
}

#[tokio::test]
async fn a_refused_connection_fails() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}/");
    let backend = ht_backend::HttpBackend::new(config(&url, |_| {})).unwrap();
    let failure = failure(&backend).await;
    assert_eq!(failure.kind().as_str(), "connect");
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_timeout_names_its_phase() {
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 9\r\n\r\n{{");
    let cases = [
        (Reply::Hang(Vec::new()), Waiting::Head),
        (Reply::Hang(b"HTTP/1.1 200 OK\r\n".into()), Waiting::Head),
        (Reply::Hang(head.into()), Waiting::Body),
    ];
    let tells = cases.map(|(reply, waiting)| async move {
        let stub = Stub::tcp(move |_| reply.clone()).await;
        let within = Duration::from_secs(2);
        let got = failure(&backend(&stub, |config| config.timeout = within)).await;
        assert_eq!(got, Failure::Timeout { within, waiting });
        stub.until(|log| log.closed == 1).await;
    });
    join_all(tells).await;
}

#[tokio::test]
async fn messages_contain_nothing_of_the_body() {
    let table = [
        answer(200, JSON, b"\"sessionid=secret\""),
        answer(200, JSON, b"{\"a\": secret}"),
        answer(200, JSON, b"{\"secret\": {\"allowed_rooms\": 1"),
        answer(200, "Content-Type: text/html\r\n", b"secret"),
        b"secret\r\n\r\n".to_vec(),
    ];
    for reply in table {
        let stub = Stub::tcp(move |_| Reply::Close(reply.clone())).await;
        let failure = failure(&backend(&stub, |_| {})).await;
        assert!(
            !format!("{failure} {failure:?}").contains("secret"),
            "{failure}"
        );
    }
}
