//! Numbers: counts, sizes, periods, and yes or no.

use std::time::Duration;

use serde_json::json;

use crate::config::kind::{Kind, Wrong};
use crate::config::node::{Node, Value};

/// A whole number between two bounds, both included.
pub(crate) struct Count {
    /// The smallest.
    pub(crate) min: usize,
    /// The largest.
    pub(crate) max: usize,
}

impl Kind for Count {
    type Value = usize;

    fn read(&self, node: &Node) -> Result<usize, Wrong> {
        within(integer(node), self.min, self.max)
    }

    fn expects(&self) -> String {
        format!(
            "a whole number from {} to {}",
            grouped(self.min),
            grouped(self.max)
        )
    }

    fn show(&self, value: &usize) -> String {
        grouped(*value)
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "integer", "minimum": self.min, "maximum": self.max })
    }
}

/// A number of bytes, plain or with a unit.
pub(crate) struct Size {
    /// The smallest, in bytes.
    pub(crate) min: usize,
    /// The largest, in bytes.
    pub(crate) max: usize,
}

/// Units of sizes, the largest of each family first.
const UNITS: &[(&str, i128)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Kind for Size {
    type Value = usize;

    fn read(&self, node: &Node) -> Result<usize, Wrong> {
        let bytes = integer(node).or_else(|| node.text().and_then(size));
        within(bytes, self.min, self.max)
    }

    fn expects(&self) -> String {
        format!(
            "a size from {} to {}, such as 1048576 or \"1MiB\"",
            with_unit(self.min),
            with_unit(self.max)
        )
    }

    fn show(&self, value: &usize) -> String {
        let text = with_unit(*value);
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text
        } else {
            format!("\"{text}\"")
        }
    }

    fn schema(&self) -> serde_json::Value {
        let number = json!({ "type": "integer", "minimum": self.min, "maximum": self.max });
        let text =
            json!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*([KkMmGg][Ii]?)?[Bb]\\s*$" });
        json!({ "anyOf": [number, text] })
    }
}

/// A number of bytes, or `"auto"`.
pub(crate) struct Memory {
    /// The fewest that may be written.
    pub(crate) min: usize,
}

impl Memory {
    /// The sizes that may be written.
    const fn sizes(&self) -> Size {
        Size {
            min: self.min,
            max: 1 << 50,
        }
    }
}

impl Kind for Memory {
    type Value = Option<usize>;

    fn read(&self, node: &Node) -> Result<Option<usize>, Wrong> {
        if node.text().map(str::trim) == Some("auto") {
            return Ok(None);
        }
        self.sizes().read(node).map(Some)
    }

    fn expects(&self) -> String {
        format!("\"auto\", or {}", self.sizes().expects())
    }

    fn show(&self, value: &Option<usize>) -> String {
        value.map_or_else(|| "\"auto\"".into(), |bytes| self.sizes().show(&bytes))
    }
}

/// A length of time: `"10s"`, `"300ms"`, `"5m"`, `"1h"`, or a number of seconds.
pub(crate) struct Period {
    /// The shortest.
    pub(crate) min: Duration,
    /// The longest.
    pub(crate) max: Duration,
}

impl Kind for Period {
    type Value = Duration;

    fn read(&self, node: &Node) -> Result<Duration, Wrong> {
        let seconds = |number| Duration::try_from_secs_f64(number).ok();
        let period = match &node.value {
            Value::Raw(text) | Value::Text(text) => period(text),
            Value::Integer(number) => u64::try_from(*number).ok().map(Duration::from_secs),
            Value::Float(number) => seconds(*number),
            Value::Flag(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
        };
        period
            .filter(|period| (self.min..=self.max).contains(period))
            .ok_or(Wrong::Kind)
    }

    fn expects(&self) -> String {
        format!(
            "a time from {} to {}, such as \"10s\" or \"300ms\"",
            shown(self.min),
            shown(self.max)
        )
    }

    fn show(&self, value: &Duration) -> String {
        format!("\"{}\"", shown(*value))
    }

    fn schema(&self) -> serde_json::Value {
        let number = json!({ "type": "number", "minimum": 0 });
        let text = json!({ "type": "string", "pattern": "^\\s*[0-9.]+\\s*(ms|s|m|h|d)?\\s*$" });
        json!({ "anyOf": [number, text] })
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, node: &Node) -> Result<bool, Wrong> {
        match &node.value {
            Value::Flag(flag) => Ok(*flag),
            Value::Raw(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(Wrong::Kind),
            },
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => Err(Wrong::Kind),
        }
    }

    fn expects(&self) -> String {
        "true or false".into()
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    fn schema(&self) -> serde_json::Value {
        json!({ "type": "boolean" })
    }
}

fn integer(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Integer(number) => Some(*number),
        Value::Raw(text) => text.trim().replace('_', "").parse().ok(),
        Value::Text(_)
        | Value::Float(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Other(_) => None,
    }
}

fn within(number: Option<i128>, min: usize, max: usize) -> Result<usize, Wrong> {
    number
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| (min..=max).contains(number))
        .ok_or(Wrong::Kind)
}

fn size(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<i128>().ok()?.checked_mul(*factor)
}

fn with_unit(bytes: usize) -> String {
    for (unit, factor) in &UNITS[..3] {
        let factor = *factor as usize;
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// A time as it is written, such as `10s` or `300ms`; seconds without a unit.
pub(crate) fn period(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let period = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    // Parsing "300ms" goes through a float: the nanosecond that it may be off is corrected.
    let micros = u64::try_from((period.as_nanos() + 500) / 1_000).ok()?;
    Some(Duration::from_micros(micros))
}

fn shown(period: Duration) -> String {
    let seconds = period.as_secs();
    if period.subsec_nanos() != 0 {
        return format!("{}ms", period.as_millis());
    }
    match seconds {
        0 => "0s".into(),
        s if s.is_multiple_of(86_400) => format!("{}d", s / 86_400),
        s if s.is_multiple_of(3_600) => format!("{}h", s / 3_600),
        s if s.is_multiple_of(60) && s > 60 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Large numbers are written in groups of three, as TOML allows.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
