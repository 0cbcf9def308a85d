//! permessage-deflate (RFC 7692) for a client that reads, without context takeover.

use flate2::{Decompress, FlushDecompress, Status};

use super::frame::PAYLOAD_BYTES_MAX;

/// The header line that offers it. Without context takeover a server compresses a message once for
/// all clients, and a client needs no window.
pub(super) const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";
/// What a server without it cannot do.
pub(super) const REFUSED: &str = "permessage-deflate without server context takeover";

/// Whether the response to the upgrade accepts the offer.
pub(super) fn is_accepted(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines()
        .filter_map(|line| line.strip_prefix("sec-websocket-extensions:"))
        .any(|value| {
            value.contains("permessage-deflate") && value.contains("server_no_context_takeover")
        })
}

/// Inflates messages; all clients share one.
#[derive(Debug)]
pub(super) struct Inflater {
    state: Decompress,
    /// Buffer for the inflated message, reused.
    pub(super) plain: Vec<u8>,
}

/// The payload is not deflate data, or inflates to more than the limit.
#[derive(Debug)]
pub(super) struct NotDeflate;

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            state: Decompress::new(false),
            plain: Vec::with_capacity(PAYLOAD_BYTES_MAX),
        }
    }

    /// Inflates one message into `plain`, which is emptied first (RFC 7692 §7.2.2).
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), NotDeflate> {
        // The sender removed this from the end.
        const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
        self.state.reset(false);
        plain.clear();
        plain.reserve(PAYLOAD_BYTES_MAX);
        for part in [payload, &TAIL] {
            let before = self.state.total_in();
            let status = self
                .state
                .decompress_vec(part, plain, FlushDecompress::Sync)
                .map_err(|_| NotDeflate)?;
            let taken = self.state.total_in() - before;
            let whole = taken == part.len() as u64 || status == Status::StreamEnd;
            if !whole || plain.len() > PAYLOAD_BYTES_MAX {
                return Err(NotDeflate);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn deflate(plain: &[u8]) -> Vec<u8> {
        let mut state = Compress::new(Compression::fast(), false);
        let mut out = Vec::with_capacity(plain.len() + 1024);
        state
            .compress_vec(plain, &mut out, FlushCompress::Sync)
            .unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        out
    }

    #[test]
    fn messages_inflate_one_by_one() {
        let mut inflater = Inflater::new();
        let mut plain = Vec::new();
        let long: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();
        for message in [&b"hello hello hello"[..], b"", &long, b"x"] {
            inflater.inflate(&deflate(message), &mut plain).unwrap();
            assert_eq!(plain, message);
        }
    }

    #[test]
    fn what_does_not_inflate_is_refused_and_forgotten() {
        let mut inflater = Inflater::new();
        let mut plain = Vec::new();
        let bomb = deflate(&vec![b'a'; 4 * PAYLOAD_BYTES_MAX]);
        for bad in [&[0xff, 0xff, 0xff, 0xff][..], &bomb] {
            assert!(inflater.inflate(bad, &mut plain).is_err());
        }
        inflater.inflate(&deflate(b"again"), &mut plain).unwrap();
        assert_eq!(plain, b"again");
    }

    #[test]
    fn only_the_whole_offer_counts_as_taken() {
        let answer = |line: &str| {
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{line}\r\n\r\n");
            is_accepted(head.as_bytes())
        };
        assert!(answer(OFFER.trim_end()));
        assert!(answer(
            "sec-websocket-extensions: permessage-deflate; server_no_context_takeover"
        ));
        assert!(!answer("Sec-WebSocket-Extensions: permessage-deflate"));
        assert!(!answer("Upgrade: websocket"));
    }
}
