//! The PROXY protocol, versions 1 and 2: before the first byte of HTTP, a load balancer reports the
//! client for which it opened the connection.
//!
//! Specification: `proxy-protocol.txt` of HAProxy. Nothing after the header is read.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Signature of a header of version 2 (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Prefix of a header of version 1 (§2.1).
const PREFIX: &[u8] = b"PROXY ";

/// Maximum length of a header of version 1, with its line end (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// Maximum length of the rest of a header of version 2: addresses, and optional TLVs. The
/// specification knows no use for more than some hundred bytes.
const REST_BYTES_MAX: usize = 4 << 10;

/// The source that a header reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client at this address.
    At(IpAddr),
    /// The balancer itself, such as for a health check, or a client whose address it does not
    /// report.
    Unsaid,
}

/// Why the start of a connection is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection ended before the end of the header.
    #[error("it ended before its PROXY header did: {0}")]
    Ended(#[from] io::Error),
    /// It starts with something else.
    #[error("it does not begin with a PROXY header")]
    Missing,
    /// Malformed, or not for TCP.
    #[error("its PROXY header is not one of version 1 or 2 for TCP")]
    Invalid,
    /// Longer than any reasonable header.
    #[error("its PROXY header is longer than {REST_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads the header, and not a byte more.
///
/// # Errors
/// If the connection does not start with one.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Source, Broken> {
    // No header of version 1 is shorter.
    let mut begin = [0; SIGNATURE.len()];
    io.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        return read_v2(io).await;
    }
    if !begin.starts_with(PREFIX) {
        return Err(Broken::Missing);
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(Broken::Invalid);
        }
        line.push(io.read_u8().await?);
    }
    parse_v1(&line).ok_or(Broken::Invalid)
}

async fn read_v2(io: &mut (impl AsyncRead + Unpin)) -> Result<Source, Broken> {
    let command = io.read_u8().await?;
    let family = io.read_u8().await?;
    let length = usize::from(io.read_u16().await?);
    if length > REST_BYTES_MAX {
        return Err(Broken::TooLong);
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    parse_v2(command, family, &rest).ok_or(Broken::Invalid)
}

/// Parses a line of version 1, its end included.
fn parse_v1(line: &[u8]) -> Option<Source> {
    let line = std::str::from_utf8(line).ok()?;
    let line = line.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    // Whatever follows must be ignored (§2.1).
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Source::Unsaid);
    }
    let parts: Vec<_> = line.split(' ').collect();
    let [protocol, source, destination, ports @ ..] = parts.as_slice() else {
        return None;
    };
    let is_port =
        |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if ports.len() != 2 || !ports.iter().all(is_port) {
        return None;
    }
    let source: IpAddr = match *protocol {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Source::At(source.to_canonical()))
}

/// Parses a header of version 2, after its signature; `rest` follows the length.
fn parse_v2(command: u8, family: u8, rest: &[u8]) -> Option<Source> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    match (command, family) {
        (LOCAL, _) => Some(Source::Unsaid),
        // TCP over IPv4: two addresses, two ports; what follows is ignored.
        (PROXY, 0x11) => {
            let addresses = rest.first_chunk::<12>()?;
            let source = addresses.first_chunk::<4>()?;
            Some(Source::At(Ipv4Addr::from(*source).into()))
        }
        // TCP over IPv6.
        (PROXY, 0x21) => {
            let addresses = rest.first_chunk::<36>()?;
            let source = addresses.first_chunk::<16>()?;
            let source = IpAddr::from(Ipv6Addr::from(*source));
            Some(Source::At(source.to_canonical()))
        }
        // Unspecified, and unix sockets of either kind.
        (PROXY, 0x00 | 0x31 | 0x32) => Some(Source::Unsaid),
        _ => None,
    }
}
