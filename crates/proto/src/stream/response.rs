//! The HTTP responses in which streams and long polls are sent.

use crate::close::Advice;
use crate::cursor::Cursor;
use crate::stream::event::retry_ms;
use crate::stream::message::{put_close, split_reason};

/// The header that says from where on a stream continues.
pub const CURSOR_HEADER: &str = "High-Templar-Cursor";

/// The head of a response. The connection ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its status.
    pub status: u16,
    /// The type of its body.
    pub content_type: &'a str,
    /// Length of its body in bytes; none: it ends with the connection.
    pub length: Option<usize>,
    /// The origin of the page that may read it, if it is another one's.
    pub origin: Option<&'a str>,
    /// From where on the stream continues.
    pub cursor: Option<Cursor>,
    /// When the client may retry, in ms.
    pub retry_ms: Option<u64>,
}

impl Head<'_> {
    /// Appends its bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut line = |parts: [&str; 3]| {
            parts
                .iter()
                .for_each(|part| out.extend_from_slice(part.as_bytes()));
            out.extend_from_slice(b"\r\n");
        };
        let mut digits = itoa::Buffer::new();
        line(["HTTP/1.1 ", digits.format(self.status), phrase(self.status)]);
        line(["Content-Type", ": ", self.content_type]);
        if let Some(length) = self.length {
            line(["Content-Length", ": ", digits.format(length)]);
        }
        // Answers are personal, and no intermediary may hold or rewrite a part of them.
        line(["Cache-Control", ": ", "no-store, no-transform"]);
        line(["X-Accel-Buffering", ": ", "no"]);
        line(["X-Content-Type-Options", ": ", "nosniff"]);
        line(["Vary", ": ", "Origin"]);
        if let Some(origin) = self.origin {
            line(["Access-Control-Allow-Origin", ": ", origin]);
            line(["Access-Control-Allow-Credentials", ": ", "true"]);
            line(["Access-Control-Expose-Headers", ": ", CURSOR_HEADER]);
        }
        if let Some(cursor) = self.cursor {
            line([CURSOR_HEADER, ": ", &cursor.to_string()]);
        }
        if let Some(ms) = self.retry_ms {
            let seconds = ms.div_ceil(1_000).max(1);
            line(["Retry-After", ": ", digits.format(seconds)]);
        }
        if self.status == 401 {
            line(["WWW-Authenticate", ": ", "Bearer"]);
        }
        line(["Connection", ": ", "close"]);
        out.extend_from_slice(b"\r\n");
    }
}

/// The reason phrase of the statuses that are used here.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => " OK",
        401 => " Unauthorized",
        403 => " Forbidden",
        429 => " Too Many Requests",
        _ => " Service Unavailable",
    }
}

/// The status for a client that is not let in, by the code of the close frame that it would get.
#[must_use]
pub const fn status_of(code: u16) -> u16 {
    match (code, Advice::of(code)) {
        (4301, _) => 401,
        (4100 | 4200, _) => 429,
        (_, Advice::Soon | Advice::Later) => 503,
        (_, Advice::Never | Advice::SignIn | Advice::AsYouLike) => 403,
    }
}

/// Appends the response to a client that is not let in.
pub fn put_refusal(
    out: &mut Vec<u8>,
    (code, reason): (u16, &str),
    origin: Option<&str>,
    random: u64,
) {
    let mut body = br#"{"is_authorized": false"#.to_vec();
    put_close(&mut body, code, reason);
    body.push(b'}');
    let status = status_of(code);
    let (_, within) = split_reason(reason);
    let head = Head {
        status,
        content_type: "application/json",
        length: Some(body.len()),
        origin,
        cursor: None,
        retry_ms: matches!(status, 429 | 503).then(|| retry_ms(within, Advice::of(code), random)),
    };
    head.put(out);
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::Close;

    #[test]
    fn the_status_follows_what_the_client_should_do() {
        for (close, status) in [
            (Close::NORMAL, 403),
            (Close::REFUSED, 403),
            (Close::AUTHENTICATE, 401),
            (Close::RESTART, 503),
            (Close::BACKEND, 503),
            (Close::OVERLOADED, 503),
            (Close::PERMISSIONS, 503),
            (Close::SUSPENDED, 503),
            (Close::TENANT_BUSY, 503),
            (Close::CONNECTIONS_PER_USER, 429),
            (Close::TOO_MANY_MESSAGES, 429),
        ] {
            assert_eq!(status_of(close.code()), status, "{close:?}");
        }
        // What an API may say of a client that it disconnects.
        for (code, status) in [(4003, 503), (4103, 503), (4203, 403), (4303, 403)] {
            assert_eq!(status_of(code), status, "{code}");
        }
    }

    #[test]
    fn a_head_forbids_to_keep_and_to_change_what_follows() {
        let head = Head {
            status: 200,
            content_type: "text/event-stream",
            length: None,
            origin: Some("https://app.example"),
            cursor: "k3f9ab-1742-aB3x".parse().ok(),
            retry_ms: None,
        };
        let mut out = Vec::new();
        head.put(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\n\
             Content-Type: text/event-stream\r\n\
             Cache-Control: no-store, no-transform\r\n\
             X-Accel-Buffering: no\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Vary: Origin\r\n\
             Access-Control-Allow-Origin: https://app.example\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: High-Templar-Cursor\r\n\
             High-Templar-Cursor: k3f9ab-1742-aB3x\r\n\
             Connection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_refusal_has_a_status_and_says_when_to_retry() {
        let of = |close: Close| {
            let mut out = Vec::new();
            put_refusal(&mut out, (close.code(), &close.reason()), None, 4_711);
            String::from_utf8(out).unwrap()
        };
        let refused = of(Close::REFUSED);
        assert!(
            refused.starts_with("HTTP/1.1 403 Forbidden\r\n"),
            "{refused}"
        );
        assert!(!refused.contains("Retry-After"));
        assert!(!refused.contains("Access-Control"));
        let body = r#"{"is_authorized": false, "code": 4300, "reason": "refused"}"#;
        assert!(refused.ends_with(body), "{refused}");
        assert!(refused.contains(&format!("Content-Length: {}\r\n", body.len())));
        let later = of(Close::BACKEND.within(10_000));
        assert!(later.starts_with("HTTP/1.1 503 "), "{later}");
        assert!(later.contains("Retry-After: 5\r\n"), "{later}");
        assert!(later.ends_with(r#""reason": "backend", "within": 10000}"#));
        assert!(of(Close::AUTHENTICATE).contains("WWW-Authenticate: Bearer\r\n"));
    }
}
