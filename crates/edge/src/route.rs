//! The routes of the public listener.

use http::{Request, Response, StatusCode, header};

use crate::config::PublicConfig;
use crate::respond::{self, Body};
use crate::stream::Endpoint;

/// The resource that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The path of the websocket.
    Websocket,
    /// A path beside it, for clients over HTTP.
    Stream(Endpoint),
    /// `/health`.
    Health,
    /// `/`, where load balancers may send health checks.
    Root,
    /// None.
    Nothing,
}

impl Route {
    /// Resolves the target of a request. `is_tenants`: whether a tenant has its websocket at a path.
    pub fn of<B>(
        request: &Request<B>,
        config: &PublicConfig,
        is_tenants: impl Fn(&str) -> bool,
    ) -> Self {
        let path = request.uri().path();
        let is_upgrade = request.headers().contains_key(header::UPGRADE);
        match path {
            // The websocket may have this path as well.
            "/" if config.root_health && !is_upgrade => Self::Root,
            _ if is_websocket(path, config) => Self::Websocket,
            "/health" => Self::Health,
            _ if is_tenants(path) => Self::Websocket,
            _ => match stream(path, config, is_tenants) {
                Some((endpoint, _)) => Self::Stream(endpoint),
                None => Self::Nothing,
            },
        }
    }
}

/// What is served for clients over HTTP at a path, and the path of the websocket that belongs to it:
/// beside `/app/ws/` there is `/app/sse/`, and below any other one.
pub fn stream(
    path: &str,
    config: &PublicConfig,
    is_tenants: impl Fn(&str) -> bool,
) -> Option<(Endpoint, String)> {
    let plain = path.strip_suffix('/').unwrap_or(path);
    let (prefix, segment) = plain.rsplit_once('/')?;
    let mut endpoints = Endpoint::ALL.into_iter();
    let endpoint = endpoints.find(|endpoint| endpoint.segment() == segment)?;
    let is_enabled = match endpoint {
        Endpoint::Stream => config.sse,
        Endpoint::Poll => config.poll,
    };
    let paths = [format!("{prefix}/ws/"), format!("{prefix}/")];
    let is_served = |path: &String| is_websocket(path, config) || is_tenants(path);
    let websocket = paths.into_iter().find(is_served)?;
    is_enabled.then_some((endpoint, websocket))
}

/// Whether this is the path of the websocket of all tenants, which none of them can have for itself.
#[must_use]
pub fn is_websocket(path: &str, config: &PublicConfig) -> bool {
    is_same(path, &config.websocket_path)
}

/// Whether two paths are equal except for a trailing slash.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |path: &str| path.strip_suffix('/').unwrap_or(path).len();
    one[..plain(one)] == other[..plain(other)]
}

/// The response to a load balancer at `/`: 200 until the node shuts down. Unlike `/ready` it does
/// not depend on a broker or on memory, which would take all nodes out of service at once.
pub fn root_health(is_draining: bool) -> Response<Body> {
    if is_draining {
        return respond::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "this node is shutting down",
        );
    }
    respond::text(StatusCode::OK, "ok")
}

/// Maximum length of the prefix that is echoed to a client, in bytes.
const PREFIX_SHOWN: usize = 100;

