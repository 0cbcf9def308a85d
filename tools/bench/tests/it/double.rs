//! A gateway as a test needs it: a thread for each socket, and a fault on demand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket};

const EXTENSIONS: &str = "sec-websocket-extensions";

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
    /// Pings are not answered.
    Mute,
    /// The API is asked about one client less than a command selects.
    Forget,
}

const FAULTY_TRIGGER: usize = 5;

struct Subscriber {
    socket: WebSocket<TcpStream>,
    request_id: String,
    room: Value,
    deflate: bool,
}

/// A gateway on two ports. Its threads end with the test's process.
pub(crate) struct Double {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Double {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_with(fault, None)
    }

    /// One that asks this API again about clients that a command selects.
    pub(crate) fn start_with(fault: Fault, api: Option<SocketAddr>) -> Self {
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
            for stream in internal.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let subscribers = Arc::clone(&subscribers);
                std::thread::spawn(move || triggers(stream, fault, api, &subscribers));
            }
        });
        double
    }
}

fn join(stream: TcpStream, fault: Fault, subscribers: &Mutex<Vec<Subscriber>>) {
    stream.set_nodelay(true).unwrap();
    let mut deflate = false;
    // The library's type.
    #[allow(clippy::result_large_err)]
    let negotiate = |request: &Request, mut response: Response| {
        deflate = request.headers().contains_key(EXTENSIONS);
        if deflate {
            let taken = "permessage-deflate; server_no_context_takeover";
            response
                .headers_mut()
                .insert(EXTENSIONS, taken.parse().unwrap());
        }
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, negotiate).unwrap();
    let greeting = if fault == Fault::Forbid {
        r#"{"is_authorized": false}"#
    } else {
        r#"{"is_authorized": true, "allowed_rooms": []}"#
    };
    socket.send(Message::text(greeting)).unwrap();
    // A driver that was refused, or has seen enough, goes away.
    while let Ok(message) = socket.read() {
        let Ok(text) = message.to_text() else { return };
        if text == "ping" {
            if fault != Fault::Mute {
                socket.send(Message::text("pong")).unwrap();
            }
            continue;
        }
        // A close frame is answered by the next read.
        let Ok(mut said) = serde_json::from_str::<Value>(text) else {
            continue;
        };
        assert_eq!(said["type"], "subscribe");
        let mut subscribers = subscribers.lock().unwrap();
        socket
            .send(Message::text(r#"{"code": "success"}"#))
            .unwrap();
        let stream = socket.get_ref().try_clone().unwrap();
        subscribers.push(Subscriber {
            socket: WebSocket::from_raw_socket(stream, Role::Server, None),
            request_id: said["requestId"].as_str().unwrap().to_owned(),
            room: said["room"].take(),
            deflate,
        });
    }
}

/// Whether a subscription to `room` hears a trigger for `named`.
fn hears(room: &Value, named: &Value) -> bool {
    let (room, named) = (room.as_object().unwrap(), named.as_object().unwrap());
    room.len() == named.len()
        && room
            .iter()
            .all(|(key, value)| value == "*" || named[key] == "*" || named[key] == *value)
}

fn message(text: String, deflate: bool) -> Message {
    if !deflate {
        return Message::text(text);
    }
    let mut packed = Vec::with_capacity(text.len() + 64);
    flate2::Compress::new(flate2::Compression::fast(), false)
        .compress_vec(text.as_bytes(), &mut packed, flate2::FlushCompress::Sync)
        .unwrap();
    packed.truncate(packed.len() - 4);
    let header = FrameHeader {
        rsv1: true,
        opcode: OpCode::Data(Data::Text),
        ..FrameHeader::default()
    };
    Message::Frame(Frame::from_payload(header, packed.into()))
}

fn triggers(
    mut stream: TcpStream,
    fault: Fault,
    api: Option<SocketAddr>,
    subscribers: &Mutex<Vec<Subscriber>>,
) {
    let mut heard = Vec::new();
    let mut held = None;
    let mut buffer = [0; 4096];
    let mut number = 0;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            return;
        }
        heard.extend_from_slice(&buffer[..length]);
        if heard.starts_with(b"GET /metrics ") {
            if !heard.ends_with(b"\r\n\r\n") {
                continue;
            }
            let kept = 400 * subscribers.lock().unwrap().len();
            let line = format!("high_templar_client_bytes{{kind=\"credentials\"}} {kept}\n");
            let answer = format!("HTTP/1.1 200 OK\r\n\r\n{line}");
            return stream.write_all(answer.as_bytes()).unwrap();
        }
        while let Some(trigger) = take_request(&mut heard) {
            if trigger["command"] == "invalidate" {
                let selected = subscribers.lock().unwrap();
                let selected = selected.iter().filter(|one| one.room["id"] != "all");
                let matched = selected.count();
                let calls = matched - usize::from(fault == Fault::Forget);
                let within = Duration::from_millis(trigger["within"].as_u64().unwrap());
                std::thread::spawn(move || ask_again(api.unwrap(), calls, within));
                let body = format!(r#"{{"position": 1, "matched": {matched}}}"#);
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                return stream.write_all(answer.as_bytes()).unwrap();
            }
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

/// So many calls, evenly spread, each over a connection of its own.
fn ask_again(api: SocketAddr, calls: usize, within: Duration) {
    for number in 0..calls {
        std::thread::sleep(within / (calls as u32 + 1));
        let mut stream = TcpStream::connect(api).unwrap();
        let request = format!("GET /bootstrap/ HTTP/1.1\r\nCookie: sessionid={number}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
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
    for subscriber in all.iter_mut() {
        if !hears(&subscriber.room, &trigger["rooms"][0]) {
            continue;
        }
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
            let frame = message(frame.clone(), subscriber.deflate);
            let _ = subscriber.socket.send(frame);
        }
        if faulty && fault == Fault::Double && first {
            subscriber.socket.send(Message::text(frame)).unwrap();
        }
        first = false;
    }
}
