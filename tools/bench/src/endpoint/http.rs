//! HTTP over one persistent connection, pipelined.

use std::io;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Endpoint, TIMEOUT, Trigger, UNANSWERED_MAX, connect};

/// Path and body of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// `POST /trigger/` with rooms and data: high-templar.
    Trigger,
    /// `POST /publish/?room=NAME` with the message for the subscribers: nchan and the programs in
    /// `bench/peers/`.
    Message,
}

impl Post {
    fn path(self, trigger: &Trigger) -> String {
        match self {
            Self::Trigger => "/trigger/".to_owned(),
            Self::Message => format!("/publish/?room={}", trigger.room_name()),
        }
    }

    fn write_body(self, trigger: &Trigger, out: &mut Vec<u8>) {
        match self {
            Self::Trigger => trigger.write_trigger(out),
            Self::Message => trigger.write_message(out),
        }
    }
}

pub(super) struct HttpEndpoint {
    stream: TcpStream,
    post: Post,
    host: String,
    out: Vec<u8>,
    body: Vec<u8>,
    sent: u64,
    responses: Arc<Responses>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Responses {
    received: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl HttpEndpoint {
    pub(super) fn open(address: SocketAddr, post: Post) -> io::Result<Self> {
        let stream = connect(address)?;
        let responses = Arc::new(Responses::default());
        let read_half = stream.try_clone()?;
        // There is no data between requests.
        read_half.set_read_timeout(None)?;
        let reader = std::thread::Builder::new()
            .name("responses".to_owned())
            .spawn({
                let responses = Arc::clone(&responses);
                move || {
                    if let Err(error) = read_responses(BufReader::new(read_half), &responses) {
                        responses.fail(error.to_string());
                    }
                }
            })?;
        Ok(Self {
            stream,
            post,
            host: address.to_string(),
            out: Vec::new(),
            body: Vec::new(),
            sent: 0,
            responses,
            reader: Some(reader),
        })
    }

    /// Waits until at most `unanswered` triggers have no response.
    fn wait(&self, unanswered: u64) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        let step = Duration::from_micros(100);
        while self.sent - self.responses.received.load(Ordering::Acquire) > unanswered {
            if let Some(failure) = self.responses.failure() {
                return Err(io::Error::other(failure));
            }
            if waited > TIMEOUT {
                let problem = "no response to triggers";
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }
}

impl Responses {
    fn fail(&self, what: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(what);
        }
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|f| f.clone())
    }
}

impl Endpoint for HttpEndpoint {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        self.wait(UNANSWERED_MAX - 1)?;
        self.body.clear();
        self.post.write_body(trigger, &mut self.body);
        self.out.clear();
        write!(
            self.out,
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.post.path(trigger),
            self.host,
            self.body.len()
        )?;
        self.out.extend_from_slice(&self.body);
        self.stream.write_all(&self.out)?;
        self.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(0)
    }
}

impl Drop for HttpEndpoint {
    fn drop(&mut self) {
        if self.stream.shutdown(Shutdown::Both).is_ok()
            && let Some(reader) = self.reader.take()
        {
            let _ = reader.join();
        }
    }
}

/// Reads responses until the connection ends. Any status but 2xx is a failure.
fn read_responses(mut stream: impl BufRead, responses: &Responses) -> io::Result<()> {
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
        // RFC 9110 §15.3.5: it has neither content nor length.
        let no_content = status.starts_with("HTTP/1.1 204 ").then_some(0);
        let body_bytes: u64 = body_bytes
            .or(no_content)
            .ok_or_else(|| io::Error::other(format!("response without length: {status}")))?;
        let mut body = Vec::new();
        stream.by_ref().take(body_bytes).read_to_end(&mut body)?;
        if !status.starts_with("HTTP/1.1 2") {
            let body = String::from_utf8_lossy(&body).into_owned();
            responses.fail(format!("trigger refused: {status} {body}"));
        }
        responses.received.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, Stamp};
    use crate::workload::Rooms;

    #[test]
    fn answers_are_counted_and_a_refusal_is_kept() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
                    HTTP/1.1 204 No Content\r\n\r\n\
                    HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nwhy";
        let responses = Responses::default();
        let end = read_responses(text.as_bytes(), &responses).unwrap_err();
        assert!(end.to_string().contains("closed"));
        assert_eq!(responses.received.load(Ordering::Acquire), 3);
        let failure = responses.failure().unwrap();
        assert_eq!(failure, "trigger refused: HTTP/1.1 400 Bad Request why");
    }

    #[test]
    fn every_body_is_json_with_the_room() {
        let trigger = Trigger {
            rooms: Rooms::Unicast,
            target: 7,
            stamp: Stamp {
                trigger: 1,
                sequence: 2,
                sent_ns: 3,
            },
            data_bytes: 128,
            content: Content::Filler,
        };
        let body = |post: Post| -> serde_json::Value {
            let mut out = Vec::new();
            post.write_body(&trigger, &mut out);
            serde_json::from_slice(&out).unwrap()
        };
        let found = body(Post::Trigger);
        assert_eq!(found["rooms"][0]["id"], "7");
        assert_eq!(found["data"].as_str().unwrap().len(), 126);
        let message = body(Post::Message);
        assert_eq!(message["data"], found["data"]);
        assert_eq!(Post::Message.path(&trigger), "/publish/?room=7");
    }
}
