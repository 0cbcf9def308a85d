//! A backend that follows a test's script and records its requests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::{fmt, io};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::http;
use crate::support::log::Watched;
use crate::support::reply::{Gate, Reply};
use crate::support::stream::Stream;

/// One request as received.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(f, ", {name}: {}", value.escape_ascii())?;
        }
        Ok(())
    }
}

impl Seen {
    /// A header's value as text; it must not be repeated.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header_bytes(name)
            .map(|value| std::str::from_utf8(value).expect("UTF-8"))
    }

    /// A header's value as received.
    #[track_caller]
    pub(crate) fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} came twice: {self:?}");
        first.map(|(_, value)| &**value)
    }

    /// Whether it is the bootstrap call.
    pub(crate) fn is_bootstrap(&self) -> bool {
        self.target.ends_with("bootstrap/")
    }

    /// `POST /api/user/notify_online/` in short: `online`, and `offline` likewise.
    pub(crate) fn moment(&self) -> &str {
        match self.target.rsplit('/').nth(1) {
            Some("notify_online") => "online",
            Some("notify_offline") => "offline",
            _ => &self.target,
        }
    }
}

/// Record of a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) requests: Vec<Seen>,
    /// Requests that the other side abandoned before the response.
    pub(crate) abandoned: usize,
    /// Requests without a response yet, and their maximum.
    pub(crate) in_flight: usize,
    pub(crate) in_flight_max: usize,
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running backend. Its threads end with the test's process.
pub(crate) struct StubBackend {
    /// Ends in `/api/`.
    pub(crate) url: String,
    history: Arc<Watched<History>>,
}

impl StubBackend {
    /// Responds to every request by the script.
    pub(crate) fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::tcp("http", None, script)
    }

    /// Admits everybody to these rooms; hooks are answered 200.
    pub(crate) fn admitting(rooms: Value) -> Self {
        Self::new(move |seen| {
            if seen.is_bootstrap() {
                Reply::rooms(&rooms)
            } else {
                Reply::ok()
            }
        })
    }

    /// Admits everybody to every room with the one key `room`, and to the test's own corners.
    pub(crate) fn open() -> Self {
        Self::admitting(json!([{"room": "*"}]))
    }

    /// Admits all clients as [`Self::open`] does; hooks wait for the gate.
    pub(crate) fn hooks_behind(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |seen| {
            if seen.is_bootstrap() {
                Reply::rooms(&json!([{"room": "*"}]))
            } else {
                Reply::Behind(gate.clone(), Reply::ok().into())
            }
        })
    }

    /// Admits everybody to no room once the gate is open.
    pub(crate) fn behind(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |_| Reply::Behind(gate.clone(), Reply::rooms(&json!([])).into()))
    }

    /// Over TLS.
    pub(crate) fn tls(
        config: Arc<ServerConfig>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::tcp("https", Some(config), script)
    }

    /// On a unix socket.
    pub(crate) fn unix(
        path: &Path,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a unix socket");
        let history = Arc::default();
        let accept = move || listener.accept().map(|(stream, _)| Stream::Unix(stream));
        serve(accept, None, Arc::new(script), Arc::clone(&history));
        Self {
            url: "http://backend.test/api/".into(),
            history,
        }
    }

    fn tcp(
        scheme: &str,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let host = if tls.is_some() {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let history = Arc::default();
        let accept = move || listener.accept().map(|(stream, _)| Stream::Tcp(stream));
        serve(accept, tls, Arc::new(script), Arc::clone(&history));
        Self {
            url: format!("{scheme}://{host}:{port}/api/"),
            history,
        }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.history.look(|history| history.requests.clone())
    }

    /// Forgets the requests so far.
    #[allow(dead_code, reason = "only what runs for long needs it")]
    pub(crate) fn forget(&self) {
        self.history.change(|history| history.requests.clear());
    }

    /// All requests so far but the bootstrap calls, in short.
    pub(crate) fn moments(&self) -> Vec<String> {
        self.history.look(moments)
    }

    /// Waits until this many requests arrived and returns them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Seen> {
        self.wait(&format!("{count} requests"), |history| {
            (history.requests.len() >= count).then(|| history.requests.clone())
        })
    }

    /// Waits until as many hooks arrived as these, and compares.
    #[track_caller]
    pub(crate) fn wait_for_moments(&self, wanted: &[&str]) {
        let moments = self.wait(&format!("{wanted:?}"), |history| {
            Some(moments(history)).filter(|moments| moments.len() >= wanted.len())
        });
        assert_eq!(moments, wanted);
    }

    /// Waits until a check of the record returns something.
    #[track_caller]
    pub(crate) fn wait<R>(&self, what: &str, look: impl FnMut(&History) -> Option<R>) -> R {
        match self.history.wait(look) {
            Some(found) => found,
            None => panic!("no {what}: {:#?}", self.history.look(History::clone)),
        }
    }
}

