//! A gateway as a test needs it: a thread for each socket, and a fault on demand.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;
use tungstenite::Message;
use tungstenite::WebSocket;

/// What goes wrong, at the fifth trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Lose,
    Double,
    Swap,
    Misdirect,
    Close,
    Refuse,
    Forbid,
}

const FAULTY_TRIGGER: usize = 5;

struct Subscriber {
    socket: WebSocket<TcpStream>,
    request_id: String,
    room: Value,
}

/// A gateway on two ports. Its threads end with the test's process.
pub(crate) struct Double {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Double {
    pub(crate) fn start(fault: Fault) -> Self {
        let public = TcpListener::bind("127.0.0.1:0").unwrap();
        let internal = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            public: public.local_addr().unwrap(),
            internal: internal.local_addr().unwrap(),
        };
        let subscribers: Arc<Mutex<Vec<Subscriber>>> = Arc::default();
        let joining = Arc::clone(&subscribers);
        std::thread::spawn(move || {
            for stream in public.incoming() {
                let joining = Arc::clone(&joining);
                std::thread::spawn(move || join(stream.unwrap(), fault, &joining));
            }
        });
        std::thread::spawn(move || {
            let (stream, _) = internal.accept().unwrap();
            triggers(stream, fault, &subscribers);
        });
        double
    }
}

fn join(stream: TcpStream, fault: Fault, subscribers: &Mutex<Vec<Subscriber>>) {
    let mut socket = tungstenite::accept(stream).unwrap();
    let greeting = if fault == Fault::Forbid {
        r#"{"is_authorized": false}"#
    } else {
        r#"{"is_authorized": true, "allowed_rooms": []}"#
    };
    socket.send(Message::text(greeting)).unwrap();
    // A driver that was refused goes away.
    let Ok(message) = socket.read() else { return };
    let mut said: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    assert_eq!(said["type"], "subscribe");
    let request_id = said["requestId"].as_str().unwrap().to_owned();
    let room = said["room"].take();
    let mut subscribers = subscribers.lock().unwrap();
    socket
        .send(Message::text(r#"{"code": "success"}"#))
        .unwrap();
    subscribers.push(Subscriber {
        socket,
        request_id,
        room,
    });
}

fn triggers(mut stream: TcpStream, fault: Fault, subscribers: &Mutex<Vec<Subscriber>>) {
    let mut heard = Vec::new();
    let mut held = None;
    let mut buffer = [0; 4096];
    let mut number = 0;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            return;
        }
        heard.extend_from_slice(&buffer[..length]);
        while let Some(trigger) = take_request(&mut heard) {
            number += 1;
            let faulty = number == FAULTY_TRIGGER;
            if faulty && fault == Fault::Swap {
                held = Some(trigger);
            } else if !(faulty && fault == Fault::Lose) {
                deliver(&trigger, fault, faulty, &mut subscribers.lock().unwrap());
                if let Some(held) = held.take() {
                    deliver(&held, Fault::None, false, &mut subscribers.lock().unwrap());
                }
            }
            let status = if fault == Fault::Refuse && faulty {
                "500 No"
            } else {
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            // The driver may be gone already.
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn take_request(heard: &mut Vec<u8>) -> Option<Value> {
    let end = heard.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&heard[..end]).unwrap();
    assert!(head.starts_with("POST /trigger/ HTTP/1.1\r\n"), "{head}");
    let length = head.split_once("Content-Length: ").unwrap().1;
    let length: usize = length.split_once('\r').unwrap().0.parse().unwrap();
    let trigger = serde_json::from_slice(heard.get(end..end + length)?).unwrap();
    heard.drain(..end + length);
    Some(trigger)
}

fn deliver(trigger: &Value, fault: Fault, faulty: bool, all: &mut [Subscriber]) {
    let mut first = true;
    let other_id = all.last().unwrap().request_id.clone();
    for subscriber in all.iter_mut().filter(|s| s.room == trigger["rooms"][0]) {
        let mut request_id = subscriber.request_id.clone();
        if faulty && fault == Fault::Misdirect && first {
            request_id.clone_from(&other_id);
        }
        // Without the spaces that the real gateway writes: the driver must not care.
        let frame = format!(
            r#"{{"type":"publish","data":{},"requestId":"{request_id}"}}"#,
            trigger["data"]
        );
        if faulty && fault == Fault::Close && first {
            subscriber.socket.close(None).unwrap();
            subscriber.socket.flush().unwrap();
        } else {
            let _ = subscriber.socket.send(Message::text(frame.clone()));
        }
        if faulty && fault == Fault::Double && first {
            subscriber.socket.send(Message::text(frame)).unwrap();
        }
        first = false;
    }
}
