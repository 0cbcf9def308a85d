//! Clients that violate everything they can. Any reaction is fine with them.

use std::io;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use socket2::SockRef;

use crate::link::{Link, request};
use crate::node::Node;
use crate::publisher::post;
use crate::support::stream::{Address, Stream};
use crate::support::{Frame, frame};

/// Longest time that one of them spends on one misdeed.
const LINGER_MS: u64 = 1_500;

/// One way to misbehave.
type Deed = fn(&Address, &mut Rng) -> io::Result<()>;

/// All ways to misbehave at the public listener.
const DEEDS: &[(&str, Deed)] = &[
    ("stall", stall),
    ("reset", reset),
    ("half-close", half_close),
    ("garbage frames", garbage_frames),
    ("over-long frame", over_long),
    ("endless message", endless),
    ("garbage head", garbage_head),
    ("slow head", slow_head),
    ("leave while asked about", leave_early),
    ("busy", busy),
    ("refused", refused),
    ("control frames", control_frames),
];

/// How often each misdeed was begun.
#[derive(Default)]
pub(crate) struct Deeds([AtomicU64; DEEDS.len()]);

impl Deeds {
    /// Description of the action.
    pub(crate) fn account(&self) -> String {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let deeds = DEEDS.iter().zip(counts);
        let words: Vec<_> = deeds.map(|((name, _), n)| format!("{name} {n}")).collect();
        words.join(", ")
    }

    /// Whether each misdeed was done at least once.
    pub(crate) fn are_all_done(&self) -> bool {
        self.0.iter().all(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// Misbehaves towards the nodes, one after the other, until the end.
pub(crate) fn run(nodes: &[Arc<Node>], deeds: &Deeds, over: &Arc<AtomicBool>, mut random: Rng) {
    while !over.load(Ordering::Relaxed) {
        let Some(home) = nodes[random.usize(..nodes.len())].home() else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let choice = random.usize(..DEEDS.len());
        deeds.0[choice].fetch_add(1, Ordering::Relaxed);
        // An error is the gateway's good right.
        let _ = DEEDS[choice].1(&home.public, &mut random);
    }
}

/// Publishes much to slow consumers, and garbage, until the end.
pub(crate) fn flood(nodes: &[Arc<Node>], over: &Arc<AtomicBool>, mut random: Rng) {
    let trigger = json!({"rooms": [{"room": "flood"}], "data": "x".repeat(256 << 10)}).to_string();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let Some(home) = nodes[random.usize(..nodes.len())].home() else {
            continue;
        };
        let _ = match random.usize(..8) {
            0 => post(&home.internal, "{\"rooms\": [{}], \"data\""),
            1 => post(&home.internal, "[]"),
            2 => post(&home.internal, &"[".repeat(100_000)),
            _ => post(&home.internal, &trigger),
        };
    }
}

fn linger(random: &mut Rng) {
    std::thread::sleep(Duration::from_millis(random.u64(..LINGER_MS)));
}

/// Subscribes to much and never reads again.
fn stall(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "stalled", random.bool())?;
    if let Stream::Tcp(stream) = &link.stream {
        SockRef::from(stream).set_recv_buffer_size(4 << 10)?;
    }
    for n in 0..8 {
        let message = json!({"type": "subscribe", "room": {"room": "flood"}, "requestId": n});
        link.send(&message.to_string())?;
    }
    linger(random);
    linger(random);
    Ok(())
}

/// Resets the connection in the middle of something.
fn reset(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "reset", random.bool())?;
    link.stream.reset_on_drop();
    let message = json!({"type": "subscribe", "room": {"room": "flood"}, "requestId": "x"});
    let bytes = Frame::new(frame::TEXT, message.to_string()).bytes();
    let cut = random.usize(..=bytes.len());
    link.stream.write_all(&bytes[..cut])
}

/// Shuts down its sending side, and stays connected.
fn half_close(to: &Address, random: &mut Rng) -> io::Result<()> {
    let stream = if random.bool() {
        Link::open(to, "half", false)?.stream
    } else {
        let mut stream = to.connect()?;
        stream.write_all(&request("half", false))?;
        stream
    };
    stream.finish();
    linger(random);
    Ok(())
}

