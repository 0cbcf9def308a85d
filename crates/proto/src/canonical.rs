//! One byte string per JSON value, equal exactly when the values are.
//!
//! Values compare by type and content: `1`, `1.0`, `"1"` and `true` are four values. Numbers with a
//! fraction or an exponent compare as exact decimals, not as doubles: `1.0`, `1.00` and `10e-1` are
//! one value, `0.1` and `0.10000000000000001` are two. Those that a double cannot hold are refused,
//! because their readers would turn them into infinity or zero. The order of an object's keys does
//! not matter and of two equal keys the last wins; escapes are decoded; nothing is normalised
//! beyond that. Every form is self-delimiting, so forms may be concatenated.

mod json;

pub(crate) use self::json::put_json;

/// Why a text has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CanonicalError {
    /// Not JSON.
    Syntax,
    /// Nested deeper than allowed.
    TooDeep,
    /// A number with a fraction or an exponent that is too large or too small for a double.
    Number,
}

/// A reader over JSON text that writes canonical forms.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
        }
    }

    /// Appends the form of the next value to `out`. `depth` is how many levels of arrays and
    /// objects it may have.
    pub(crate) fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        match self.peek()? {
            b'"' => self.string(out),
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b't' => self.word(b"true", out),
            b'f' => self.word(b"false", out),
            b'n' => self.word(b"null", out),
            _ => self.number(out),
        }
    }

    /// Reads an object's entries as (key form, value form), keys sorted, the last of equal keys.
    pub(crate) fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, CanonicalError> {
        let depth = depth.checked_sub(1).ok_or(CanonicalError::TooDeep)?;
        self.expect(b'{')?;
        let mut entries: Vec<Entry> = Vec::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(entries);
        }
        loop {
            let mut entry = Entry::new();
            if self.peek()? != b'"' {
                return Err(CanonicalError::Syntax);
            }
            self.string(&mut entry.form)?;
            entry.key_bytes = entry.form.len();
            self.expect(b':')?;
            self.value(&mut entry.form, depth)?;
            entries.push(entry);
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return Err(CanonicalError::Syntax),
            }
        }
        // Stable: of equal keys the last stays last, and is the one that is kept.
        entries.sort_by(|a, b| a.key().cmp(b.key()));
        entries.dedup_by(|later, kept| {
            let same = later.key() == kept.key();
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Ok(entries)
    }

    /// Whether only white space is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.peek().is_err()
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        let entries = self.entries(depth)?;
        out.push(b'{');
        for entry in entries {
            out.extend_from_slice(&entry.form);
        }
        out.push(b'}');
        Ok(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
        let depth = depth.checked_sub(1).ok_or(CanonicalError::TooDeep)?;
        self.expect(b'[')?;
        out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(out, depth)?;
                match self.next()? {
                    b',' => {}
                    b']' => break,
                    _ => return Err(CanonicalError::Syntax),
                }
            }
        }
        out.push(b']');
        Ok(())
    }

    fn word(&mut self, word: &'static [u8], out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(CanonicalError::Syntax);
        }
        self.at += word.len();
        out.push(word[0]);
        Ok(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let rest = &self.text[self.at..];
        let end = rest
            .iter()
            .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| CanonicalError::Syntax)?;
        self.at += end;
        if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
            return decimal(text, out);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CanonicalError::Syntax);
        }
        out.push(b'i');
        out.extend_from_slice(if digits == "0" { digits } else { text }.as_bytes());
        out.push(b';');
        Ok(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        self.expect(b'"')?;
        let start = out.len();
        out.extend_from_slice(&[b's', 0, 0, 0, 0]);
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\'))
                .ok_or(CanonicalError::Syntax)?;
            out.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                break;
            }
            self.escape(out)?;
        }
        let len =
            u32::try_from(out.len() - start - STRING_HEAD).map_err(|_| CanonicalError::Syntax)?;
        out[start + 1..start + STRING_HEAD].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let byte = self
            .text
            .get(self.at)
            .copied()
            .ok_or(CanonicalError::Syntax)?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode_escape(out),
            _ => return Err(CanonicalError::Syntax),
        });
        Ok(())
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = back;
            }
        }
        if let Some(c) = char::from_u32(code) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            // A lone surrogate: JSON can write it, UTF-8 cannot. Its three generalised bytes
            // keep it apart from everything else.
            let low6 = |shift: u32| 0x80 | u8::try_from((code >> shift) & 0x3f).unwrap_or(0);
            out.extend_from_slice(&[0xed, low6(6), low6(0)]);
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, CanonicalError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .ok_or(CanonicalError::Syntax)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &digit| {
            let value = char::from(digit)
                .to_digit(16)
                .ok_or(CanonicalError::Syntax)?;
            Ok(code << 4 | value)
        })
    }

    fn peek(&mut self) -> Result<u8, CanonicalError> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(CanonicalError::Syntax)
    }

    fn next(&mut self) -> Result<u8, CanonicalError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), CanonicalError> {
        if self.next()? == byte {
            Ok(())
        } else {
            Err(CanonicalError::Syntax)
        }
    }
}

/// Appends the form of a number with a fraction or an exponent: its sign, its digits without zeros
/// on either side, and the power of ten that they are multiplied with.
fn decimal(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let value: f64 = text.parse().map_err(|_| CanonicalError::Syntax)?;
    let magnitude = text.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let start = out.len();
    out.push(b'd');
    if text.starts_with('-') {
        out.push(b'-');
    }
    let first = out.len();
    out.extend(
        whole
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|&b| b == b'0'),
    );
    let all = out.len();
    while out.len() > first && out.last() == Some(&b'0') {
        out.pop();
    }
    if out.len() == first {
        // Minus zero is zero.
        out.truncate(start);
        out.extend_from_slice(b"d0;");
        return Ok(());
    }
    if !value.is_finite() || value == 0.0 {
        return Err(CanonicalError::Number);
    }
    // A double holds it, so its exponent is not much larger than the text is long.
    let exponent: i64 = exponent.parse().map_err(|_| CanonicalError::Number)?;
    let length = |bytes: usize| i64::try_from(bytes).map_err(|_| CanonicalError::Number);
    let power = exponent - length(fraction.len())? + length(all - out.len())?;
    out.extend_from_slice(format!("e{power};").as_bytes());
    Ok(())
}

/// An `s` and the length of what follows.
const STRING_HEAD: usize = 5;

/// Where the form of a string ends that `forms` begins with.
pub(crate) fn string_end(forms: &[u8]) -> usize {
    let length = forms[1..]
        .first_chunk()
        .map_or(0, |&head| u32::from_be_bytes(head));
    STRING_HEAD + length as usize
}

/// The canonical form of the string `*`.
pub(crate) const STAR: &[u8] = b"s\0\0\0\x01*";

/// One member of an object, as canonical forms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key, then the value.
    form: Vec<u8>,
    key_bytes: usize,
}

impl Entry {
    /// Room for a usual member, so that it does not grow byte by byte.
    fn new() -> Self {
        Self {
            form: Vec::with_capacity(USUAL),
            key_bytes: 0,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.form[..self.key_bytes]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.form[self.key_bytes..]
    }
}

/// Bytes of a usual key and value.
const USUAL: usize = 80;

#[cfg(test)]
mod tests;
