//! Values and their forms, and numbers as exact decimals.

use proptest::prelude::*;

use super::*;

fn form(text: &str) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    let mut reader = Reader::new(text);
    reader.value(&mut out, 8)?;
    assert!(reader.at_end(), "{text}");
    Ok(out)
}

#[test]
fn equal_values_have_one_form() {
    for (a, b) in [
        ("1", " 1 "),
        ("0", "-0"),
        ("1.0", "1e0"),
        ("1.50", "1.5"),
        ("1.0", "1.00"),
        ("1.0", "10e-1"),
        ("1.0", "0.001E+3"),
        ("1.0", "1e-0"),
        ("0.0", "-0.0"),
        ("0.0", "0e400"),
        ("0.0", "0e-99999999999999999999"),
        ("-2.5e3", "-2500.000"),
        ("1e22", "10000000000000000000000.0"),
        ("1e1", "1e+00000000000000000000000001"),
        (r#""a""#, r#""\u0061""#),
        (r#""\ud83d\ude00""#, "\"\u{1f600}\""),
        (r#""\/""#, r#""/""#),
        (r#"{"a":1,"b":[2]}"#, r#"{ "b" : [ 2 ] , "a" : 1 }"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"b":0,"a":2,"a":3}"#, r#"{"b":0,"a":3}"#),
    ] {
        assert_eq!(form(a), form(b), "{a} {b}");
    }
}

#[test]
fn different_values_have_different_forms() {
    let values = [
        "1",
        "1.0",
        "\"1\"",
        "true",
        "false",
        "null",
        "10",
        "-1",
        "[]",
        "[[]]",
        "{}",
        "\"\"",
        "\"*\"",
        "[1]",
        "[1,1]",
        "[11]",
        "{\"a\":1}",
        "{\"a\":\"1\"}",
        "{\"1\":\"a\"}",
        "-1.0",
        "0",
        "0.0",
        "10.0",
        "0.1",
        "1e2",
        "1e-2",
        "1e12",
        // Each pair is one double.
        "0.10000000000000001",
        "9007199254740992.0",
        "9007199254740993.0",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "5e-324",
        "4.9e-324",
        "12345678901234567890123",
        "12345678901234567890124",
        "\"\\ud800\"",
        "\"\\ud801\"",
        "\"e\u{301}\"",
        "\"\u{e9}\"",
        "\"*\\u0000\"",
    ];
    for (i, a) in values.iter().enumerate() {
        for b in &values[i + 1..] {
            assert_ne!(form(a).unwrap(), form(b).unwrap(), "{a} {b}");
        }
    }
    assert_eq!(form("\"*\"").unwrap(), STAR);
}

#[test]
fn numbers_that_no_double_holds_are_refused_wherever_they_are() {
    for number in [
        "1e309",
        "1e400",
        "1e401",
        "-1e400",
        "1.8e308",
        "1e99999999999999999999",
        "1e-400",
        "-1e-99999999999999999999",
    ] {
        for text in [
            number.to_owned(),
            format!("[1,{number}]"),
            format!("{{\"a\":[{{\"b\":{number}}}]}}"),
        ] {
            assert_eq!(form(&text), Err(CanonicalError::Number), "{text}");
        }
    }
    // Whole numbers without an exponent compare by their digits, however many.
    assert!(form(&"9".repeat(400)).is_ok());
    // Long, but not large.
    let long = format!("0.{}1e{}", "0".repeat(5_000), 5_001);
    assert_eq!(form(&long), form("1.0"));
}

#[test]
fn depth_is_bounded() {
    let nested = |n| "[".repeat(n) + &"]".repeat(n);
    assert!(form(&nested(8)).is_ok());
    assert_eq!(form(&nested(9)), Err(CanonicalError::TooDeep));
    assert_eq!(form(&nested(100_000)), Err(CanonicalError::TooDeep));
}

/// A decimal in two spellings: the same digits with the point elsewhere and zeros around.
fn spelled(digits: i64, power: i32, shift: i32, zeros: usize) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let digits = digits.unsigned_abs();
    let shift = shift.unsigned_abs();
    let moved = format!("{digits:0>width$}", width = shift as usize + 1);
    let (whole, fraction) = moved.split_at(moved.len() - shift as usize);
    let zeros = "0".repeat(zeros);
    format!(
        "{sign}{whole}.{fraction}{zeros}0e{}",
        power + i32::try_from(shift).unwrap()
    )
}

proptest! {
    /// Forms are equal exactly where the decimals are, and never where the doubles differ.
    #[test]
    fn decimals_compare_exactly(
        a in -2_000i64..2_000, b in -2_000i64..2_000,
        power in -3..3i32, other in -3..3i32,
        shift in 0..6i32, zeros in 0..4usize,
    ) {
        let (first, second) = (spelled(a, power, shift, zeros), spelled(b, other, 0, 0));
        let scaled = |digits: i64, power: i32| i128::from(digits) * 10i128.pow((power + 3).unsigned_abs());
        let equal = scaled(a, power) == scaled(b, other);
        prop_assert_eq!(form(&first) == form(&second), equal, "{} {}", first, second);
        let double = |text: &str| text.parse::<f64>().unwrap();
        prop_assert!(!equal || double(&first) == double(&second));
    }

    #[test]
    fn nothing_panics(text in "\\PC*") {
        let _ = Reader::new(&text).value(&mut Vec::new(), 8);
    }

    #[test]
    fn json_shaped_noise_does_not_panic(text in r#"[\[\]{}",:\\u0-9a-f.eE+ \-tnl*]{0,40}"#) {
        let _ = Reader::new(&text).value(&mut Vec::new(), 8);
    }
}
