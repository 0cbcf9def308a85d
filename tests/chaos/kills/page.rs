//! A client that keeps its cursor, and goes on at another node when its own is killed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kills::{PACE, Run};
use crate::support::{Client, Handshake, frame};

/// What it offers.
const EVENTS: &str = "high-templar.v1, high-templar.events";

/// How often it sends something.
const PING: Duration = Duration::from_secs(10);

/// What it received.
pub(super) struct Heard {
    /// How often each number came.
    counts: Vec<u8>,
    /// The numbers in their order.
    pub(super) order: u64,
    /// How often it came back.
    pub(super) returns: u64,
    /// What it was sent then of what it had missed.
    pub(super) replayed: u64,
    /// What no client should see.
    pub(super) complaints: Vec<String>,
}

impl Heard {
    pub(super) fn lost(&self) -> u64 {
        self.counts.iter().filter(|&&count| count == 0).count() as u64
    }

    /// The first numbers that never came.
    pub(super) fn missing(&self) -> Vec<usize> {
        let numbers = self.counts.iter().enumerate();
        let missing = numbers.filter(|(_, count)| **count == 0);
        missing.map(|(number, _)| number).take(20).collect()
    }

    pub(super) fn doubled(&self) -> u64 {
        self.counts.iter().filter(|&&count| count > 1).count() as u64
    }
}

pub(super) struct Page {
    number: usize,
    pub(super) heard: Heard,
    cursor: String,
    is_over: bool,
}

impl Page {
    pub(super) fn new(number: usize, triggers: u64) -> Self {
        let counts = vec![0; usize::try_from(triggers).expect("a size")];
        Self {
            number,
            heard: Heard {
                counts,
                order: 0,
                returns: 0,
                replayed: 0,
                complaints: Vec::new(),
            },
            cursor: String::new(),
            is_over: false,
        }
    }

    /// Listens, at one node after the other, until it is over.
    pub(super) fn run(&mut self, run: &Run) {
        for attempt in self.number.. {
            if self.is_over || run.is_over() {
                return;
            }
            let Ok(mut client) = self.enter(run, attempt) else {
                thread::sleep(PACE);
                continue;
            };
            // An error: its node was killed, or closed it.
            let _ = self.listen(&mut client, run);
            self.heard.returns += u64::from(!self.is_over);
        }
    }

    /// Connects, and asks for what followed its cursor.
    fn enter(&mut self, run: &Run, attempt: usize) -> io::Result<Client> {
        let home = run.home(attempt).ok_or(io::ErrorKind::NotConnected)?;
        let handshake = Handshake::at(&home.public).header("Sec-WebSocket-Protocol", EVENTS);
        let (answer, mut client) = handshake.try_send()?.try_answer()?;
        if answer.status != 101 {
            return Err(io::Error::other(format!("{answer:?}")));
        }
        client.stream.set_timeouts(PING)?;
        let first: Value = serde_json::from_slice(&client.try_frame()?.payload)?;
        if first["is_authorized"] != true {
            return Err(io::Error::other(first.to_string()));
        }
        let request = match &*self.cursor {
            "" => json!({"type": "subscribe", "room": {"n": 1}, "requestId": 0}),
            cursor => json!({
                "type": "resume", "requestId": 0, "cursor": cursor,
                "subscriptions": [{"requestId": 0, "room": {"n": 1}}],
            }),
        };
        client.try_send_text(&request.to_string())?;
        Ok(client)
    }

    fn listen(&mut self, client: &mut Client, run: &Run) -> io::Result<()> {
        let mut pinged = Instant::now();
        while !self.is_over && !run.is_over() {
            let frame = match client.try_frame() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                frame => Some(frame?),
            };
            if frame.is_none() || pinged.elapsed() > PING {
                pinged = Instant::now();
                client.try_send_text("ping")?;
            }
            let Some(frame) = frame else { continue };
            match frame.opcode {
                frame::TEXT if frame.payload == b"pong" => {}
                frame::TEXT => self.take(&serde_json::from_slice(&frame.payload)?, run),
                frame::CLOSE => {
                    let reason = frame.payload.get(2..).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    if reason.starts_with("gap") {
                        self.heard.complaints.push(format!("closed: {reason}"));
                    }
                    return Err(io::Error::other(reason));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a message.
    fn take(&mut self, message: &Value, run: &Run) {
        if let Some(cursor) = message["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
        match (&message["type"], &message["data"]) {
            (kind, Value::Number(number)) if kind == "publish" => {
                let number = number.as_u64().unwrap_or(u64::MAX);
                self.hear(number);
                run.received.fetch_add(1, Ordering::Relaxed);
            }
            (kind, Value::String(_)) if kind == "publish" => self.is_over = true,
            (Value::Null, _) if message["code"] == "success" && message["recovered"] != false => {
                if let Some(replayed) = message["replayed"].as_u64() {
                    self.heard.replayed += replayed;
                } else {
                    run.there.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => self.heard.complaints.push(message.to_string()),
        }
    }

    fn hear(&mut self, number: u64) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        match self.heard.counts.get_mut(index) {
            Some(count) => *count = count.saturating_add(1),
            None => self.heard.complaints.push(format!("no trigger: {number}")),
        }
        let mut hasher = DefaultHasher::new();
        (self.heard.order, number).hash(&mut hasher);
        self.heard.order = hasher.finish();
    }
}
