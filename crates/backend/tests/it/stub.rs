//! A server that follows a test's script, byte for byte, and keeps a log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Reaction of the stub to one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends nothing for this long and then closes the connection.
    CloseAfter(Duration),
    /// Sends these bytes and then nothing until the client disconnects.
    Hang(Vec<u8>),
    /// Sends these bytes again and again until the client disconnects.
    Endless(Vec<u8>, Vec<u8>),
    /// Resets the TCP connection.
    Reset,
    /// Waits for a permit, then sends these bytes.
    Wait(Arc<Semaphore>, Vec<u8>),
    /// Sends these pieces with a pause that keeps them apart.
    Pieces(Vec<Vec<u8>>),
}

/// One request as received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    /// Number of the request on its connection, from 0.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        assert!(
            self.headers.get_all(name).iter().count() <= 1,
            "{name} once"
        );
        self.headers.get(name).map(HeaderValue::as_bytes)
    }
}

/// Log so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Seen>,
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_max: usize,
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A running server; dropping it ends it and its connections.
pub(crate) struct Stub {
    /// Base address, ending in a slash.
    pub(crate) url: String,
    log: watch::Receiver<Log>,
    accept: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Stub {
    pub(crate) async fn tcp(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", None, script).await
    }

    pub(crate) async fn tls(
        acceptor: TlsAcceptor,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen("https", Some(acceptor), script).await
    }

    /// Over TCP, spoken to with this scheme.
    pub(crate) async fn listen(
        scheme: &str,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let (record, log) = watch::channel(Log::default());
        let script: Script = Arc::new(script);
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let connection = Connection::open(&record, &script);
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => connection.serve(tcp, reset).await,
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => connection.serve(stream, drop).await,
                            Err(_) => connection.close(),
                        },
                    }
                });
            }
        });
        Self { url, log, accept }
    }

    pub(crate) async fn unix(
        path: PathBuf,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (record, log) = watch::channel(Log::default());
        let script: Script = Arc::new(script);
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = Connection::open(&record, &script);
                connections.spawn(connection.serve(stream, drop));
            }
        });
        Self {
            url: "http://backend.test/".into(),
            log,
            accept,
        }
    }

    pub(crate) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Waits until the log matches.
    pub(crate) async fn until(&self, wanted: impl Fn(&Log) -> bool) -> Log {
        let mut log = self.log.clone();
        let found = tokio::time::timeout(Duration::from_secs(10), log.wait_for(wanted)).await;
        match found {
            Ok(log) => log.unwrap().clone(),
            Err(_) => panic!("not within 10 s: {:#?}", self.log()),
        }
    }
}

/// Closes a TCP connection with a reset.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// One connection of the stub.
struct Connection {
    number: usize,
    record: watch::Sender<Log>,
    script: Script,
}

impl Connection {
    fn open(record: &watch::Sender<Log>, script: &Script) -> Self {
        let mut number = 0;
        record.send_modify(|log| {
            number = log.opened;
            log.opened += 1;
        });
        Self {
            number,
            record: record.clone(),
            script: script.clone(),
        }
    }

    fn close(&self) {
        self.record.send_modify(|log| log.closed += 1);
    }

    async fn serve<S>(self, mut stream: S, reset: fn(S))
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for nth in 0.. {
            let Some(seen) = read_head(&mut stream, self.number, nth).await else {
                break;
            };
            self.record.send_modify(|log| {
                log.requests.push(seen.clone());
                log.in_flight += 1;
                log.in_flight_max = log.in_flight_max.max(log.in_flight);
            });
            let reply = (self.script)(&seen);
            if matches!(reply, Reply::Reset) {
                reset(stream);
                self.record.send_modify(|log| log.in_flight -= 1);
                break;
            }
            let goes_on = self.answer(&mut stream, reply).await;
            if !goes_on {
                break;
            }
        }
        self.close();
    }

    /// Sends a reply; whether another request may follow. The request counts as in flight until the
    /// first byte of its response, or until its client disconnected.
    async fn answer<S>(&self, stream: &mut S, reply: Reply) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let done = || self.record.send_modify(|log| log.in_flight -= 1);
        match reply {
            Reply::Send(bytes) => {
                done();
                send(stream, &bytes).await
            }
            Reply::Close(bytes) => {
                done();
                send(stream, &bytes).await;
                let _ = stream.shutdown().await;
                false
            }
            Reply::CloseAfter(pause) => {
                tokio::time::sleep(pause).await;
                done();
                let _ = stream.shutdown().await;
                false
            }
            Reply::Hang(bytes) => {
                send(stream, &bytes).await;
                gone(stream).await;
                done();
                false
            }
            Reply::Endless(first, more) => {
                done();
                if send(stream, &first).await {
                    while send(stream, &more).await {}
                }
                false
            }
            Reply::Wait(permits, bytes) => {
                let permit = tokio::select! {
                    permit = permits.acquire() => permit,
                    () = gone(stream) => {
                        done();
                        return false;
                    }
                };
                permit.unwrap().forget();
                done();
                send(stream, &bytes).await
            }
            Reply::Pieces(pieces) => {
                done();
                for piece in pieces {
                    if !send(stream, &piece).await {
                        return false;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                true
            }
            Reply::Reset => unreachable!("handled before"),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// Waits until the client closes; it must not send anything more.
async fn gone<S: AsyncRead + Unpin>(stream: &mut S) {
    let read = stream.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "a byte after the request");
}

/// Reads a request without a body; `None` when the client closed instead.
async fn read_head<S>(stream: &mut S, connection: usize, nth: usize) -> Option<Seen>
where
    S: AsyncRead + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return None,
        }
    }
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let start = String::from_utf8(lines.next()?.to_vec()).unwrap();
    let [method, target, "HTTP/1.1"] = start.split(' ').collect::<Vec<_>>()[..] else {
        panic!("request line {start:?}");
    };
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap();
        headers.append(
            HeaderName::from_bytes(&line[..colon]).unwrap(),
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).unwrap(),
        );
    }
    Some(Seen {
        method: method.into(),
        target: target.into(),
        headers,
        connection,
        nth,
    })
}
