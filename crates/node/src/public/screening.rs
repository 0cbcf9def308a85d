//! Who may come in, as far as it can be told without asking the backend.

use ht_edge::address::{Arrival, Client, Found, Peer};
use ht_edge::listener::Stream;
use ht_edge::origin::Foreign;
use ht_edge::proxy_protocol::Source;
use ht_edge::respond::Body;
use ht_edge::{address, proxy_protocol, respond};
use http::{HeaderMap, Response, StatusCode, header};

use crate::config::PublicConfig;
use crate::counters::HandshakeError;
use crate::live::LiveSettings;
use crate::public::Public;

/// Finds out who opened a connection. None: it does not begin as it must.
pub(super) async fn arrive(
    public: &Public,
    settings: &LiveSettings,
    stream: &mut Stream,
    peer: Peer,
) -> Option<Arrival> {
    let arrival = Arrival { peer, told: false };
    let config = &settings.public;
    if !config.proxy_protocol || !config.trusted_proxies.trust(peer) {
        return Some(arrival);
    }
    let header = proxy_protocol::read(stream);
    let problem = match tokio::time::timeout(settings.limits.head_timeout, header).await {
        Ok(Ok(Source::At(address))) => {
            return Some(Arrival {
                peer: Peer::Ip(address),
                told: true,
            });
        }
        Ok(Ok(Source::Unsaid)) => return Some(arrival),
        Ok(Err(broken)) => broken.to_string(),
        Err(_) => "its PROXY header did not come within limits.head_timeout".to_owned(),
    };
    public
        .node
        .counters
        .handshake_errors
        .add(HandshakeError::ProxyProtocol);
    if let Some(suppressed) = public.node.throttles.tell("proxy-protocol") {
        tracing::warn!(
            %peer,
            suppressed,
            "closed a connection of a trusted proxy: {problem}. Switch the PROXY protocol on there, \
             or switch proxy_protocol off here"
        );
    }
    None
}

/// Finds out where the client is and whether the page that it is on may open a websocket. The
/// headers then hold no address that may not be believed.
///
/// # Errors
/// The answer to who may not come in.
pub(super) fn check(
    public: &Public,
    settings: &LiveSettings,
    arrival: Arrival,
    headers: &mut HeaderMap,
) -> Result<Found, Box<Response<Body>>> {
    let config = &settings.public;
    let found = address::find(
        headers,
        arrival,
        &config.trusted_proxies,
        config.x_forwarded_for,
    );
    if found.malformed
        && let Some(suppressed) = public.node.throttles.tell("client-address")
    {
        tracing::warn!(
            proxy = %arrival.peer,
            suppressed,
            "ignoring an invalid X-Real-IP or X-Forwarded-For from a trusted proxy"
        );
    }
    match config.origins.check(headers, found.from_proxy) {
        Ok(()) => Ok(found),
        Err(foreign) => Err(refuse_origin(
            public,
            config,
            headers,
            found.client,
            &foreign,
        )),
    }
}

fn refuse_origin(
    public: &Public,
    config: &PublicConfig,
    headers: &HeaderMap,
    client: Client,
    foreign: &Foreign,
) -> Box<Response<Body>> {
    public
        .node
        .counters
        .handshake_errors
        .add(HandshakeError::Origin);
    let what = match foreign {
        Foreign::Missing => "no Origin".to_owned(),
        Foreign::Unreadable => "an Origin that cannot be read".to_owned(),
        Foreign::Page(page) => format!("the Origin {page}"),
    };
    if let Some(suppressed) = public.node.throttles.tell("origin") {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let remedy = remedy_for(foreign, |page| config.origins.change_for(page));
        tracing::warn!(%client, host, suppressed, "refused a websocket with {what}. {remedy}");
    }
    // The client learns nothing of what else is allowed.
    let remedy = remedy_for(foreign, |page| {
        format!(
            "add \"{page}\" to the origins that the gateway allows (`allow` under [origins] in its \
             configuration file, or HT_ORIGINS)"
        )
    });
    let sentence = format!("This gateway serves no websocket with {what}. {remedy}");
    Box::new(respond::text(StatusCode::FORBIDDEN, sentence))
}

/// What admits a client whose origin was refused; `add` says how its page is added.
fn remedy_for(foreign: &Foreign, add: impl Fn(&str) -> String) -> String {
    match foreign {
        Foreign::Missing => {
            "Browsers send one; for other clients set origins.require = false.".to_owned()
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
