//! From canonical forms back to JSON.

use std::fmt::Write as _;

use crate::canonical::{STRING_HEAD, string_end};

/// Appends the JSON text of the value or key that `forms` begins with. Returns what follows it.
pub(crate) fn put_json<'a>(forms: &'a [u8], out: &mut String) -> &'a [u8] {
    let Some((first, rest)) = forms.split_first() else {
        return forms;
    };
    match first {
        b's' => {
            let (string, rest) = forms.split_at(string_end(forms).min(forms.len()));
            put_string(string.get(STRING_HEAD..).unwrap_or_default(), out);
            rest
        }
        b'i' | b'd' => put_number(*first == b'd', rest, out),
        b'[' => put_items(rest, out, b']', |forms, out| put_json(forms, out)),
        b'{' => put_items(rest, out, b'}', |forms, out| {
            let forms = put_json(forms, out);
            out.push_str(": ");
            put_json(forms, out)
        }),
        b't' => put_word("true", rest, out),
        b'f' => put_word("false", rest, out),
        _ => put_word("null", rest, out),
    }
}

fn put_word<'a>(word: &str, rest: &'a [u8], out: &mut String) -> &'a [u8] {
    out.push_str(word);
    rest
}

/// A number up to its `;`. One with a fraction or an exponent keeps that, so that it stays apart
/// from whole numbers.
fn put_number<'a>(is_decimal: bool, forms: &'a [u8], out: &mut String) -> &'a [u8] {
    let end = forms.iter().position(|&byte| byte == b';');
    let (digits, rest) = forms.split_at(end.unwrap_or(forms.len()));
    let digits = str::from_utf8(digits).unwrap_or("0");
    out.push_str(if is_decimal && digits == "0" {
        "0.0"
    } else {
        digits
    });
    rest.get(1..).unwrap_or_default()
}

/// The content of two brackets, of which the first has been read.
fn put_items<'a>(
    mut forms: &'a [u8],
    out: &mut String,
    end: u8,
    put: impl Fn(&'a [u8], &mut String) -> &'a [u8],
) -> &'a [u8] {
    out.push(if end == b']' { '[' } else { '{' });
    let mut is_first = true;
    loop {
        match forms.split_first() {
            Some((&byte, rest)) if byte == end => {
                out.push(char::from(end));
                return rest;
            }
            None => return forms,
            Some(_) => {}
        }
        if !std::mem::replace(&mut is_first, false) {
            out.push_str(", ");
        }
        forms = put(forms, out);
    }
}

/// A string with its quotes. Invalid UTF-8 is halves of surrogate pairs, of three bytes each.
fn put_string(mut bytes: &[u8], out: &mut String) {
    out.push('"');
    loop {
        let valid = match str::from_utf8(bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, rest) = bytes.split_at(valid);
        str::from_utf8(text)
            .unwrap_or_default()
            .chars()
            .for_each(|c| put_char(c, out));
        let Some((&[_, high, low], rest)) = rest.split_first_chunk() else {
            break;
        };
        let bits = |byte: u8| u32::from(byte & 0x3f);
        put_escape(0xd000 | bits(high) << 6 | bits(low), out);
        bytes = rest;
    }
    out.push('"');
}

fn put_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        c if c < ' ' => put_escape(u32::from(c), out),
        c => out.push(c),
    }
}

fn put_escape(code: u32, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\u{code:04x}");
}