/// 404, with the path that is served. `has_tenants`: some of the clients are of tenants.
pub fn nothing<B>(
    request: &Request<B>,
    config: &PublicConfig,
    has_tenants: bool,
) -> Response<Body> {
    let (asked, path) = (request.uri().path(), &config.websocket_path);
    let plain = asked.strip_suffix('/').unwrap_or(asked);
    let prefix = plain.strip_suffix(path.strip_suffix('/').unwrap_or(path));
    let prefix = prefix.filter(|it| (1..=PREFIX_SHOWN).contains(&it.len()));
    let sentence = match (prefix, has_tenants) {
        (None, false) => format!("There is nothing here. Websockets: {path}"),
        (Some(prefix), false) => format!(
            "There is nothing here. Websockets: {path}. Have the proxy in front remove {prefix}, or \
             set websocket_path = {asked:?} in the gateway's configuration."
        ),
        (None, true) => {
            format!("There is nothing here. Websockets: {path}, and the `path` of a tenant.")
        }
        (Some(prefix), true) => format!(
            "There is nothing here: no tenant has this path. Set `path` = {asked:?} in the settings \
             of the tenant, or have the proxy in front remove {prefix}: at {path} the host or the \
             public key names the tenant."
        ),
    };
    respond::text(StatusCode::NOT_FOUND, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str, websocket_path: &str, root_health: bool, upgrade: bool) -> Route {
        let mut request = Request::get(path);
        if upgrade {
            request = request.header(header::UPGRADE, "websocket");
        }
        let config = PublicConfig {
            websocket_path: websocket_path.to_owned(),
            root_health,
            ..PublicConfig::default()
        };
        Route::of(&request.body(()).unwrap(), &config, |path| {
            path == "/t/acme/ws/"
        })
    }

    #[test]
    fn the_websocket_is_at_its_path_with_and_without_the_slash() {
        for (path, configured, expected) in [
            ("/ws/", "/ws/", Route::Websocket),
            ("/ws", "/ws/", Route::Websocket),
            ("/ws/?token=a", "/ws/", Route::Websocket),
            ("/ws//", "/ws/", Route::Nothing),
            ("/WS/", "/ws/", Route::Nothing),
            ("/app/ws/", "/ws/", Route::Nothing),
            ("/", "/ws/", Route::Nothing),
            ("/app/ws/", "/app/ws/", Route::Websocket),
            ("/app/ws", "/app/ws/", Route::Websocket),
            ("/app/ws/", "/app/ws", Route::Websocket),
            ("/ws/", "/app/ws/", Route::Nothing),
            ("/", "/", Route::Websocket),
            ("/health", "/", Route::Health),
        ] {
            for upgrade in [false, true] {
                let found = route(path, configured, false, upgrade);
                assert_eq!(found, expected, "{path} {configured}");
            }
        }
    }

    #[test]
    fn streams_are_beside_the_websocket() {
        let found = |path: &str, websocket_path: &str, sse: bool| {
            let config = PublicConfig {
                websocket_path: websocket_path.to_owned(),
                sse,
                poll: true,
                ..PublicConfig::default()
            };
            let is_tenants = |path: &str| matches!(path, "/t/acme/ws/" | "/live/");
            stream(path, &config, is_tenants)
        };
        let (sse, poll) = (Endpoint::Stream, Endpoint::Poll);
        for (path, websocket_path, expected) in [
            ("/sse/", "/ws/", Some((sse, "/ws/"))),
            ("/sse", "/ws/", Some((sse, "/ws/"))),
            ("/poll/", "/ws", Some((poll, "/ws/"))),
            ("/sse//", "/ws/", None),
            ("/SSE/", "/ws/", None),
            ("sse", "/ws/", None),
            ("/app/sse/", "/ws/", None),
            ("/app/sse/", "/app/ws/", Some((sse, "/app/ws/"))),
            ("/sse/", "/app/ws/", None),
            ("/sse/", "/", Some((sse, "/"))),
            ("/app/live/poll/", "/app/live/", Some((poll, "/app/live/"))),
            ("/t/acme/sse/", "/ws/", Some((sse, "/t/acme/ws/"))),
            ("/live/sse/", "/ws/", Some((sse, "/live/"))),
            ("/t/other/sse/", "/ws/", None),
        ] {
            let expected = expected.map(|(endpoint, path)| (endpoint, path.to_owned()));
            assert_eq!(
                found(path, websocket_path, true),
                expected,
                "{path} {websocket_path}"
            );
        }
        assert_eq!(found("/sse/", "/ws/", false), None);
        assert!(found("/poll/", "/ws/", false).is_some());
    }

    #[test]
    fn the_root_is_a_health_check_if_enabled() {
        assert_eq!(route("/", "/ws/", true, false), Route::Root);
        assert_eq!(route("/?x", "/ws/", true, false), Route::Root);
        assert_eq!(route("/ws/", "/ws/", true, false), Route::Websocket);
        assert_eq!(route("/", "/", true, false), Route::Root);
        assert_eq!(route("/", "/", true, true), Route::Websocket);
        assert_eq!(route("/", "/ws/", true, true), Route::Nothing);
    }
}
