//! Five thousand clients reconnect at once to a backend that serves twenty at a time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::KEY;
use crate::support::stream::Address;
use crate::support::{Gateway, NEVER, StubBackend};

const VISITORS: usize = 5_000;

/// Calls that the backend serves at once.
const AT_ONCE: usize = 20;

/// Service time of the backend for one: all of them keep it busy for five seconds.
const SERVICE_TIME: Duration = Duration::from_millis(20);

/// Far fewer than clients.
const WAITING_MAX: usize = 500;

/// After the first wave no more are to reconnect than the backend could serve meanwhile; up to so
/// many times as many, for random delays do not spread evenly.
const UNEVEN: f64 = 2.0;

/// An HTTP backend that admits everybody, slowly, and counts.
#[derive(Default)]
struct Slow {
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl Slow {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let slow = Arc::clone(&self);
            tokio::spawn(async move { slow.serve_connection(stream).await });
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            head.clear();
            self.calls.fetch_add(1, Ordering::SeqCst);
            let count = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.in_flight_max.fetch_max(count, Ordering::SeqCst);
            tokio::time::sleep(SERVICE_TIME).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                          Content-Length: 21\r\n\r\n{\"allowed_rooms\": []}";
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Result of one attempt.
enum Visit {
    In(TcpStream),
    /// Rejected, to reconnect within so many milliseconds.
    Away(u64),
}

async fn visit(to: &Address, number: usize) -> io::Result<Visit> {
    let Address::Tcp(address) = to else {
        unreachable!("the test listens on TCP");
    };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /ws/ HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nCookie: session={number}\r\n\
         X-Real-IP: 10.0.{}.{}\r\n\r\n",
        number / 256,
        number % 256
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head = loop {
        read_more(&mut stream, &mut bytes).await?;
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.drain(..end + 4).collect::<Vec<u8>>();
        }
    };
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let first = frame(&mut stream, &mut bytes).await?;
    if first.starts_with(b"{\"is_authorized\": true") {
        return Ok(Visit::In(stream));
    }
    assert_eq!(first, b"{\"is_authorized\": false}");
    let close = frame(&mut stream, &mut bytes).await?;
    let (code, reason) = close.split_at(2);
    assert_eq!(code, 1013u16.to_be_bytes());
    let reason = std::str::from_utf8(reason).expect("UTF-8");
    let span = reason.strip_prefix("backend ").expect(reason);
    Ok(Visit::Away(span.parse().expect(reason)))
}

/// The payload of the next frame, which is short.
async fn frame(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        if let [_, length, ..] = bytes[..] {
            let length = usize::from(length);
            assert!(length < 126, "a short frame");
            if bytes.len() >= 2 + length {
                return Ok(bytes.drain(..2 + length).skip(2).collect());
            }
        }
        read_more(stream, bytes).await?;
    }
}

async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reconnects as requested until it is admitted. The connection, and the number of attempts.
async fn insist(to: Arc<Address>, number: usize) -> (TcpStream, usize) {
    for comings in 1.. {
        match visit(&to, number).await.expect("a connection") {
            Visit::In(stream) => return (stream, comings),
            Visit::Away(span) => {
                let mut hasher = DefaultHasher::new();
                (number, comings).hash(&mut hasher);
                let moment = hasher.finish() % span;
                tokio::time::sleep(Duration::from_millis(moment)).await;
            }
        }
    }
    unreachable!("nobody comes that often")
}

#[test]
fn five_thousand_at_once_come_in_as_fast_as_the_backend_serves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let slow = Arc::new(Slow::default());
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let url = format!("http://{}/api/", listener.local_addr().expect("an address"));
    runtime.spawn(Arc::clone(&slow).serve(listener));
    // Only its builder is needed; nothing calls this one.
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_BACKEND__URL", url)
        .set("HT_BACKEND__MAX_IN_FLIGHT", AT_ONCE)
        .set("HT_BACKEND__MAX_WAITING", WAITING_MAX)
        .set("HT_BACKEND__TIMEOUT", NEVER)
        .start();

    let to = Arc::new(gateway.public().clone());
    let started = Instant::now();
    let all = runtime.block_on(async {
        let mut visitors = JoinSet::new();
        for number in 0..VISITORS {
            visitors.spawn(insist(Arc::clone(&to), number));
        }
        visitors.join_all().await
    });

    // Only a measure for the other counts: a slow machine may take longer.
    let elapsed = started.elapsed();

    assert_eq!(gateway.metric("high_templar_connections"), VISITORS as u64);
    assert!(slow.in_flight_max.load(Ordering::SeqCst) <= AT_ONCE);
    // Not one call was made in vain: the backend worked for as long as they needed it.
    assert_eq!(slow.calls.load(Ordering::SeqCst), VISITORS);
    let sent_away =
        gateway.metric(r#"high_templar_bootstraps_total{outcome="line-full"}"#) as usize;
    let comings: usize = all.iter().map(|(_, comings)| comings).sum();
    assert_eq!(comings, VISITORS + sent_away);
    assert!(sent_away > VISITORS / 2, "{sent_away}: no stampede");
    let served_meanwhile = AT_ONCE as f64 * elapsed.div_duration_f64(SERVICE_TIME);
    assert!(
        sent_away as f64 <= VISITORS as f64 + UNEVEN * served_meanwhile,
        "{sent_away} were sent away in {elapsed:?}: they come back too soon"
    );
}
