//! Sends commands and triggers to a gateway's internal listener, and reads the responses.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Timeout of a response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The response to a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// How many connections it selected, if every thread has executed it already.
    pub matched: Option<usize>,
    /// From the request to the response.
    pub took: Duration,
}

/// Invalidates the permissions of all clients with a label, spread over a span.
///
/// # Errors
/// When the gateway refuses the command or does not respond.
pub fn invalidate(address: SocketAddr, label: &str, within: Duration) -> io::Result<Done> {
    let within = within.as_millis();
    let body = format!(r#"{{"command":"invalidate","label":"{label}","within":{within}}}"#);
    let begun = Instant::now();
    let response = post(address, &body)?;
    Ok(Done {
        matched: matched(&response)?,
        took: begun.elapsed(),
    })
}

/// Publishes triggers in one request, each for a room, with a number as its data. Returns the cursor
/// after them.
///
/// # Errors
/// When the gateway refuses them or does not respond.
pub fn publish(address: SocketAddr, triggers: &[(String, u64)]) -> io::Result<String> {
    let triggers = triggers.iter();
    let triggers = triggers.map(|(room, data)| format!(r#"{{"rooms":[{room}],"data":{data}}}"#));
    let triggers: Vec<_> = triggers.collect();
    let response = post(address, &format!("[{}]", triggers.join(",")))?;
    last_cursor(&response)
}

fn post(address: SocketAddr, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "POST /trigger/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

fn matched(response: &str) -> io::Result<Option<usize>> {
    let body = accepted(response)?;
    Ok(body["matched"].as_u64().and_then(|n| n.try_into().ok()))
}

/// The cursor of the last of the triggers.
fn last_cursor(response: &str) -> io::Result<String> {
    let body = accepted(response)?;
    let last = body.as_array().and_then(|all| all.last()).unwrap_or(&body);
    let cursor = last["cursor"].as_str();
    cursor.map(str::to_owned).ok_or_else(|| refused(response))
}

/// The body of a response, which must report success.
fn accepted(response: &str) -> io::Result<serde_json::Value> {
    let problem = || refused(response);
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(problem)?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(problem());
    }
    serde_json::from_str(body).map_err(|_| problem())
}

fn refused(response: &str) -> io::Error {
    io::Error::other(format!("the request was refused: {response}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_says_how_many_were_selected() {
        let of = |status: &str, body: &str| {
            matched(&format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        };
        assert_eq!(
            of("200 OK", r#"{"position": 3, "matched": 7}"#).unwrap(),
            Some(7)
        );
        assert_eq!(of("202 Accepted", r#"{"position": 3}"#).unwrap(), None);
        assert!(of("400 Bad Request", r#"{"error": "…"}"#).is_err());
        assert!(of("200 OK", "").is_err());
        assert!(matched("").is_err());
    }
}
