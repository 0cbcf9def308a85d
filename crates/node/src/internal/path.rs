//! Paths of the internal listener, as configured in publishers.
//!
//! A configured URL that already ends in `/trigger/`, or in a slash, becomes `/trigger/trigger/` or
//! `//trigger/` if a client library appends the path. The meaning is unambiguous.

use std::borrow::Cow;

/// The resource at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Trigger,
    Metrics,
    /// Those of the tenant with this name.
    TenantMetrics(String),
    Nodes,
    Position,
    /// All tenants, or the one with this name.
    Tenants(Option<Box<str>>),
    Live,
    Ready,
    /// None; a sentence that names the excess part of the path.
    Nothing(Cow<'static, str>),
}

/// The longest part of a path that is echoed to the client, in bytes.
const SHOWN: usize = 100;

/// Resolves a path. Consecutive slashes count as one.
pub(super) fn find(path: &str) -> Endpoint {
    // The usual spelling: without a list of parts.
    if matches!(path, "/trigger/" | "/trigger") {
        return Endpoint::Trigger;
    }
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["trigger"] | ["trigger", "trigger"] => Endpoint::Trigger,
        ["metrics"] => Endpoint::Metrics,
        ["tenants", name, "metrics"] => Endpoint::TenantMetrics((*name).to_owned()),
        ["nodes"] => Endpoint::Nodes,
        ["position"] => Endpoint::Position,
        ["tenants"] => Endpoint::Tenants(None),
        ["tenants", name] => Endpoint::Tenants(Some((*name).into())),
        ["live"] => Endpoint::Live,
        ["ready"] => Endpoint::Ready,
        [
            before @ ..,
            last @ ("trigger" | "metrics" | "nodes" | "position" | "live" | "ready"),
        ] => {
            let too_much = shown(&before.join("/"));
            let right = match *last {
                "trigger" => "trigger/",
                "nodes" => "nodes/",
                other => other,
            };
            Endpoint::Nothing(Cow::Owned(format!(
                "There is nothing at this path: leave out /{too_much} before /{right}."
            )))
        }
        ["trigger", after @ ..] => {
            let too_much = shown(&after.join("/"));
            Endpoint::Nothing(Cow::Owned(format!(
                "There is nothing at this path: leave out {too_much} behind /trigger/."
            )))
        }
        ["ws", ..] => Endpoint::Nothing(Cow::Borrowed(
            "Websockets are not served here but on the address of `listen`. Try /trigger/, \
             /metrics, /nodes/, /position, /live or /ready.",
        )),
        _ => Endpoint::Nothing(Cow::Borrowed(
            "There is nothing here. Try /trigger/, /metrics, /nodes/, /position, /live or /ready.",
        )),
    }
}

fn shown(part: &str) -> String {
    if part.len() <= SHOWN {
        return part.to_owned();
    }
    // Paths are ASCII: everything else is percent-encoded.
    part.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_and_excess_parts_are_named() {
        for path in [
            "/trigger/",
            "/trigger",
            "//trigger/",
            "/trigger//",
            "///trigger///",
            "/trigger/trigger/",
            "/trigger//trigger",
            "/trigger/trigger",
        ] {
            assert_eq!(find(path), Endpoint::Trigger, "{path}");
        }
        for (path, place) in [
            ("/metrics", Endpoint::Metrics),
            (
                "/tenants/acme/metrics",
                Endpoint::TenantMetrics("acme".to_owned()),
            ),
            ("/nodes/", Endpoint::Nodes),
            ("/position", Endpoint::Position),
            ("/tenants", Endpoint::Tenants(None)),
            ("/tenants/", Endpoint::Tenants(None)),
            ("/tenants/acme", Endpoint::Tenants(Some("acme".into()))),
            ("/tenants/live", Endpoint::Tenants(Some("live".into()))),
            ("//metrics/", Endpoint::Metrics),
            ("/live", Endpoint::Live),
            ("/ready/", Endpoint::Ready),
        ] {
            assert_eq!(find(path), place, "{path}");
        }
        for (path, part) in [
            ("/", "Try /trigger/"),
            ("", "Try /trigger/"),
            ("/triggers/", "Try /trigger/"),
            ("/ws/", "the address of `listen`"),
            ("/api/trigger/", "leave out /api before /trigger/."),
            ("/api//v1/trigger", "leave out /api/v1 before /trigger/."),
            (
                "/trigger/trigger/trigger/",
                "leave out /trigger/trigger before /trigger/.",
            ),
            ("/metrics/trigger/", "leave out /metrics before /trigger/."),
            ("/trigger/metrics", "leave out /trigger before /metrics."),
            ("/trigger/room/", "leave out room behind /trigger/."),
        ] {
            let Endpoint::Nothing(sentence) = find(path) else {
                panic!("{path}");
            };
            assert!(sentence.contains(part), "{path}: {sentence}");
        }
        let long = format!("/{}/trigger/", "x".repeat(10_000));
        let Endpoint::Nothing(sentence) = find(&long) else {
            panic!("a long path");
        };
        assert!(sentence.len() < 300, "{sentence}");
    }
}
