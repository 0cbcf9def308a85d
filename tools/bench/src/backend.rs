//! A minimal API behind the gateway, which admits every client immediately.

mod calls;

use std::collections::VecDeque;
use std::io;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

pub use self::calls::{BUSIEST, Calls, Counted};
use crate::workload::Grants;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Maximum request head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A running API; ends when dropped.
#[derive(Debug)]
pub struct StubBackend {
    address: SocketAddr,
    calls: Arc<Calls>,
    waker: Arc<Waker>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How it responds.
struct Api {
    grants: Grants,
    answer_after: Duration,
    calls: Arc<Calls>,
    callers: Slab<Caller>,
    /// Responses in the order of their moments, and for whom.
    due: VecDeque<(Instant, CallerId, String)>,
    /// Callers so far.
    number: u64,
}

/// The slot of a caller, and its number.
type CallerId = (usize, u64);

#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    heard: Vec<u8>,
    number: u64,
}

impl StubBackend {
    /// Starts it on a free port of 127.0.0.1, in a thread of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(grants: Grants, answer_after: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        let stopped = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(Calls::default());
        let api = Api {
            grants,
            answer_after,
            calls: Arc::clone(&calls),
            callers: Slab::new(),
            due: VecDeque::new(),
            number: 0,
        };
        let thread = std::thread::Builder::new()
            .name("backend".to_owned())
            .spawn({
                let stopped = Arc::clone(&stopped);
                move || {
                    if let Err(error) = api.serve(poll, &listener, &stopped) {
                        // The gateway then refuses clients, and the run fails.
                        eprintln!("stub backend: {error}");
                    }
                }
            })?;
        Ok(Self {
            address,
            calls,
            waker,
            stopped,
            thread: Some(thread),
        })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls that it received.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }
}

impl Drop for StubBackend {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Api {
    fn serve(
        mut self,
        mut poll: Poll,
        listener: &TcpListener,
        stopped: &AtomicBool,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !stopped.load(Ordering::Acquire) {
            let due = self.due.front().map(|(due, ..)| *due);
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept(&poll, listener)?,
                    Token(key) => self.read(key),
                }
            }
            self.respond();
        }
        Ok(())
    }

    fn accept(&mut self, poll: &Poll, listener: &TcpListener) -> io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let entry = self.callers.vacant_entry();
            let token = Token(entry.key());
            poll.registry()
                .register(&mut stream, token, Interest::READABLE)?;
            self.number += 1;
            entry.insert(Caller {
                stream,
                heard: Vec::new(),
                number: self.number,
            });
        }
        Ok(())
    }

    /// Takes every complete request of a caller. An error ends its connection.
    fn read(&mut self, key: usize) {
        let Some(caller) = self.callers.get_mut(key) else {
            return;
        };
        let (grants, due) = (self.grants, Instant::now() + self.answer_after);
        let id = (key, caller.number);
        let read = caller.read(|head, body| {
            self.calls.begin();
            self.due.push_back((due, id, answer(head, body, grants)));
        });
        if read.is_err() {
            // Its last requests may have arrived with its end.
            self.respond();
            self.callers.try_remove(key);
        }
    }

    /// Sends the responses whose moment has come.
    fn respond(&mut self) {
        while let Some((due, (key, number), answer)) = self.due.pop_front() {
            if due > Instant::now() {
                self.due.push_front((due, (key, number), answer));
                return;
            }
            self.calls.end();
            let caller = self.callers.get_mut(key);
            // A response is short and awaited, so it fits.
            if let Some(caller) = caller.filter(|caller| caller.number == number)
                && caller.stream.write_all(answer.as_bytes()).is_err()
            {
                self.callers.remove(key);
            }
        }
    }
}

