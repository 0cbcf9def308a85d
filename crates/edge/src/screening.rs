//! Who opened a connection and the address of its client, as far as it can be determined without
//! calling the backend.

use std::time::Duration;

use ht_telemetry::throttle::Throttles;
use http::{HeaderMap, StatusCode, header};
use tokio::io::AsyncRead;

use crate::address::{self, Arrival, Client, Found, Peer};
use crate::config::PublicConfig;
use crate::origin::{Foreign, Origins, OriginsWritten};
use crate::page::{Page, PageError};
use crate::proxy_protocol::{self, Source};
use crate::rejection::{HandshakeError, Rejection};
use crate::respond;

/// What a page asks for, in the words of the log.
const WEBSOCKET: &str = "websocket";
const STREAM: &str = "stream";

/// Determines who opened a connection: if a trusted proxy uses the PROXY protocol, its header is
/// read, within `head_timeout`.
///
/// # Errors
/// If the connection does not start as it must, which is logged.
pub async fn arrive(
    stream: &mut (impl AsyncRead + Unpin),
    peer: Peer,
    config: &PublicConfig,
    head_timeout: Duration,
    throttles: &Throttles,
) -> Result<Arrival, HandshakeError> {
    let arrival = Arrival { peer, told: false };
    if !config.proxy_protocol || !config.trusted_proxies.trust(peer) {
        return Ok(arrival);
    }
    let header = proxy_protocol::read(stream);
    let problem = match tokio::time::timeout(head_timeout, header).await {
        Ok(Ok(Source::At(address))) => {
            return Ok(Arrival {
                peer: Peer::Ip(address),
                told: true,
            });
        }
        Ok(Ok(Source::Unsaid)) => return Ok(arrival),
        Ok(Err(broken)) => broken.to_string(),
        Err(_) => "its PROXY header did not arrive within limits.head_timeout".to_owned(),
    };
    if let Some(suppressed) = throttles.allow("proxy-protocol") {
        tracing::warn!(
            %peer,
            suppressed,
            "closed a connection of a trusted proxy: {problem}. Switch the PROXY protocol on there, \
             or switch proxy_protocol off here"
        );
    }
    Err(HandshakeError::ProxyProtocol)
}

/// Determines the client's address and whether the origin of its page may open a websocket. The
/// headers then contain no untrusted address.
///
/// # Errors
/// If the origin is rejected, which is logged.
pub(crate) fn check(
    headers: &mut HeaderMap,
    arrival: Arrival,
    config: &PublicConfig,
    origins: &Origins,
    throttles: &Throttles,
) -> Result<Found, Rejection> {
    let found = find(headers, arrival, config, throttles);
    match origins.check(headers, found.from_proxy) {
        Ok(()) => Ok(found),
        Err(foreign) => {
            let refused = (found.client, &foreign, WEBSOCKET);
            Err(refuse_origin(origins, headers, refused, throttles))
        }
    }
}

/// The same for a request over HTTP. Also returns which page may read the answer.
///
/// # Errors
/// If the page may not ask, which is logged.
pub fn check_page(
    headers: &mut HeaderMap,
    arrival: Arrival,
    config: &PublicConfig,
    origins: &Origins,
    throttles: &Throttles,
) -> Result<(Found, Page), Rejection> {
    let found = find(headers, arrival, config, throttles);
    let sentence = match Page::check(headers, origins, found.from_proxy) {
        Ok(page) => return Ok((found, page)),
        Err(PageError::Foreign(foreign)) => {
            let refused = (found.client, &foreign, STREAM);
            return Err(refuse_origin(origins, headers, refused, throttles));
        }
        Err(PageError::CrossSite) => "This is not for elements of pages of other sites.",
        Err(PageError::Element) => "This is for scripts: use EventSource or fetch.",
    };
    let response = respond::text(StatusCode::FORBIDDEN, sentence);
    Err(Rejection::new(HandshakeError::Origin, response))
}

/// Determines the client's address. The headers then contain no untrusted one.
fn find(
    headers: &mut HeaderMap,
    arrival: Arrival,
    config: &PublicConfig,
    throttles: &Throttles,
) -> Found {
    let found = address::find(
        headers,
        arrival,
        &config.trusted_proxies,
        config.x_forwarded_for,
    );
    if found.malformed
        && let Some(suppressed) = throttles.allow("client-address")
    {
        tracing::warn!(
            proxy = %arrival.peer,
            suppressed,
            "ignoring an invalid X-Real-IP or X-Forwarded-For from a trusted proxy"
        );
    }
    found
}

/// Rejects a page that may not open a websocket or a stream here.
fn refuse_origin(
    origins: &Origins,
    headers: &HeaderMap,
    (client, foreign, kind): (Client, &Foreign, &str),
    throttles: &Throttles,
) -> Rejection {
    let is_of_tenant = matches!(origins.written, OriginsWritten::Tenant { .. });
    let what = match foreign {
        Foreign::Missing => "no Origin".to_owned(),
        Foreign::Unreadable => "an Origin that cannot be read".to_owned(),
        Foreign::Page(page) => format!("the Origin {page}"),
    };
    if let Some(suppressed) = throttles.allow("origin") {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let remedy = remedy_for(foreign, is_of_tenant, |page| origins.change_for(page));
        if kind == WEBSOCKET {
            tracing::warn!(%client, host, suppressed, "refused a websocket with {what}. {remedy}");
        } else {
            tracing::warn!(%client, host, suppressed, "refused a stream with {what}. {remedy}");
        }
    }
    // The response reveals neither which other origins are allowed nor the name of a tenant, which is
    // not in the address of every page.
    let place = match origins.written {
        OriginsWritten::Tenant { .. } => "`origins` in the settings of this tenant",
        OriginsWritten::Nowhere | OriginsWritten::Line(_) | OriginsWritten::Variable => {
            "the origins that the gateway allows (`allow` under [origins] in its configuration file, \
             or HT_ORIGINS)"
        }
    };
    let add = |page: &str| format!("add \"{page}\" to {place}");
    let remedy = remedy_for(foreign, is_of_tenant, add);
    let sentence = format!("This gateway serves no {kind} with {what}. {remedy}");
    let response = respond::text(StatusCode::FORBIDDEN, sentence);
    Rejection::new(HandshakeError::Origin, response)
}

/// How to admit a client whose origin was rejected; `add` is the change that allows its origin.
fn remedy_for(foreign: &Foreign, is_of_tenant: bool, add: impl Fn(&str) -> String) -> String {
    match foreign {
        Foreign::Missing => {
            let whose = if is_of_tenant { " of this tenant" } else { "" };
            format!("Browsers send one; for other clients set origins.require = false{whose}.")
        }
        Foreign::Unreadable => "A browser sends one, and only one.".to_owned(),
        Foreign::Page(page) => remedy_for_page(page, &add(page)),
    }
}

/// Each kind of page is allowed by the value that its browser sends.
fn remedy_for_page(page: &str, add: &str) -> String {
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| page.starts_with(scheme));
    if page == "null" {
        format!(
            "Pages without an origin of their own send it: sandboxed frames, data: URLs, local \
             files. If yours is one, {add}. It then holds for such pages of every site, so let \
             them authenticate by a token and not by a cookie."
        )
    } else if is_web {
        format!(
            "If it is yours, {add}; where it is the site that this websocket belongs to, let the \
             proxy in front pass Host on (nginx: proxy_set_header Host $host;)."
        )
    } else {
        format!("If it is your app or extension, {add}.")
    }
}
