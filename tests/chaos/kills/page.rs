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

/// It was told that something may be missing.
pub(super) struct Told {
    /// When, in milliseconds since the begin of the run.
    pub(super) at: u64,
    pub(super) what: String,
}

/// What it received.
pub(super) struct Heard {
    /// When each number came last, in milliseconds since the begin of the run.
    at: Vec<Option<u32>>,
    /// Numbers that came again, with the moments when they came before and then.
    pub(super) again: Vec<(u64, u64, u64)>,
    pub(super) told: Vec<Told>,
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
    /// The numbers that never came.
    pub(super) fn missing(&self) -> impl Iterator<Item = u64> {
        let numbers = (0..).zip(&self.at);
        numbers.filter_map(|(number, at)| at.is_none().then_some(number))
    }

    fn told(&mut self, what: &impl ToString, run: &Run) {
        self.told.push(Told {
            at: run.times.now(),
            what: what.to_string(),
        });
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
        let at = vec![None; usize::try_from(triggers).expect("a size")];
        Self {
            number,
            heard: Heard {
                at,
                again: Vec::new(),
                told: Vec::new(),
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
            if self.is_over {
                run.ended.fetch_add(1, Ordering::Relaxed);
            }
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
                        self.heard.told(&format!("closed: {reason}"), run);
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
                self.hear(number.as_u64().unwrap_or(u64::MAX), run.times.now());
            }
            (kind, Value::String(_)) if kind == "publish" => self.is_over = true,
            (kind, _) if kind == "gap" => self.heard.told(message, run),
            (Value::Null, _) if message["recovered"] == false => self.heard.told(message, run),
            (Value::Null, _) if message["code"] == "success" => {
                if let Some(replayed) = message["replayed"].as_u64() {
                    self.heard.replayed += replayed;
                } else {
                    run.there.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => self.heard.complaints.push(message.to_string()),
        }
    }

    fn hear(&mut self, number: u64, now: u64) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        match self.heard.at.get_mut(index) {
            Some(at) => {
                let before = at.replace(u32::try_from(now).unwrap_or(u32::MAX));
                let again = before.map(|before| (number, u64::from(before), now));
                self.heard.again.extend(again);
            }
            None => self.heard.complaints.push(format!("no trigger: {number}")),
        }
        let mut hasher = DefaultHasher::new();
        (self.heard.order, number).hash(&mut hasher);
        self.heard.order = hasher.finish();
    }
}