impl Caller {
    /// Reads every complete request. An error ends the connection.
    fn read(&mut self, mut take: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            while let Some((head, whole)) = request(&self.heard) {
                take(&self.heard[..head], &self.heard[head..whole]);
                self.heard.drain(..whole);
            }
            if self.heard.len() > HEAD_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// The lengths of the head of the first request and of all of it; `None` when it is not whole.
fn request(heard: &[u8]) -> Option<(usize, usize)> {
    let head = heard.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&heard[..head]);
    let body = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let whole = head.saturating_add(body);
    (heard.len() >= whole).then_some((head, whole))
}

/// The response to one request.
fn answer(head: &[u8], body: &[u8], grants: Grants) -> String {
    let head = String::from_utf8_lossy(head);
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let mut kind = "application/json";
    let (status, body) = match method {
        Some("GET") if path.ends_with("/bootstrap/") => ("200 OK", grants.bootstrap(user(&head))),
        Some("POST") if path.contains("/user/notify_") => ("200 OK", "{}".to_owned()),
        Some("POST") if path.starts_with("/ws/") => {
            kind = "application/websocket-events\r\nSec-WebSocket-Extensions: grip";
            ("200 OK", websocket_events(path, body))
        }
        Some(_) | None => ("404 Not Found", "{}".to_owned()),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The response of an origin behind pushpin: WebSocket events over HTTP. A client that opens a
/// WebSocket is admitted and subscribed to the room in the URL; other events are accepted.
fn websocket_events(path: &str, events: &[u8]) -> String {
    if !events.starts_with(b"OPEN\r\n") {
        return String::new();
    }
    let room = path.split_once("?room=").map_or("", |(_, room)| room);
    let subscribe = format!(r#"c:{{"type":"subscribe","channel":"{room}"}}"#);
    format!("OPEN\r\nTEXT {:x}\r\n{subscribe}\r\n", subscribe.len())
}

/// The user, from the cookie that clients send.
fn user(head: &str) -> &str {
    let rest = head.split_once("sessionid=").map_or("", |(_, rest)| rest);
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_kept_connection_is_answered() {
        let backend = StubBackend::start(Grants::Own, Duration::ZERO).unwrap();
        let mut stream = std::net::TcpStream::connect(backend.address()).unwrap();
        let request =
            |who| format!("GET /api/bootstrap/ HTTP/1.1\r\nCookie: sessionid={who}; a=b\r\n\r\n");
        let hook = "POST /api/user/notify_online/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        let all = [&request(7), "GET /x HTTP/1.1\r\n\r\n", hook, &request(8)].concat();
        let (first, second) = all.split_at(30);
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(second.as_bytes()).unwrap();
        let mut heard = String::new();
        let mut buffer = [0; 4096];
        while !heard.ends_with(r#"{"target":"bench","id":"8"}]}"#) {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(heard.matches("HTTP/1.1 404").count(), 1);
        assert!(heard.contains(r#"{"target":"bench","id":"7"}"#));
    }

    #[test]
    fn a_websocket_over_http_is_subscribed_once_its_request_is_whole() {
        let bytes = b"POST /ws/?room=all HTTP/1.1\r\ncontent-length: 6\r\n\r\nOPEN\r\nmore";
        let (head, whole) = request(bytes).unwrap();
        assert_eq!(
            (&bytes[head..whole], whole),
            (&b"OPEN\r\n"[..], bytes.len() - 4)
        );
        for cut in 0..whole {
            assert_eq!(request(&bytes[..cut]), None);
        }
        let said = answer(&bytes[..head], &bytes[head..whole], Grants::Shared);
        let end = "\r\n\r\nOPEN\r\nTEXT 26\r\nc:{\"type\":\"subscribe\",\"channel\":\"all\"}\r\n";
        assert!(said.ends_with(end), "{said}");
        assert!(said.contains("Content-Type: application/websocket-events\r\n"));
        assert!(answer(&bytes[..head], b"CLOSE\r\n", Grants::Shared).ends_with("\r\n\r\n"));
    }
}
