//! HTTP/1.1 heads and bodies, read and written by hand.

use std::io;
use std::io::{Read, Write};

use serde_json::Value;

use crate::support::stream::Address;

/// A server's response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value; names are written in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }
}

/// Sends one request on a connection of its own and reads the whole response. `Host` (localhost)
/// and `Content-Length` are added unless they are set.
#[track_caller]
pub(crate) fn request(
    to: &Address,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_request(to, method, path, headers, body).expect("an answer")
}

/// The same, where the connection may be refused.
pub(crate) fn try_request(
    to: &Address,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head += "Host: localhost\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let has_length = |(name, _): &(&str, &str)| {
        ["content-length", "transfer-encoding"].contains(&&*name.to_ascii_lowercase())
    };
    if !headers.iter().any(has_length) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut stream = to.connect()?;
    let bytes = [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat();
    // A server may answer before it has read everything.
    let _ = stream.write_all(&bytes);
    let (answer, _) = read_answer(&mut stream)?;
    Ok(answer)
}

/// Reads a response; also returns the bytes after it. A 101 has no body.
pub(crate) fn read_answer(stream: &mut impl Read) -> io::Result<(Answer, Vec<u8>)> {
    let (start, headers, mut rest) = read_head(stream)?;
    let status = start.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("start line {start:?}")))?;
    let headers: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let body = match length {
        _ if status == 101 => Vec::new(),
        Some((_, length)) => {
            let length: usize = length.parse().map_err(io::Error::other)?;
            read_up_to(stream, &mut rest, length)?;
            rest.drain(..length).collect()
        }
        None => {
            stream.read_to_end(&mut rest)?;
            std::mem::take(&mut rest)
        }
    };
    let answer = Answer {
        status,
        headers,
        body,
    };
    Ok((answer, rest))
}

/// The first line, the headers with names in lower case, and the bytes after the empty line.
pub(crate) type Head = (String, Vec<(String, Vec<u8>)>, Vec<u8>);

/// Reads a head, of a request or an answer.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let len = bytes.len();
        read_up_to(stream, &mut bytes, len + 1)?;
    };
    let rest = bytes.split_off(end + 4);
    let mut lines = bytes[..end]
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii);
    let start = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let headers = lines
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            (name, line[colon + 1..].trim_ascii().to_vec())
        })
        .collect();
    Ok((start, headers, rest))
}

/// Reads until `bytes` are at least `length`.
pub(crate) fn read_up_to(
    stream: &mut impl Read,
    bytes: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while bytes.len() < length {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(())
}
