//! Keys and values of rooms as short JSON text, for humans.

use std::fmt::Write as _;

/// The type of a value, given as [`Room::value`](crate::room::Room::value) returns it.
#[must_use]
pub fn kind(form: &[u8]) -> &'static str {
    match form.first() {
        Some(b's') => "text",
        Some(b'i' | b'd') => "number",
        Some(b't' | b'f') => "boolean",
        Some(b'[') => "array",
        Some(b'{') => "object",
        _ => "null",
    }
}

/// The JSON text of a value, or of a key, of at most `bytes_max` bytes; what is longer ends with
/// `…`. Control characters are escaped. A long string is not read beyond `bytes_max`.
#[must_use]
pub fn text(form: &[u8], bytes_max: usize) -> String {
    Excerpt::of(form, bytes_max).0
}

/// The characters of a key, without quotes; otherwise like [`text`].
#[must_use]
pub fn name(key: &[u8], bytes_max: usize) -> String {
    // The quotes do not count, of which a text that is cut has one.
    let (whole, is_cut) = Excerpt::of(key, bytes_max + 2);
    if is_cut {
        let cut = text(key, bytes_max + 1);
        return cut.strip_prefix('"').unwrap_or(&cut).to_owned();
    }
    let inner = whole
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'));
    inner.unwrap_or(&whole).to_owned()
}

/// The output so far. It grows by a character beyond its bound at most before it is cut.
struct Excerpt<'a> {
    form: &'a [u8],
    out: String,
    bytes_max: usize,
}

impl<'a> Excerpt<'a> {
    /// The text, and whether it was cut.
    fn of(form: &'a [u8], bytes_max: usize) -> (String, bool) {
        let mut excerpt = Self {
            form,
            out: String::new(),
            bytes_max,
        };
        let is_whole = excerpt.value().is_some() && excerpt.out.len() <= bytes_max;
        let mut out = excerpt.out;
        if !is_whole {
            out.truncate(out.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len())));
            out.push_str(ELLIPSIS);
        }
        (out, !is_whole)
    }

    /// Writes the next value; none where the bound is exceeded.
    fn value(&mut self) -> Option<()> {
        let (&tag, rest) = self.form.split_first()?;
        self.form = rest;
        match tag {
            b's' => self.string(),
            b'i' => self.integer(),
            b'd' => self.decimal(),
            b't' => self.put("true"),
            b'f' => self.put("false"),
            b'[' => self.list(']', Self::value),
            b'{' => self.list('}', |excerpt| {
                excerpt.value()?;
                excerpt.put(":")?;
                excerpt.value()
            }),
            _ => self.put("null"),
        }
    }

    /// Writes the members of an array or an object, up to its end.
    fn list(&mut self, end: char, member: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        self.put(if end == ']' { "[" } else { "{" })?;
        let mut is_first = true;
        while *self.form.first()? != u8::try_from(end).ok()? {
            if !std::mem::take(&mut is_first) {
                self.put(",")?;
            }
            member(self)?;
        }
        self.form = &self.form[1..];
        self.put(end.encode_utf8(&mut [0; 4]))
    }

    fn string(&mut self) -> Option<()> {
        let (length, rest) = self.form.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.form = rest;
        self.put("\"")?;
        // A few more than fit, so that a character that is cut in two is beyond the bound.
        let bytes = &bytes[..bytes.len().min(self.bytes_max + 4)];
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '"' => self.put("\\\"")?,
                '\\' => self.put("\\\\")?,
                c if c.is_control() => self.put(&format!("\\u{:04x}", u32::from(c)))?,
                c => self.put(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        self.put("\"")
    }

    /// The text before the next `;`, as far as it may be written.
    fn digits(&mut self) -> Option<&'a str> {
        let form = self.form;
        let end = form.iter().position(|&b| b == b';')?;
        self.form = &form[end + 1..];
        str::from_utf8(&form[..end]).ok()
    }

    fn integer(&mut self) -> Option<()> {
        let digits = self.digits()?;
        self.put(&digits[..digits.len().min(self.bytes_max + 1)])
    }

    /// A number with a fraction or an exponent: its digits, and the position of the point.
    fn decimal(&mut self) -> Option<()> {
        let form = self.digits()?;
        let (digits, power) = form.split_once('e').unwrap_or((form, "0"));
        let (sign, digits) = digits
            .strip_prefix('-')
            .map_or(("", digits), |digits| ("-", digits));
        let power: i64 = power.parse().ok()?;
        let point = power + i64::try_from(digits.len()).ok()?;
        self.put(sign)?;
        let digits_shown = &digits[..digits.len().min(self.bytes_max + 1)];
        match usize::try_from(point) {
            _ if power >= 0 && point <= PLAIN => {
                let zeros = usize::try_from(power).ok()?;
                self.put(&format!("{digits_shown}{:0<zeros$}.0", ""))
            }
            Ok(point) if 0 < point && point < digits.len() => {
                let (whole, fraction) = digits.split_at(point);
                let fraction = &fraction[..fraction.len().min(self.bytes_max + 1)];
                self.put(&whole[..whole.len().min(self.bytes_max + 1)])?;
                self.put(".")?;
                self.put(fraction)
            }
            _ if (-6..=0).contains(&point) => {
                let zeros = usize::try_from(-point).ok()?;
                self.put(&format!("0.{:0<zeros$}{digits_shown}", ""))
            }
            _ => {
                self.put(digits_shown)?;
                self.put(&format!("e{power}"))
            }
        }
    }

    fn put(&mut self, text: &str) -> Option<()> {
        self.out.write_str(text).ok()?;
        (self.out.len() <= self.bytes_max).then_some(())
    }
}

