//! The two text formats of `/metrics`, and which of them is requested.

use http::{HeaderMap, header};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The Prometheus text format 0.0.4, which every scraper reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that `Accept` requests (RFC 9110 §12.5.1): OpenMetrics if it is named with a weight
    /// that is not below the one of text, otherwise text. Nothing is rejected: a client that
    /// accepts neither still gets text.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let (mut openmetrics, mut text) = (0, 0);
        for range in lines.flat_map(|line| line.split(',')) {
            let range = Range::parse(range);
            if range.is("application/openmetrics-text", "1.0.0") {
                openmetrics = range.weight.max(openmetrics);
            } else if range.is("text/plain", "0.0.4") {
                text = range.weight.max(text);
            }
        }
        if openmetrics > 0 && openmetrics >= text {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// One of the media ranges in `Accept`.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    weight: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            kind: parts.next().unwrap_or_default(),
            version: None,
            weight: 1_000,
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => {
                    let weight: f64 = value.parse().unwrap_or(0.0);
                    range.weight = (weight.clamp(0.0, 1.0) * 1_000.0).round() as u32;
                }
                _ => {}
            }
        }
        range
    }

    fn is(&self, kind: &str, version: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.version.is_none_or(|it| it == version)
    }
}

/// Turns OpenMetrics into the Prometheus text format: there a counter's family is named as its
/// samples are, with `_total`, and there is no end mark.
pub(super) fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + openmetrics.len() / 16);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            break;
        }
        let is_help = line.starts_with("# HELP ");
        let type_line = if is_help {
            lines.peek().copied()
        } else {
            Some(line)
        };
        let counter = type_line
            .and_then(|line| line.strip_prefix("# TYPE "))
            .and_then(|rest| rest.strip_suffix(" counter"));
        match counter {
            Some(name) if is_help => {
                let help = line.splitn(4, ' ').nth(3).unwrap_or_default();
                out.extend(["# HELP ", name, "_total ", help]);
            }
            Some(name) => out.extend(["# TYPE ", name, "_total counter"]),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            (&[][..], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/plain"], Prometheus),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Prometheus),
            (&["application/json"], Prometheus),
            (&["application/openmetrics-text"], OpenMetrics),
            (
                &["application/openmetrics-text; version=1.0.0"],
                OpenMetrics,
            ),
            (
                &["Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8"],
                OpenMetrics,
            ),
            (&["application/openmetrics-text; version=0.0.1"], Prometheus),
            (&["application/openmetrics-text; version=2.0.0"], Prometheus),
            (&["application/openmetrics-text;q=0"], Prometheus),
            (
                &["application/openmetrics-text;q=0.5, text/plain"],
                Prometheus,
            ),
            (
                &["text/plain;q=0.5, application/openmetrics-text;q=0.6"],
                OpenMetrics,
            ),
            (&["text/plain, application/openmetrics-text"], OpenMetrics),
            (
                &["text/plain;q=0.2", "application/openmetrics-text"],
                OpenMetrics,
            ),
            (&["application/openmetrics-text;q=much"], Prometheus),
            // Prometheus 2 and 3.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                   version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                   escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                OpenMetrics,
            ),
            // Prometheus that prefers protobuf, and one that is configured to request text.
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                   encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                Prometheus,
            ),
            (
                &[
                    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
                ],
                Prometheus,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(Format::asked(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn counters_are_named_as_their_samples_are() {
        let openmetrics = "# HELP a_b Things, counter of.\n# TYPE a_b counter\na_b_total 1\n\
            # HELP c Now.\n# TYPE c gauge\nc{x=\"# EOF\"} 2\n\
            # HELP d Times.\n# TYPE d histogram\nd_sum 1.5\nd_count 1\nd_bucket{le=\"+Inf\"} 1\n\
            # EOF\n";
        let prometheus = "# HELP a_b_total Things, counter of.\n# TYPE a_b_total counter\na_b_total 1\n\
            # HELP c Now.\n# TYPE c gauge\nc{x=\"# EOF\"} 2\n\
            # HELP d Times.\n# TYPE d histogram\nd_sum 1.5\nd_count 1\nd_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(to_prometheus(openmetrics), prometheus);
    }
}
