//! The demo's web page: files in the binary, and the API on the same origin, as behind a reverse proxy
//! in a real deployment.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use crate::api::Api;
use crate::gateway::Supervisor;
use crate::options::Addresses;
use crate::reply::Reply;
use crate::serve::Handler;

/// The files of the page: path, content type, text.
const FILES: [(&str, &str, &str); 12] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("page/style.css"),
    ),
    (
        "/panel.css",
        "text/css; charset=utf-8",
        include_str!("page/panel.css"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/client.js", SCRIPT, CLIENT),
    ("/wire.js", SCRIPT, include_str!("page/wire.js")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/browser.js", SCRIPT, include_str!("page/browser.js")),
    ("/board.js", SCRIPT, include_str!("page/board.js")),
    ("/backend.js", SCRIPT, include_str!("page/backend.js")),
    ("/log.js", SCRIPT, include_str!("page/log.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
];

/// The JavaScript client in one file, as the Django app ships it. `clients/python/static --check`
/// fails if it is not the one of `clients/js`.
const CLIENT: &str =
    include_str!("../../../clients/python/src/high_templar/django/static/high_templar/client.js");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Serves the page.
pub(crate) struct Page {
    pub(crate) api: Arc<Api>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) addresses: Addresses,
}

impl Handler for Page {
    async fn handle(&self, head: Parts, body: Bytes) -> Reply {
        let path = head.uri.path();
        if path.starts_with("/api/") {
            return self.api.handle(&head, body).await;
        }
        match (&head.method, path) {
            (&Method::POST, "/demo/restart-gateway/") => self.restart().await,
            (&Method::GET, "/demo/about.json") => self.about(),
            (&(Method::GET | Method::HEAD), path) => self.file(path, &head),
            _ => Reply::error(StatusCode::METHOD_NOT_ALLOWED, "only GET here"),
        }
    }
}

impl Page {
    fn file(&self, path: &str, head: &Parts) -> Reply {
        let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == path) else {
            return Reply::error(StatusCode::NOT_FOUND, "no such page");
        };
        let mut reply = Reply::file(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()));
        let policy = self.policy(head);
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, policy),
            (
                header::REFERRER_POLICY,
                HeaderValue::from_static("same-origin"),
            ),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            ),
        ] {
            reply.headers.insert(name, value);
        }
        reply
    }

    /// Content security policy: own files only, nothing inline, sockets to the gateway only.
    fn policy(&self, head: &Parts) -> HeaderValue {
        let port = self.addresses.gateway.port();
        // The host was checked: it is one of three names.
        let host = head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let sockets = match host {
            Some(host) if host.starts_with("localhost") => format!("ws://localhost:{port}"),
            // A policy cannot name an IPv6 address.
            Some(host) if host.starts_with('[') => "ws:".to_owned(),
            _ => format!("ws://127.0.0.1:{port}"),
        };
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("made of ASCII")
    }

    fn about(&self) -> Reply {
        let Addresses {
            page,
            backend,
            gateway,
            internal,
        } = self.addresses;
        Reply::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "page": page.port(),
            "backend": backend.port(),
            "gateway": gateway.port(),
            "internal": internal.port(),
        }))
    }

    async fn restart(&self) -> Reply {
        match self.supervisor.restart().await {
            Ok(()) => Reply::empty(),
            Err(error) => {
                tracing::error!("{error:#}");
                Reply::error(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}"))
            }
        }
    }
}

/// Serves the backend, which the gateway calls.
pub(crate) struct Backend(pub(crate) Arc<Api>);

impl Handler for Backend {
    async fn handle(&self, head: Parts, body: Bytes) -> Reply {
        if head.uri.path().starts_with("/api/") {
            return self.0.handle(&head, body).await;
        }
        Reply::error(
            StatusCode::NOT_FOUND,
            "this is the demo's backend; see /api/",
        )
    }
}
