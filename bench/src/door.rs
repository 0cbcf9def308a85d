//! Ways to hand a trigger to a server.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use crate::floor::Command;
use crate::floor::TARGET_ALL;
use crate::message;
use crate::message::Content;
use crate::message::Stamp;
use crate::workload::Rooms;

/// Triggers that may wait for their answer before the next is sent. Well above what a window
/// asks for, and well below what the sockets' buffers hold.
const UNANSWERED_MAX: u64 = 64;
/// A server that is silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One trigger.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// Who hears it.
    pub rooms: Rooms,
    /// Which room or rooms it names; see [`Rooms`].
    pub target: u32,
    /// Its numbers and time.
    pub stamp: Stamp,
    /// Length of its data, in bytes of JSON.
    pub data_bytes: usize,
    /// What its data looks like.
    pub content: Content,
}

impl Trigger {
    /// Appends its data.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        self.content.write(&self.stamp, self.data_bytes, out);
    }
}

/// A way to hand triggers over, in order.
pub trait Door: Send {
    /// Sends one.
    ///
    /// # Errors
    /// When the connection fails or the server refused an earlier one.
    fn send(&mut self, trigger: &Trigger) -> io::Result<()>;

    /// Waits until the server has answered for all, where it answers.
    ///
    /// # Errors
    /// When it refused one or does not answer.
    fn settle(&mut self) -> io::Result<()>;

    /// How many clients have joined, where only the server knows: `None` where each client is
    /// told.
    ///
    /// # Errors
    /// When the server does not answer.
    fn joined(&mut self) -> io::Result<Option<usize>> {
        Ok(None)
    }
}

/// Where triggers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorAt {
    /// The control connection of a floor.
    Floor(SocketAddr),
    /// `POST /trigger/` on one kept connection.
    Http(SocketAddr),
}

impl DoorAt {
    /// Opens it.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(self) -> io::Result<Box<dyn Door>> {
        Ok(match self {
            Self::Floor(address) => Box::new(FloorDoor::open(address)?),
            Self::Http(address) => Box::new(HttpDoor::open(address)?),
        })
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    if !address.ip().is_loopback() {
        let problem = format!("{address} is not a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

struct FloorDoor {
    stream: TcpStream,
    out: Vec<u8>,
    frame: Vec<u8>,
    data: Vec<u8>,
}

impl FloorDoor {
    fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address)?,
            out: Vec::new(),
            frame: Vec::new(),
            data: Vec::new(),
        })
    }
}

impl Door for FloorDoor {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        let target = match trigger.rooms {
            Rooms::FanOut => TARGET_ALL,
            Rooms::Unicast => trigger.target,
            Rooms::Many => return Err(io::Error::other("the floor knows no subscriptions")),
        };
        self.out.clear();
        self.frame.clear();
        self.data.clear();
        trigger.write_data(&mut self.data);
        // Nobody looks at the floor's request id; it is there for its length.
        message::write_publish_frame(&self.data, Uuid::nil(), &mut self.frame);
        let bytes = &self.frame;
        Command::Send { target, bytes }.write(&mut self.out);
        self.stream.write_all(&self.out)
    }

    fn settle(&mut self) -> io::Result<()> {
        // Its answer comes after everything before it was carried out.
        self.joined().map(|_| ())
    }

    fn joined(&mut self) -> io::Result<Option<usize>> {
        self.out.clear();
        Command::Count.write(&mut self.out);
        self.stream.write_all(&self.out)?;
        let mut count = [0; 4];
        self.stream.read_exact(&mut count)?;
        Ok(Some(u32::from_le_bytes(count) as usize))
    }
}

struct HttpDoor {
    stream: TcpStream,
    host: String,
    out: Vec<u8>,
    body: Vec<u8>,
    sent: u64,
    answers: Arc<Answers>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Answers {
    received: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl HttpDoor {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = connect(address)?;
        let answers = Arc::new(Answers::default());
        let read_half = stream.try_clone()?;
        // A server may be silent for long while nothing is asked of it.
        read_half.set_read_timeout(None)?;
        let reader = std::thread::Builder::new()
            .name("answers".to_owned())
            .spawn({
                let answers = Arc::clone(&answers);
                move || {
                    if let Err(error) = read_answers(BufReader::new(read_half), &answers) {
                        answers.fail(error.to_string());
                    }
                }
            })?;
        Ok(Self {
            stream,
            host: address.to_string(),
            out: Vec::new(),
            body: Vec::new(),
            sent: 0,
            answers,
            reader: Some(reader),
        })
    }

    /// Waits until at most `unanswered` triggers have no answer.
    fn wait(&self, unanswered: u64) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        let step = Duration::from_micros(100);
        while self.sent - self.answers.received.load(Ordering::Acquire) > unanswered {
            if let Some(failure) = self.answers.failure() {
                return Err(io::Error::other(failure));
            }
            if waited > PATIENCE {
                let problem = "triggers are not answered";
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }
}

impl Answers {
    fn fail(&self, what: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(what);
        }
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|f| f.clone())
    }
}

impl Door for HttpDoor {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        self.wait(UNANSWERED_MAX)?;
        self.body.clear();
        let room = trigger.rooms.room(trigger.target);
        write!(self.body, r#"{{"rooms":[{room}],"data":"#)?;
        trigger.write_data(&mut self.body);
        self.body.push(b'}');
        self.out.clear();
        write!(
            self.out,
            "POST /trigger/ HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            self.body.len()
        )?;
        self.out.extend_from_slice(&self.body);
        self.stream.write_all(&self.out)?;
        self.sent += 1;
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.wait(0)
    }
}

impl Drop for HttpDoor {
    fn drop(&mut self) {
        if self.stream.shutdown(Shutdown::Both).is_ok()
            && let Some(reader) = self.reader.take()
        {
            let _ = reader.join();
        }
    }
}

/// Reads answers until the connection ends. Any status but 2xx is a failure.
fn read_answers(mut stream: impl BufRead, answers: &Answers) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the server closed the trigger connection"));
        }
        let status = line.trim_end().to_owned();
        let mut body_bytes = None;
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_bytes = value.trim().parse().ok();
            }
        }
        let body_bytes: u64 = body_bytes
            .ok_or_else(|| io::Error::other(format!("answer without length: {status}")))?;
        let mut body = Vec::new();
        stream.by_ref().take(body_bytes).read_to_end(&mut body)?;
        if !status.starts_with("HTTP/1.1 2") {
            let body = String::from_utf8_lossy(&body).into_owned();
            answers.fail(format!("trigger refused: {status} {body}"));
        }
        answers.received.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_a_refusal_is_kept() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
                    HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n\
                    HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nwhy";
        let answers = Answers::default();
        let end = read_answers(text.as_bytes(), &answers).unwrap_err();
        assert!(end.to_string().contains("closed"));
        assert_eq!(answers.received.load(Ordering::Acquire), 3);
        let failure = answers.failure().unwrap();
        assert_eq!(failure, "trigger refused: HTTP/1.1 400 Bad Request why");
    }

    #[test]
    fn other_machines_are_not_reached() {
        for address in ["10.0.0.1:80", "[2001:db8::1]:80"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(DoorAt::Http(address).open().is_err());
            assert!(DoorAt::Floor(address).open().is_err());
        }
    }
}
