//! Numbers that a web page cannot send as they were granted.
//!
//! JavaScript has one kind of number. `JSON.stringify(7.0)` is `7`, and `9007199254740993` becomes
//! `9007199254740992` when it is parsed. A room that was granted with such a number differs from
//! the one that a page requests, and only a log line can report this to its API.

/// The largest integer below which JavaScript distinguishes all from their neighbours:
/// `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// From here on JavaScript writes integers with an exponent.
const PLAIN_INTEGER_MAX: f64 = 1e21;

/// A number in JSON text that a page cannot send as it is spelled there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsendable<'a> {
    /// The item of the list that has it.
    pub item: &'a str,
    /// The number as it is spelled there.
    pub number: &'a str,
    /// What a page sends instead.
    pub sent: String,
}

/// Finds the first number in a list of JSON values that a page cannot send as it is spelled. `list`
/// must be valid JSON.
#[must_use]
pub fn unsendable(list: &str) -> Option<Unsendable<'_>> {
    let bytes = list.as_bytes();
    let (mut at, mut depth, mut item_start) = (0, 0_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                // The list itself is the first level, its items are the second.
                if depth == 2 {
                    item_start = at;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                if let Some(sent) = sent_instead(&list[at..end]) {
                    let start = if depth < 2 { at } else { item_start };
                    return Some(Unsendable {
                        item: item(list, start),
                        number: &list[at..end],
                        sent,
                    });
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The value that begins at `start`.
fn item(list: &str, start: usize) -> &str {
    let bytes = list.as_bytes();
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => {
                let end = if depth == 1 { at + 1 } else { at };
                return list[start..end].trim_end();
            }
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return list[start..at].trim_end(),
            _ => {}
        }
        at += 1;
    }
    &list[start..]
}

/// The position after the closing quote of the string at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = bytes[start..]
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    start + length
}

/// What a page sends instead of a number, if that differs.
fn sent_instead(number: &str) -> Option<String> {
    let is_integer = !number.contains(['.', 'e', 'E']);
    let digits = number.trim_start_matches('-');
    if is_integer {
        if digits.parse::<u64>().is_ok_and(|it| it <= SAFE_INTEGER_MAX) {
            return None;
        }
        // Some beyond it are still exact, such as 2^53 itself.
        return of_javascript(number).filter(|sent| sent != number);
    }
    // A number that no double holds is in no room at all: see `GrantList::unusable`.
    if !is_double(number) {
        return None;
    }
    let sent = of_javascript(number)?;
    // An integer and a float are two values, and two texts of one float are one.
    let is_float = sent.contains(['.', 'e', 'E']);
    (!is_float || decimal(&sent) != decimal(number)).then_some(sent)
}

/// Whether a double can hold a number with a fraction or an exponent, if not exactly.
fn is_double(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.contains(|digit| ('1'..='9').contains(&digit));
    let value = number.parse::<f64>();
    value.is_ok_and(|value| value.is_finite() && (value != 0.0 || is_zero))
}

/// `JSON.stringify(JSON.parse(number))`; none where it is too large for JavaScript.
fn of_javascript(number: &str) -> Option<String> {
    let value: f64 = number.parse().ok()?;
    if !value.is_finite() {
        return Some("null".to_owned());
    }
    if value == 0.0 {
        return Some("0".to_owned());
    }
    Some(if value.abs() < PLAIN_INTEGER_MAX && value.abs() >= 1e-6 {
        format!("{value}")
    } else {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        }
    })
}

/// A decimal without what does not change its value: its digits, and the power of ten of the last.
fn decimal(number: &str) -> (bool, String, i64) {
    let (sign, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(i64::MAX);
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    let dropped = significant.len() - trimmed.len();
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
    let power = exponent.saturating_sub(places).saturating_add(dropped);
    (sign, trimmed.to_owned(), power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_page_sends_otherwise_are_found() {
        for (number, sent) in [
            ("7", None),
            ("0", None),
            ("-7", None),
            ("9007199254740991", None),
            ("-9007199254740991", None),
            ("9007199254740992", None),
            ("9007199254740993", Some("9007199254740992")),
            ("-9007199254740993", Some("-9007199254740992")),
            ("9007199254740994", None),
            ("12345678901234567890", Some("12345678901234567000")),
            ("7.0", Some("7")),
            ("-0", None),
            ("1000000000000000000000", Some("1e+21")),
            ("-7.0", Some("-7")),
            ("0.0", Some("0")),
            ("1e2", Some("100")),
            ("100.00", Some("100")),
            ("7.5", None),
            ("7.50", None),
            ("75e-1", None),
            ("0.1", None),
            ("-0.1", None),
            ("0.1000000000000000055", Some("0.1")),
            ("1e21", None),
            ("1.5e300", None),
            ("1E-7", None),
            ("0.0000001", None),
            // No room has these.
            ("1e400", None),
            ("-1e400", None),
            ("1e-400", None),
            ("0e5", Some("0")),
        ] {
            let list = format!(r#"[{{"id":{number}}}]"#);
            let found = unsendable(&list).map(|found| found.sent);
            assert_eq!(found.as_deref(), sent, "{number}");
        }
    }

    #[test]
    fn room_with_the_number_is_reported() {
        let rooms = r#"[{"a":"7.0 \" 8.0"}, {"b": 1, "c": {"d": [2, 7.0]}}, {"e": 9.0}]"#;
        let found = unsendable(rooms).unwrap();
        assert_eq!(found.item, r#"{"b": 1, "c": {"d": [2, 7.0]}}"#);
        assert_eq!((found.number, &*found.sent), ("7.0", "7"));
        assert_eq!(unsendable("[]"), None);
        assert_eq!(unsendable(r#"[{"a":"*"},{"b":true,"c":null}]"#), None);
        assert_eq!(unsendable("[1, 2.0 ]").unwrap().item, "2.0");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[\[\]{}":,0-9.eE\\+ é-]{0,40}"#) {
            let _ = unsendable(&text);
        }

        #[test]
        fn safe_integers_and_shortest_floats_are_sent_as_they_are(integer in -(1_i64 << 53) + 1..1 << 53, float: f64) {
            let integer = format!("[{integer}]");
            proptest::prop_assert_eq!(unsendable(&integer), None);
            let float = format!("[{float:e}]");
            let found = unsendable(&float);
            let is_whole = found.as_ref().is_some_and(|it| !it.sent.contains(['.', 'e']));
            proptest::prop_assert!(found.is_none() || is_whole || float.contains("inf") || float.contains("NaN"), "{:?}", found);
        }
    }
}
