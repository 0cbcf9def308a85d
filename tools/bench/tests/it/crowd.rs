//! Clients that resume, against a gateway that answers them rightly or not.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ht_bench::client::{Crowd, FleetError};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

const MISSED: u64 = 3;
const CURSOR: &str = "k3f9ab-1742-aB3x";
const PATIENCE: Duration = Duration::from_millis(500);
const PROTOCOL: &str = "sec-websocket-protocol";

/// A gateway that answers a `resume` with these messages.
fn start(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answers = answers.clone();
            std::thread::spawn(move || serve(stream.unwrap(), answers));
        }
    });
    address
}

fn serve(stream: TcpStream, answers: Vec<String>) {
    // The library's type.
    #[allow(clippy::result_large_err)]
    let choose = |request: &Request, mut response: Response| {
        let offered = request.headers()[PROTOCOL].clone();
        assert_eq!(offered, "high-templar.v1");
        response.headers_mut().insert(PROTOCOL, offered);
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, choose).unwrap();
    let greeting = r#"{"is_authorized": true, "allowed_rooms": []}"#;
    socket.send(Message::text(greeting)).unwrap();
    let Ok(message) = socket.read() else { return };
    let said: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    assert_eq!(
        (&said["type"], &said["cursor"]),
        (&"resume".into(), &CURSOR.into())
    );
    assert_eq!(said["subscriptions"].as_array().unwrap().len(), 20);
    for answer in answers {
        // A client that has seen enough goes away.
        let _ = socket.send(Message::text(answer));
    }
    let _ = socket.read();
}

fn recovered(count: u64) -> String {
    format!(r#"{{"code": "success", "requestId": "r", "recovered": true, "replayed": {count}}}"#)
}

fn publication(number: u64) -> String {
    format!(r#"{{"type": "publish", "data": {number}, "requestId": 0, "cursor": "x"}}"#)
}

fn resume(answers: Vec<String>) -> Result<Duration, FleetError> {
    let mut crowd = Crowd::connect(start(answers), 5, 2, PATIENCE).unwrap();
    crowd.resume(CURSOR, MISSED)
}

#[test]
fn each_is_sent_what_it_missed() {
    let answers = [recovered(MISSED)].into_iter();
    let answers = answers.chain((0..MISSED).map(publication));
    resume(answers.collect()).unwrap();
}

#[test]
fn anything_else_is_a_failure() {
    let refused = r#"{"code": "success", "requestId": "r", "recovered": false, "reason": "age"}"#;
    for answers in [
        vec![refused.to_owned()],
        vec![recovered(2)],
        vec![recovered(MISSED), publication(1)],
        vec![recovered(MISSED), publication(0), publication(0)],
        vec![publication(0)],
    ] {
        let failure = resume(answers.clone()).unwrap_err();
        assert!(
            matches!(failure, FleetError::Join { .. }),
            "{answers:?}: {failure}"
        );
    }
    let failure = resume(vec![recovered(MISSED), publication(0)]).unwrap_err();
    assert!(
        matches!(
            failure,
            FleetError::Silent {
                joined: 0,
                wanted: 5
            }
        ),
        "{failure}"
    );
}
