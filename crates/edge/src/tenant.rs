//! How a request names its tenant: its host, and a public key.

use ht_proto::subprotocol::KEY_PREFIX;
use http::{HeaderMap, Request, header};

/// The parameter of a query that has the key.
const PARAM: &str = "key";

/// The host that a request is for, as it was written. None if there is none or several, or it is not
/// text.
pub fn host<B>(request: &Request<B>) -> Option<&str> {
    // RFC 9112 §3.2.2: if the target is a whole URL its host takes precedence.
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut lines = request.headers().get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// The public keys that a request names, as the parameter `key` and as subprotocols. They are never
/// selected as subprotocols.
pub fn keys<B>(request: &Request<B>) -> impl Iterator<Item = &str> {
    let query = request.uri().query().unwrap_or_default();
    let params = query.split('&').filter_map(|part| part.split_once('='));
    let params = params.filter(|(name, _)| *name == PARAM);
    params
        .map(|(_, value)| value)
        .chain(offered(request.headers()))
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(','));
    names.filter_map(|name| name.trim_ascii().strip_prefix(KEY_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn the_target_takes_precedence_over_the_header() {
        for (target, hosts, expected) in [
            ("/ws/", &["a.example:8000"][..], Some("a.example:8000")),
            ("/ws/", &[], None),
            ("/ws/", &["a.example", "b.example"], None),
            ("http://c.example/ws/", &["a.example"], Some("c.example")),
        ] {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                host(&request(target, &hosts)),
                expected,
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn keys_are_parameters_and_subprotocols() {
        let offers = "sec-websocket-protocol";
        for (target, lines, expected) in [
            ("/ws/?a=1&key=pk_1", &[][..], &["pk_1"][..]),
            ("/ws/?key=pk_1&key=pk_2", &[], &["pk_1", "pk_2"]),
            ("/ws/?keys=pk_1&xkey=2&key", &[], &[]),
            (
                "/ws/",
                &["high-templar.v1, high-templar.key.pk_1"],
                &["pk_1"],
            ),
            (
                "/ws/?key=pk_3",
                &["high-templar.key.pk_1 ,x", "high-templar.key.pk_2"],
                &["pk_3", "pk_1", "pk_2"],
            ),
            ("/ws/", &["high-templar.keys.pk_1", "high-templar.key"], &[]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| (offers, *line)).collect();
            let request = request(target, &lines);
            assert!(
                keys(&request).eq(expected.iter().copied()),
                "{target} {lines:?}"
            );
        }
    }
}