fn moments(history: &History) -> Vec<String> {
    let hooks = history.requests.iter().filter(|seen| !seen.is_bootstrap());
    hooks.map(|seen| seen.moment().to_owned()).collect()
}

/// Accepts connections until the test's process ends.
fn serve(
    accept: impl Fn() -> io::Result<Stream> + Send + 'static,
    tls: Option<Arc<ServerConfig>>,
    script: Arc<Script>,
    history: Arc<Watched<History>>,
) {
    thread::spawn(move || {
        while let Ok(stream) = accept() {
            let connection = Connection {
                script: Arc::clone(&script),
                history: Arc::clone(&history),
            };
            let tls = tls.clone();
            // An error means that the gateway disconnected.
            thread::spawn(move || match tls {
                None => connection.serve(stream, Stream::reset_on_drop),
                Some(config) => {
                    let session = ServerConnection::new(config).map_err(io::Error::other)?;
                    let stream = StreamOwned::new(session, stream);
                    connection.serve(stream, |stream| stream.sock.reset_on_drop())
                }
            });
        }
    });
}

struct Connection {
    script: Arc<Script>,
    history: Arc<Watched<History>>,
}

impl Connection {
    fn serve<S: Read + Write>(&self, mut stream: S, reset: fn(&S)) -> io::Result<()> {
        loop {
            let seen = self.read(&mut stream)?;
            let mut reply = (self.script)(&seen);
            self.history.change(|history| {
                history.requests.push(seen);
                history.in_flight += 1;
                history.in_flight_max = history.in_flight_max.max(history.in_flight);
            });
            while let Reply::Behind(gate, then) = reply {
                if !gate.pass() {
                    return Ok(());
                }
                reply = *then;
            }
            if let Reply::Hang(bytes) = reply {
                stream.write_all(&bytes)?;
                // A peer that waits for a response does not send; it only disconnects.
                let _ = stream.read(&mut [0; 1]);
                self.history.change(|history| {
                    history.in_flight -= 1;
                    history.abandoned += 1;
                });
                return Ok(());
            }
            self.history.change(|history| history.in_flight -= 1);
            match reply {
                Reply::Send(bytes) => stream.write_all(&bytes)?,
                Reply::Close(bytes) => return stream.write_all(&bytes),
                Reply::Reset => {
                    reset(&stream);
                    return Ok(());
                }
                Reply::Hang(_) | Reply::Behind(..) => unreachable!("done above"),
            }
        }
    }

    fn read(&self, stream: &mut impl Read) -> io::Result<Seen> {
        let (start, headers, mut body) = http::read_head(stream)?;
        let mut words = start.split(' ').map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other(start));
        };
        let length = headers.iter().find(|(name, _)| name == "content-length");
        if let Some((_, length)) = length {
            let length = String::from_utf8_lossy(length);
            http::read_up_to(stream, &mut body, length.parse().map_err(io::Error::other)?)?;
        }
        Ok(Seen {
            method,
            target,
            headers,
            body,
        })
    }
}