fn garbage_frames(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "garbage", random.bool())?;
    for _ in 0..random.usize(1..20) {
        let bytes: Vec<u8> = (0..random.usize(..2_000)).map(|_| random.u8(..)).collect();
        link.stream.write_all(&bytes)?;
    }
    linger(random);
    Ok(())
}

/// Announces more than anybody may send.
fn over_long(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "long", false)?;
    let length: u64 = [1 << 20 | 1, 1 << 32, (1 << 63) - 1, u64::MAX][random.usize(..4)];
    let mut head = vec![0x81, 0xff];
    head.extend(length.to_be_bytes());
    head.extend([1, 2, 3, 4]);
    link.stream.write_all(&head)?;
    loop {
        link.stream.write_all(&[b'x'; 4_096])?;
    }
}

/// Sends pieces of a message that never ends.
fn endless(to: &Address, _: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "endless", false)?;
    let first = Frame::new(frame::TEXT, vec![b'x'; 60_000]).unfinished();
    link.stream.write_all(&first.bytes())?;
    loop {
        let next = Frame::new(frame::CONTINUATION, vec![b'x'; 60_000]).unfinished();
        link.stream.write_all(&next.bytes())?;
    }
}

fn garbage_head(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut stream = to.connect()?;
    let bytes: Vec<u8> = match random.usize(..4) {
        0 => (0..random.usize(..4_000)).map(|_| random.u8(..)).collect(),
        1 => format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(),
        2 => b"GET /ws/ HTTP/1.1\r\nCookie: a\rb\0c\r\nHost: x\r\n\r\n".to_vec(),
        _ => {
            let head = request("garbage", false);
            let at = random.usize(..head.len());
            let mut head = head;
            head[at] = random.u8(..);
            head
        }
    };
    stream.write_all(&bytes)?;
    stream.read(&mut [0; 1_024]).map(drop)
}

/// Sends its head byte by byte, and not all of it.
fn slow_head(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut stream = to.connect()?;
    let head = request("slow", false);
    for byte in head.iter().take(random.usize(..20)) {
        stream.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Disconnects during the call to the backend.
fn leave_early(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut stream = to.connect()?;
    if random.bool() {
        stream.reset_on_drop();
    }
    stream.write_all(&request(&format!("early{}", random.u32(..)), false))
}

/// Does everything that is allowed, much of it.
fn busy(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "busy", random.bool())?;
    for n in 0..random.usize(..300) {
        let room = json!({"room": random.u8(..20)});
        let message = match random.usize(..5) {
            0 => json!({"type": "unsubscribe", "requestId": n / 2}),
            1 => json!({"type": "status"}),
            2 => json!({"type": "subscribe", "room": {"room": "*"}, "requestId": n}),
            3 => json!({"type": "subscribe", "room": {"other": 1}, "requestId": n}),
            _ => json!({"type": "subscribe", "room": room, "requestId": n}),
        };
        link.send(&message.to_string())?;
        let _ = link.next()?;
    }
    if random.bool() {
        link.stream.write_all(&Frame::close(1000, "").bytes())?;
        let _ = link.next()?;
    }
    Ok(())
}

/// Is not welcome, and stays to the end.
fn refused(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut stream = to.connect()?;
    stream.write_all(&request("stranger", random.bool()))?;
    stream.set_timeouts(Duration::from_secs(2))?;
    while stream.read(&mut [0; 1_024])? > 0 {}
    Ok(())
}

/// Sends control frames as fast as it can.
fn control_frames(to: &Address, random: &mut Rng) -> io::Result<()> {
    let mut link = Link::open(to, "control", false)?;
    let ping = Frame::new(frame::PING, vec![b'x'; random.usize(..126)]).bytes();
    for _ in 0..random.usize(..3_000) {
        link.stream.write_all(&ping)?;
    }
    Ok(())
}
