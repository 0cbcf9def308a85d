//! The data of a trigger, with which its deliveries are counted and timed, and the frame that the
//! floor sends.

mod orders;

use clap::ValueEnum;
use uuid::Uuid;

/// Marker at the beginning of the data, found in the frames of every server.
const MARKER: &[u8] = b"~htb";
const TRIGGER_DIGITS: usize = 12;
const SEQUENCE_DIGITS: usize = 12;
const SENT_DIGITS: usize = 18;
/// Marker, three numbers, a comma after each.
const STAMP_BYTES: usize = MARKER.len() + TRIGGER_DIGITS + SEQUENCE_DIGITS + SENT_DIGITS + 3;

/// Shortest data that holds a stamp, its quotes included, in bytes.
pub const DATA_BYTES_MIN: usize = STAMP_BYTES + 2;
/// Longest data that a workload may ask for, in bytes.
pub const DATA_BYTES_MAX: usize = 100_000;

/// Kind of a trigger's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Content {
    /// A JSON string of exactly the requested length, mostly one letter.
    Filler,
    /// A JSON object with the records of some orders, at least as long as requested: it compresses
    /// like the data of an API.
    Orders,
}

impl Content {
    /// Appends a trigger's data, about `bytes` long.
    pub fn write(self, stamp: &Stamp, bytes: usize, out: &mut Vec<u8>) {
        match self {
            Self::Filler => stamp.write(bytes, out),
            Self::Orders => orders::write(stamp, bytes, out),
        }
    }
}

/// The numbers in a trigger's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the trigger within the run, from 0.
    pub trigger: u64,
    /// Number of the trigger within its room, from 0, for the checker.
    pub sequence: u64,
    /// When it was sent, in nanoseconds since the run began.
    pub sent_ns: u64,
}

impl Stamp {
    /// Appends the data: a JSON string of exactly `bytes` bytes, quotes included, where `bytes`
    /// is at least [`DATA_BYTES_MIN`].
    pub fn write(&self, bytes: usize, out: &mut Vec<u8>) {
        let end = out.len() + bytes.max(DATA_BYTES_MIN);
        out.push(b'"');
        out.extend_from_slice(MARKER);
        for (number, digits) in [
            (self.trigger, TRIGGER_DIGITS),
            (self.sequence, SEQUENCE_DIGITS),
            (self.sent_ns, SENT_DIGITS),
        ] {
            push_digits(number, digits, out);
            out.push(b',');
        }
        out.resize(end - 1, b'x');
        out.push(b'"');
    }

    /// Reads the stamp out of a frame's payload. `hint` is where the last one was found: all
    /// frames of a run look alike, so it is usually there again.
    #[must_use]
    pub fn find(payload: &[u8], hint: &mut usize) -> Option<Self> {
        if !payload.get(*hint..).is_some_and(|p| p.starts_with(MARKER)) {
            *hint = payload.windows(MARKER.len()).position(|w| w == MARKER)?;
        }
        let mut rest = payload.get(*hint + MARKER.len()..)?;
        let mut next = |digits| {
            let number = digits_at(rest.get(..digits)?)?;
            rest = rest.get(digits + 1..)?;
            Some(number)
        };
        Some(Self {
            trigger: next(TRIGGER_DIGITS)?,
            sequence: next(SEQUENCE_DIGITS)?,
            sent_ns: next(SENT_DIGITS)?,
        })
    }
}

fn push_digits(number: u64, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut rest = number;
    for slot in out[start..].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn digits_at(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

const HEAD: &[u8] = br#"{"type": "publish", "data": "#;
const MIDDLE: &[u8] = br#", "requestId": ""#;
const TAIL: &[u8] = br#""}"#;

/// Appends the message that the gateway sends to a subscriber, with its spaces. Servers that
/// forward publications unchanged get this, so that all send equally many bytes.
pub fn write_publish(data: &[u8], request_id: Uuid, out: &mut Vec<u8>) {
    for part in [HEAD, data, MIDDLE, &uuid_text(request_id), TAIL] {
        out.extend_from_slice(part);
    }
}

/// Appends the websocket frame of [`write_publish`]: the floor sends these bytes.
pub fn write_publish_frame(data: &[u8], request_id: Uuid, out: &mut Vec<u8>) {
    let length = HEAD.len() + data.len() + MIDDLE.len() + UUID_BYTES + TAIL.len();
    out.push(0x81);
    match length {
        0..126 => out.push(length as u8),
        126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    write_publish(data, request_id, out);
}

const UUID_BYTES: usize = 36;

/// A UUID as in JSON, without quotes.
#[must_use]
pub fn uuid_text(id: Uuid) -> [u8; UUID_BYTES] {
    let mut text = [0; UUID_BYTES];
    id.hyphenated().encode_lower(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        trigger: 12,
        sequence: 7,
        sent_ns: 123_456_789_012,
    };

    #[test]
    fn data_has_the_asked_length_and_is_json() {
        for bytes in [DATA_BYTES_MIN, 128, 1000] {
            let mut data = Vec::new();
            STAMP.write(bytes, &mut data);
            assert_eq!(data.len(), bytes);
            let text: String = serde_json::from_slice(&data).unwrap();
            assert_eq!(text.len(), bytes - 2);
        }
    }

    #[test]
    fn a_stamp_is_found_wherever_it_stands() {
        let mut hint = 0;
        for prefix in ["", "{\"data\": ", "a much longer beginning "] {
            let mut payload = prefix.as_bytes().to_vec();
            STAMP.write(128, &mut payload);
            assert_eq!(Stamp::find(&payload, &mut hint), Some(STAMP));
            assert_eq!(hint, prefix.len() + 1);
        }
    }

    #[test]
    fn what_is_no_stamp_is_not_found() {
        let mut whole = Vec::new();
        STAMP.write(DATA_BYTES_MIN, &mut whole);
        for payload in [&b""[..], b"~htb", b"{}", b"~htb00000000001x,"] {
            assert_eq!(Stamp::find(payload, &mut 0), None);
        }
        for length in 0..whole.len() - 2 {
            assert_eq!(Stamp::find(&whole[..length], &mut 0), None);
        }
    }

    #[test]
    fn the_floors_frame_is_what_a_gateway_sends() {
        let id = Uuid::new_v4();
        for (bytes, header) in [(62, 4), (128, 4), (65_000, 4), (65_536, 10)] {
            let (mut data, mut frame) = (Vec::new(), Vec::new());
            Content::Filler.write(&STAMP, bytes, &mut data);
            write_publish_frame(&data, id, &mut frame);
            assert_eq!(frame.len(), header + bytes + 82);
            assert_eq!(frame[0], 0x81);
            let value: serde_json::Value = serde_json::from_slice(&frame[header..]).unwrap();
            assert_eq!(value["type"], "publish");
            assert_eq!(value["requestId"], id.to_string());
            assert_eq!(value["data"].as_str().unwrap().len(), bytes - 2);
        }
    }
}
