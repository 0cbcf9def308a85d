//! Reads a server's `/metrics`.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Timeout of a response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the server ended as slow consumers, for any of its reasons. `None` if it has no
/// such metric.
#[must_use]
pub fn evictions(address: SocketAddr) -> Option<u64> {
    parse(&get(address).ok()?, "high_templar_evictions_total")
}

/// Bytes of the credentials that the server keeps for its clients. `None` if it has no such metric.
#[must_use]
pub fn credentials_bytes(address: SocketAddr) -> Option<u64> {
    let name = r#"high_templar_client_bytes{kind="credentials"}"#;
    parse(&get(address).ok()?, name)
}

/// Triggers that the server read.
#[must_use]
pub fn triggers(address: SocketAddr) -> Option<u64> {
    parse(&get(address).ok()?, "high_templar_triggers_total")
}

/// Entries in the server's window.
#[must_use]
pub fn window_entries(address: SocketAddr) -> Option<u64> {
    parse(&get(address).ok()?, "high_templar_window_entries")
}

/// The longest turn of one of the server's threads in the last minute, in seconds.
#[must_use]
pub fn longest_turn(address: SocketAddr) -> Option<f64> {
    longest(&get(address).ok()?, "high_templar_shard_turn_seconds_max")
}

fn longest(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.split_once(' '))
        .filter_map(|(_labels, value)| value.parse::<f64>().ok())
        .reduce(f64::max)
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The sum of a metric over its labels, or those that are not in `name`.
fn parse(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.split_once(' '))
        .filter_map(|(_labels, value)| value.parse::<u64>().ok())
        .reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_turn_is_that_of_any_thread() {
        let text = "high_templar_shard_turn_seconds_max{shard=\"0\"} 0.0023\n\
                    high_templar_shard_turn_seconds_max{shard=\"1\"} 0.011\n";
        let name = "high_templar_shard_turn_seconds_max";
        assert_eq!(longest(text, name), Some(0.011));
        assert_eq!(longest("", name), None);
    }

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# TYPE high_templar_evictions counter\n\
                    high_templar_evictions_total{reason=\"slow\"} 7\n\
                    high_templar_evictions_total{reason=\"b\"} 2\n\
                    high_templar_admitted_total 12\n";
        assert_eq!(parse(text, "high_templar_evictions_total"), Some(9));
        assert_eq!(parse(text, "high_templar_admitted_total"), Some(12));
        assert_eq!(parse(text, "other_total"), None);
        let reason = r#"high_templar_evictions_total{reason="b"}"#;
        assert_eq!(parse(text, reason), Some(2));
    }
}