/// The end of a text that is cut.
const ELLIPSIS: &str = "…";

/// Most digits before the point that are written without an exponent.
const PLAIN: i64 = 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Room, RoomLimits};

    fn room(value: &str) -> Room {
        Room::parse(&format!("{{\"k\":{value}}}"), RoomLimits::TRUSTED).unwrap()
    }

    #[test]
    fn values_are_shown_as_json() {
        for (value, shown, kind_shown) in [
            ("1", "1", "number"),
            ("-12", "-12", "number"),
            ("7.0", "7.0", "number"),
            ("70e1", "700.0", "number"),
            ("-0.0", "0.0", "number"),
            ("-1.50", "-1.5", "number"),
            ("0.05", "0.05", "number"),
            ("1e-9", "1e-9", "number"),
            ("12e300", "12e300", "number"),
            (r#""a\"b\\""#, r#""a\"b\\""#, "text"),
            (r#""\n\u0085""#, r#""\u000a\u0085""#, "text"),
            (r#""\ud800""#, "\"\u{fffd}\u{fffd}\u{fffd}\"", "text"),
            ("true", "true", "boolean"),
            ("false", "false", "boolean"),
            ("null", "null", "null"),
            ("[ ]", "[]", "array"),
            (r#"[1, [2, "x"], {}]"#, r#"[1,[2,"x"],{}]"#, "array"),
            (r#"{"b": 1, "a": [2]}"#, r#"{"a":[2],"b":1}"#, "object"),
        ] {
            let room = room(value);
            let form = room.value(0);
            assert_eq!((text(form, 40), kind(form)), (shown.into(), kind_shown));
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = "x".repeat(1_000);
        for (value, shown) in [
            (r#""12345678""#.to_owned(), r#""12345678""#.to_owned()),
            (r#""123456789""#.into(), r#""123456…"#.into()),
            (format!("\"{long}\""), r#""xxxxxx…"#.into()),
            (r#""ääääääääää""#.into(), r#""äää…"#.into()),
            (format!("[[\"{long}\"]]"), r#"[["xxxx…"#.into()),
            ("1234567890123".into(), "1234567…".into()),
            ("0.1234567890123".into(), "0.12345…".into()),
            ("1234567890123.5".into(), "1234567…".into()),
        ] {
            let room = room(&value);
            let text = text(room.value(0), 10);
            assert_eq!(text, shown);
            assert!(text.len() <= 10);
        }
    }

    #[test]
    fn names_have_no_quotes() {
        for (key, shown) in [
            ("project", "project"),
            ("", ""),
            ("1234567890", "1234567890"),
            ("12345678901", "1234567…"),
            (r#"a\"b"#, r#"a\"b"#),
            (r#"\""#, r#"\""#),
        ] {
            let text = format!("{{\"{key}\":1}}");
            let room = Room::parse(&text, RoomLimits::TRUSTED).unwrap();
            let (key, _) = room.members().next().unwrap();
            assert_eq!(name(key, 10), shown);
            assert!(shown.len() <= 10);
        }
    }
}
