//! Settings, responses and small helpers for the tests.

use std::io::Write;
use std::time::Duration;

use ht_backend::config::{BackendConfig, GuardConfig, HookCalls};
use ht_backend::{
    Answer, Backend, Credentials, FORWARD_BYTES_MAX, Failure, Guard, HttpBackend, Refusal,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::stub::{Reply, Seen, Stub};

/// Settings for tests: generous in time, `edit` for the rest.
pub(crate) fn config(url: &str, edit: impl FnOnce(&mut BackendConfig)) -> BackendConfig {
    let mut config = BackendConfig {
        url: url.into(),
        socket: None,
        bootstrap: "bootstrap/".into(),
        timeout: Duration::from_secs(20),
        user_id_path: BackendConfig::default_user_id_path().into(),
        headers: BackendConfig::default_headers().into(),
        forward_bytes_max: FORWARD_BYTES_MAX,
        guard: GuardConfig::default(),
        answer_bytes_max: 100_000,
        tls_verify: true,
        tls_ca_file: None,
        hooks: HookCalls::default(),
    };
    edit(&mut config);
    config
}

pub(crate) fn backend(stub: &Stub, edit: impl FnOnce(&mut BackendConfig)) -> HttpBackend {
    HttpBackend::new(config(&stub.url, edit)).unwrap()
}

/// The same behind a guard.
pub(crate) fn guarded(stub: &Stub, edit: impl FnOnce(&mut BackendConfig)) -> Guard {
    Guard::http(config(&stub.url, edit)).unwrap()
}

pub(crate) fn credentials(headers: &[(&'static str, &'static str)]) -> Credentials {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect();
    headers.into()
}

/// The rooms of an admission; anything else as a word with its kind.
pub(crate) fn told(answer: Answer) -> Result<String, String> {
    match answer {
        Answer::Admitted(admission) => {
            Ok(String::from_utf8(admission.allowed_rooms.to_vec()).unwrap())
        }
        Answer::Refused(refusal) => Err(format!("refused: {}", refusal.kind().as_str())),
        Answer::Failed(failure) => Err(format!("failed: {}", failure.kind().as_str())),
    }
}

pub(crate) async fn ask(backend: &impl Backend) -> Result<String, String> {
    told(backend.bootstrap(&Credentials::default()).await)
}

/// Calls as a client of its own, which shares no call with another.
pub(crate) async fn visit(backend: &impl Backend, number: usize) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("x-real-ip", number.into());
    backend.bootstrap(&headers.into()).await
}

pub(crate) async fn failure(backend: &impl Backend) -> Failure {
    failed(backend.bootstrap(&Credentials::default()).await)
}

/// The refusal of an answer, which must be one.
pub(crate) async fn refusal(backend: &impl Backend) -> Refusal {
    match backend.bootstrap(&Credentials::default()).await {
        Answer::Refused(refusal) => refusal,
        other @ (Answer::Admitted(_) | Answer::Failed(_)) => panic!("refused, not {other:?}"),
    }
}

/// The failure of an answer, which must be one.
pub(crate) fn failed(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(failure) => failure,
        other @ (Answer::Admitted(_) | Answer::Refused(_)) => panic!("failed, not {other:?}"),
    }
}

/// Calls a stub that always sends this reply; a guard does not change it.
pub(crate) async fn ask_about(reply: Reply) -> Result<String, String> {
    let stub = Stub::tcp(move |_| reply.clone()).await;
    let told = ask(&backend(&stub, |_| {})).await;
    assert_eq!(told, ask(&guarded(&stub, |_| {})).await);
    told
}

/// An answer with these header lines and a matching length.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// An admission with these rooms.
pub(crate) fn rooms(rooms: &str) -> Vec<u8> {
    let body = format!(r#"{{"allowed_rooms": {rooms}}}"#);
    answer(200, JSON, body.as_bytes())
}

/// A script that admits everybody.
pub(crate) fn admit(_: &Seen) -> Reply {
    Reply::Send(rooms("[]"))
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
