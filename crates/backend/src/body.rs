//! Reading a response body: bounded, decoded, and copied only if it arrived in pieces.

mod inflate;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::answer::Failure;
use crate::body::inflate::{Coding, Inflater};
use crate::budget::Held;
use crate::fault;

/// Reads and decodes a whole body of at most `bytes_max` bytes, which `held` accounts for meanwhile.
pub(crate) async fn read<B>(
    mut body: B,
    headers: &HeaderMap,
    bytes_max: usize,
    held: &mut Held<'_>,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut reader = Reader::new(headers, bytes_max)?;
    reader.expect(body.size_hint().lower())?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fault::in_body(&error))?;
        if let Ok(data) = frame.into_data() {
            reader.take(data)?;
            held.grow(reader.bytes())?;
        }
    }
    reader.finish()
}

/// Reads and discards at most `bytes_max` bytes, so that the connection can be reused. A longer
/// body is not read, which closes the connection.
pub(crate) async fn discard<B>(mut body: B, bytes_max: usize)
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut left = bytes_max;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Collects a body from its pieces.
struct Reader {
    bytes_max: usize,
    /// Limit on the bytes received; a coded body may be a little longer than a plain one.
    wire_bytes_max: usize,
    wire_bytes: usize,
    kind: Kind,
}

enum Kind {
    /// Nothing received, or one piece.
    Whole(Bytes),
    /// Several pieces.
    Pieces(BytesMut),
    /// A coded body.
    Coded(Inflater),
}

impl Reader {
    fn new(headers: &HeaderMap, bytes_max: usize) -> Result<Self, Failure> {
        let coding = coding(headers)?;
        let overhead = if coding.is_some() {
            1024 + bytes_max / 128
        } else {
            0
        };
        Ok(Self {
            bytes_max,
            wire_bytes_max: bytes_max.saturating_add(overhead),
            wire_bytes: 0,
            kind: match coding {
                None => Kind::Whole(Bytes::new()),
                Some(coding) => Kind::Coded(Inflater::new(coding, bytes_max)),
            },
        })
    }

    /// Refuses a body at once that announces itself as too long.
    fn expect(&self, announced: u64) -> Result<(), Failure> {
        if usize::try_from(announced).is_ok_and(|length| length <= self.wire_bytes_max) {
            return Ok(());
        }
        Err(Failure::TooLarge {
            bytes_max: self.bytes_max,
        })
    }

    fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.wire_bytes = self.wire_bytes.saturating_add(data.len());
        self.expect(self.wire_bytes as u64)?;
        match &mut self.kind {
            Kind::Whole(whole) if whole.is_empty() => *whole = data,
            Kind::Whole(first) => {
                let mut pieces = BytesMut::with_capacity((first.len() + data.len()) * 2);
                pieces.extend_from_slice(first);
                pieces.extend_from_slice(&data);
                self.kind = Kind::Pieces(pieces);
            }
            Kind::Pieces(pieces) => pieces.extend_from_slice(&data),
            Kind::Coded(inflater) => inflater.take(&data)?,
        }
        Ok(())
    }

    /// Memory that it takes.
    fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Whole(whole) => whole.len(),
            Kind::Pieces(pieces) => pieces.capacity(),
            Kind::Coded(inflater) => inflater.bytes(),
        }
    }

    fn finish(self) -> Result<Bytes, Failure> {
        match self.kind {
            Kind::Whole(whole) => Ok(whole),
            Kind::Pieces(pieces) => Ok(pieces.freeze()),
            Kind::Coded(inflater) => inflater.finish(),
        }
    }
}

/// The content coding of a response, `None` if it is plain.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Failure> {
    let mut coding = None;
    for line in headers.get_all(CONTENT_ENCODING) {
        let line = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        for name in line.split(',').map(str::trim) {
            let found = match name {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                other => {
                    let other: String = other.chars().take(40).collect();
                    return Err(Failure::Encoding(format!("content encoding {other:?}")));
                }
            };
            if coding.replace(found).is_some() {
                return Err(Failure::Encoding("it is encoded twice".into()));
            }
        }
    }
    Ok(coding)
}
