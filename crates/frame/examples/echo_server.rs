//! A small WebSocket echo server over blocking sockets, one thread a connection.
//!
//! It shows how the codec is driven and is what the conformance suite runs against. With a client
//! that offers compression it agrees, and answers compressed what becomes smaller. Start it with
//! a port as its only argument (0 takes a free one); it prints the address that it listens on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use std::{env, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ht_frame::{
    CloseCode, DecodeOptions, Decoder, DeflatedFrame, Deflater, Event, Inflater, Input, Opcode,
    PerMessageDeflate, Role, put_close, put_frame,
};
use sha1::{Digest, Sha1};

/// Longest request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Size of one read, in bytes.
const READ_BYTES: usize = 64 << 10;
/// How long a peer may take to close its side after ours.
const LINGER: Duration = Duration::from_secs(1);
/// RFC 6455 section 1.3: what is hashed with the key.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Level of compression.
const LEVEL: u8 = 2;

const OPTIONS: DecodeOptions = DecodeOptions {
    role: Role::Server,
    message_bytes_max: 32 << 20,
};

fn main() -> io::Result<()> {
    let port = env::args().nth(1).map_or(Ok(0), |port| port.parse());
    let port = port.map_err(|_| io::Error::other("the argument is a port"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("connection lost: {error}");
            }
        });
    }
    Ok(())
}

/// A connection from the request to the end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut early, agreed) = shake_hands(&mut stream)?;
    let mut decoder = Decoder::new();
    let mut compression = agreed.map(Compression::new);
    let mut out = Vec::new();
    let mut open = echo(&mut decoder, &mut compression, &mut early, &mut out);
    let mut buffer = vec![0; READ_BYTES];
    while open {
        send(&mut stream, &mut out)?;
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        open = echo(&mut decoder, &mut compression, &mut buffer[..len], &mut out);
    }
    send(&mut stream, &mut out)?;
    close(&mut stream, &mut buffer)
}

fn send(stream: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(out)?;
    out.clear();
    Ok(())
}

/// State for a client that negotiated compression. Here each has its own, as it has its own thread.
struct Compression {
    agreed: PerMessageDeflate,
    inflater: Inflater,
    deflater: Deflater,
}

impl Compression {
    fn new(agreed: PerMessageDeflate) -> Self {
        Self {
            agreed,
            inflater: Inflater::new(),
            deflater: Deflater::new(LEVEL),
        }
    }
}

/// Answers everything in `bytes`. Returns false if a close frame was the last answer.
fn echo(
    decoder: &mut Decoder,
    compression: &mut Option<Compression>,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
) -> bool {
    let mut input = Input::new(bytes);
    loop {
        let (event, mut deflate) = match compression {
            Some(Compression {
                agreed,
                inflater,
                deflater,
            }) => (
                decoder.decode_deflated(&mut input, &OPTIONS, inflater),
                Some((*agreed, deflater)),
            ),
            None => (decoder.decode(&mut input, &OPTIONS), None),
        };
        let mut put = |opcode, message| put_message(out, opcode, message, deflate.take());
        match event {
            Ok(None) => return true,
            Ok(Some(Event::Text(text))) => put(Opcode::Text, text.as_bytes()),
            Ok(Some(Event::Binary(bytes))) => put(Opcode::Binary, bytes),
            Ok(Some(Event::Ping(bytes))) => put_frame(out, Opcode::Pong, bytes),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close(None))) => {
                put_close(out, CloseCode::NORMAL, "");
                return false;
            }
            Ok(Some(Event::Close(Some((code, _))))) => {
                put_close(out, code, "");
                return false;
            }
            Err(violation) => {
                put_close(out, violation.code(), violation.reason());
                return false;
            }
        }
    }
}

/// Appends a message, compressed where that was agreed upon and makes it smaller.
fn put_message(
    out: &mut Vec<u8>,
    opcode: Opcode,
    message: &[u8],
    deflate: Option<(PerMessageDeflate, &mut Deflater)>,
) {
    let head = deflate
        .filter(|(agreed, _)| agreed.may_compress(message.len()))
        .and_then(|(_, deflater)| deflater.deflate(message));
    let frame = head
        .as_ref()
        .map(|head| DeflatedFrame::new(opcode, head, &[]));
    match frame.flatten() {
        Some(frame) => out.extend(frame.parts().concat()),
        None => put_frame(out, opcode, message),
    }
}

/// Closes our side and waits, for a while, until the peer closed its own: data that it still sends
/// must not reset the connection before it read our last frame.
fn close(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LINGER))?;
    while matches!(stream.read(buffer), Ok(len) if len > 0) {}
    Ok(())
}

/// Answers the request; returns the bytes after it, and the negotiated compression.
fn shake_hands(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Option<PerMessageDeflate>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let len = stream.read(&mut buffer)?;
        if len == 0 || bytes.len() + len > HEAD_BYTES_MAX {
            return Err(io::Error::other("no request head"));
        }
        bytes.extend_from_slice(&buffer[..len]);
    };
    let early = bytes.split_off(end + 4);
    let head = str::from_utf8(&bytes).map_err(io::Error::other)?;
    let values = |wanted: &'static str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    };
    let key = values("sec-websocket-key")
        .next()
        .ok_or_else(|| io::Error::other("no websocket key"))?;
    let agreed =
        PerMessageDeflate::negotiate(values("sec-websocket-extensions").map(str::as_bytes));
    let extensions = agreed.map_or_else(String::new, |agreed| {
        format!("Sec-WebSocket-Extensions: {}\r\n", agreed.response())
    });
    let accept = Sha1::new()
        .chain_update(key)
        .chain_update(ACCEPT_SUFFIX)
        .finalize();
    let accept = BASE64.encode(accept);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nServer: echo\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    Ok((early, agreed))
}
