//! One text per number: equal exactly when the numbers are, however they were written.

/// Longest text without an exponent, in bytes: room for every whole number that a double holds.
const PLAIN_BYTES_MAX: i64 = 400;

/// The text of a JSON number: all of its digits without an exponent and without zeros that change
/// nothing, so that `7`, `7.0` and `70e-1` are `7`. Numbers compare as exact decimals, not as
/// doubles. One that would be longer than a few hundred bytes is written with an exponent. None if
/// its exponent is beyond all measure.
pub(crate) fn text(json: &str) -> Option<Box<str>> {
    let (sign, magnitude) = match json.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", json),
    };
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        // Minus zero is zero.
        return Some("0".into());
    }
    let length = |text: &str| i64::try_from(text.len()).ok();
    let exponent = exponent.parse::<i64>().ok()?;
    // How many of the significant digits are in front of the point.
    let point = length(significant)? - length(fraction)?;
    let point = point.checked_add(exponent)?;
    let significant = significant.trim_end_matches('0');
    let count = length(significant)?;
    // The longest of the three forms below, about.
    if count.max(point).max(count.checked_sub(point)?) > PLAIN_BYTES_MAX {
        let power = point.checked_sub(count)?;
        return Some(format!("{sign}{significant}e{power}").into());
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let text = match usize::try_from(point) {
        Err(_) | Ok(0) => format!("{sign}0.{}{significant}", zeros(-point)),
        Ok(_) if point >= count => format!("{sign}{significant}{}", zeros(point - count)),
        Ok(point) => {
            let (whole, fraction) = significant.split_at(point);
            format!("{sign}{whole}.{fraction}")
        }
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_a_number_is_one_text() {
        let long = "9".repeat(500);
        let long_power = format!("{long}e0");
        for (json, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("-0e99999999999999999999", "0"),
            ("7", "7"),
            ("-7", "-7"),
            ("7.0", "7"),
            ("70", "70"),
            ("70e-1", "7"),
            ("0.7E+1", "7"),
            ("1e0", "1"),
            ("1e3", "1000"),
            ("1.5", "1.5"),
            ("1.50", "1.5"),
            ("150e-2", "1.5"),
            ("-0.0150", "-0.015"),
            ("1e-3", "0.001"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740993"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("1e21", "1000000000000000000000"),
            ("1e+30", "1000000000000000000000000000000"),
            // Each is another number than its neighbour, though both are one double.
            ("0.1", "0.1"),
            ("0.10000000000000001", "0.10000000000000001"),
            ("1e401", "1e401"),
            ("10e400", "1e401"),
            ("-1.50e-9000", "-15e-9001"),
            (&long, &long_power),
        ] {
            assert_eq!(text(json).as_deref(), Some(expected), "{json}");
        }
        let farthest = "1e9223372036854775806";
        assert_eq!(text(farthest).as_deref(), Some(farthest));
        for json in [
            "1e99999999999999999999",
            "10e9223372036854775807",
            "1e-9223372036854775808",
        ] {
            assert_eq!(text(json), None, "{json}");
        }
    }

    proptest! {
        /// Equal texts for equal numbers, however far the point is moved; and for no others.
        #[test]
        fn texts_are_equal_where_numbers_are(
            a in -3_000i64..3_000, b in -3_000i64..3_000,
            power in -4..4i32, other in -4..4i32, shift in 0..6usize, zeros in 0..4usize,
        ) {
            let digits = format!("{:0>width$}", a.unsigned_abs(), width = shift + 1);
            let (whole, fraction) = digits.split_at(digits.len() - shift);
            let sign = if a < 0 { "-" } else { "" };
            let exponent = power + i32::try_from(shift).unwrap();
            let moved = format!("{sign}{whole}.{fraction}{}0e{exponent}", "0".repeat(zeros));
            let plain = format!("{b}e{other}");
            let value = |digits: i64, power: i32| {
                i128::from(digits) * 10i128.pow((power + 4).unsigned_abs())
            };
            let is_equal = value(a, power) == value(b, other);
            prop_assert_eq!(text(&moved) == text(&plain), is_equal, "{} {}", moved, plain);
            // It is a number again, and the same one.
            let once = text(&moved).unwrap();
            prop_assert_eq!(text(&once), Some(once.clone()), "{}", moved);
            prop_assert_eq!(once.parse::<f64>().unwrap(), moved.parse::<f64>().unwrap());
        }

        #[test]
        fn no_text_panics(json in "-?[0-9.eE+-]{0,40}") {
            let _ = text(&json);
        }
    }
}
