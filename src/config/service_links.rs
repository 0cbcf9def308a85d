//! Variables that Kubernetes sets in every pod for each Service of its namespace (service links).
//!
//! A Service named `ht` or `ht-web` makes variables that begin as ours do: `HT_PORT`,
//! `HT_WEB_SERVICE_HOST` and more. They are not typos. They are recognised by name and value
//! together, so that a variable that only looks alike stays a mistake.

use std::net::IpAddr;

use crate::config::names::section_of;
use crate::config::settings::KEYS;

/// Protocols of a Service's ports.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether Kubernetes, or Docker for a linked container, makes such a variable:
/// `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT`, `{NAME}_SERVICE_PORT_{PORT NAME}`, `{NAME}_PORT`
/// and `{NAME}_PORT_{port}_{protocol}`, the last also with `_PROTO`, `_PORT` and `_ADDR`.
pub(crate) fn is_service_link(name: &str, text: &str) -> bool {
    if is_of_section(name) {
        return false;
    }
    let is_port = text.parse::<u16>().is_ok();
    let is_address = text.parse::<IpAddr>().is_ok();
    if name.ends_with("_SERVICE_HOST") {
        return is_address;
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return is_port;
    }
    if name.ends_with("_PORT") && is_url(text) {
        return true;
    }
    let Some((_, port)) = name.rsplit_once("_PORT_") else {
        return false;
    };
    match port.rsplit_once('_') {
        Some((port, "PROTO")) if is_protocol_of_port(port) => PROTOCOLS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(text)),
        Some((port, "PORT")) if is_protocol_of_port(port) => is_port,
        Some((port, "ADDR")) if is_protocol_of_port(port) => is_address,
        Some(_) | None => is_protocol_of_port(port) && is_url(text),
    }
}

/// Whether it begins as a setting does, such as `HT_BACKEND__`: then it is meant as one.
fn is_of_section(name: &str) -> bool {
    let Some((section, _)) = name
        .strip_prefix("HT_")
        .and_then(|rest| rest.split_once("__"))
    else {
        return false;
    };
    KEYS.iter()
        .any(|key| section_of(key).eq_ignore_ascii_case(section))
}

/// `5000_TCP`.
fn is_protocol_of_port(text: &str) -> bool {
    text.split_once('_').is_some_and(|(port, protocol)| {
        port.parse::<u16>().is_ok() && PROTOCOLS.contains(&protocol)
    })
}

/// `tcp://10.0.0.1:5000`.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_known = PROTOCOLS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(scheme));
        is_known
            && rest
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_recognised_by_name_and_value() {
        for (name, text, expected) in [
            ("HT_SERVICE_HOST", "10.96.7.1", true),
            ("HT_SERVICE_HOST", "fd00::1", true),
            ("HT_SERVICE_PORT", "5000", true),
            ("HT_SERVICE_PORT_WEB", "5000", true),
            ("HT_SERVICE_PORT_WEB_TLS", "443", true),
            ("HT_PORT", "tcp://10.96.7.1:5000", true),
            ("HT_PORT", "tcp://[fd00::1]:5000", true),
            ("HT_PORT", "udp://10.96.7.1:5000", true),
            ("HT_PORT_5000_TCP", "tcp://10.96.7.1:5000", true),
            ("HT_PORT_5000_TCP_PROTO", "tcp", true),
            ("HT_PORT_5000_TCP_PORT", "5000", true),
            ("HT_PORT_5000_TCP_ADDR", "10.96.7.1", true),
            ("HT_PORT_53_UDP", "udp://10.96.7.1:53", true),
            ("HT_PORT_9_SCTP_ADDR", "10.96.7.1", true),
            ("HT_WEB_SERVICE_HOST", "10.96.7.1", true),
            ("HT_WEB_PORT_8002_TCP_ADDR", "10.96.7.1", true),
            ("HT_WEB_PORT_8002_TCP_PORT", "8002", true),
            ("HT_PORT_AUTHORITY_PORT_80_TCP", "tcp://10.96.7.1:80", true),
            ("HT_LISTEN_PORT", "tcp://10.96.7.1:80", true),
            ("HT__WEB_SERVICE_HOST", "10.96.7.1", true),
            // Variables that an operator wrote.
            ("HT_PORT", "5000", false),
            ("HT_PORT", "http://10.96.7.1:5000", false),
            ("HT_LISTEN_PORT", "5000", false),
            ("HT_SERVICE_HOST", "gateway", false),
            ("HT_SERVICE_PORT", "tcp://10.96.7.1:5000", false),
            ("HT_SERVICE_PORT", "", false),
            ("HT_PORT_5000_TCP", "5000", false),
            ("HT_PORT_5000_HTTP", "tcp://10.96.7.1:5000", false),
            ("HT_PORT_5000_TCP_ADDR", "gateway", false),
            ("HT_PORT_5000_TCP_PROTO", "http", false),
            ("HT_PORT_5000_TCP_PORT", "many", false),
            ("HT_BACKEND__SERVICE_HOST", "10.96.7.1", false),
            ("HT_INTERNAL__PORT", "tcp://10.96.7.1:5000", false),
            ("HT_BAKEND__URL", "http://api/", false),
            ("HT_BACKEND_URL", "http://api:8000/", false),
            ("HT_SERVICE", "10.96.7.1", false),
        ] {
            assert_eq!(is_service_link(name, text), expected, "{name}={text}");
        }
    }
}
