//! The part of RFC 6455 that the clients need: whole, unmasked frames in; small masked frames out.

/// A frame of a server, in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// Whether the payload is compressed (RSV1, RFC 7692 §6).
    pub(crate) compressed: bool,
    /// Length in the buffer, header included.
    pub(crate) length: usize,
}

/// Not an opcode of messages: what came means nothing.
pub(crate) const NOTHING: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame that this client does not read: fragmented, masked or huge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Maximum payload of a server, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 128 << 10;

/// The first frame in `bytes`; `None` if it is incomplete.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>, Unreadable> {
    let [head, length, rest @ ..] = bytes else {
        return Ok(None);
    };
    if head & 0xb0 != 0x80 || length & 0x80 != 0 {
        return Err(Unreadable);
    }
    let (payload_length, rest) = match length {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u16::from_be_bytes(*length) as usize, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (
                usize::try_from(u64::from_be_bytes(*length)).map_err(|_| Unreadable)?,
                rest,
            ),
            None => return Ok(None),
        },
        &length => (length as usize, rest),
    };
    if payload_length > PAYLOAD_BYTES_MAX {
        return Err(Unreadable);
    }
    Ok(rest.get(..payload_length).map(|payload| Frame {
        opcode: head & 0x0f,
        payload,
        compressed: head & 0x40 != 0,
        length: bytes.len() - rest.len() + payload_length,
    }))
}

/// Appends a client's frame. It is masked with `key`, because unmasking is part of the server's
/// work.
pub(crate) fn write_masked(opcode: u8, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    if payload.len() < 126 {
        out.push(0x80 | payload.len() as u8);
    } else {
        // The longest message of a client is a subscription.
        out.push(0x80 | 126);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        match payload.len() {
            0..126 => out.push(payload.len() as u8),
            126..65536 => {
                out.push(126);
                out.extend((payload.len() as u16).to_be_bytes());
            }
            _ => {
                out.push(127);
                out.extend((payload.len() as u64).to_be_bytes());
            }
        }
        out.extend(payload);
        out
    }

    #[test]
    fn frames_of_every_length_are_read_once_they_are_whole() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536, PAYLOAD_BYTES_MAX] {
            let payload = vec![b'p'; length];
            let bytes = frame(TEXT, &payload);
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                let cut = cut.min(bytes.len() - 1);
                assert_eq!(first(&bytes[..cut]), Ok(None));
            }
            let mut more = bytes.clone();
            more.extend(b"next");
            let read = first(&more).unwrap().unwrap();
            assert_eq!((read.opcode, read.length), (TEXT, bytes.len()));
            assert_eq!(read.payload, payload);
        }
    }

    #[test]
    fn a_compressed_frame_is_told_from_others() {
        let compressed = |bytes| first(bytes).unwrap().unwrap().compressed;
        assert!(compressed(&[0xc1, 0x00]));
        assert!(!compressed(&[0x81, 0x00]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bytes in [
            &[0x01, 0x00][..],
            &[0xa1, 0x00],
            &[0x91, 0x00],
            &[0x81, 0x80],
            &[0x81, 127, 0, 0, 0, 0, 0, 2, 0, 1],
            &[0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(first(bytes), Err(Unreadable), "{bytes:?}");
        }
    }

    #[test]
    fn a_masked_frame_is_unmasked_by_its_key() {
        for length in [0, 5, 125, 126, 1000] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let key = [1, 2, 3, 4];
            let mut out = Vec::new();
            write_masked(TEXT, &payload, key, &mut out);
            let body = &out[out.len() - length..];
            let clear: Vec<u8> = body
                .iter()
                .zip(key.iter().cycle())
                .map(|(b, k)| b ^ k)
                .collect();
            assert_eq!(clear, payload);
            assert_eq!(out[0], 0x81);
            assert_eq!(out.len() - length, if length < 126 { 6 } else { 8 });
        }
    }
}
