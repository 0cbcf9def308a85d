//! Addresses: where to listen, where the backend and the broker are.

use std::net::SocketAddr;
use std::path::PathBuf;

use ht_node::config::Listen;
use http::Uri;

use crate::config::kind::{Kind, Wrong, quoted};
use crate::config::node::Node;

/// The longest path of a unix socket that Linux takes, in bytes.
const UNIX_PATH_MAX: usize = 107;

/// An address to listen on. The mode of a unix socket is set later.
pub(crate) struct Address;

impl Address {
    /// A default: an address of TCP.
    pub(crate) fn tcp(text: &str) -> Listen {
        Listen::Tcp(text.parse().expect("a default address is one"))
    }
}

impl Kind for Address {
    type Value = Listen;

    fn read(&self, node: &Node) -> Result<Listen, Wrong> {
        let text = node.text().ok_or(Wrong::Kind)?.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Wrong::Kind);
            }
            if path.len() > UNIX_PATH_MAX {
                return Err(Wrong::Says(format!(
                    "the path of a unix socket may have {UNIX_PATH_MAX} bytes; this one has {}",
                    path.len()
                )));
            }
            return Ok(Listen::Unix {
                path: PathBuf::from(path),
                mode: 0,
            });
        }
        text.parse::<SocketAddr>()
            .map(Listen::Tcp)
            .map_err(|_| Wrong::Kind)
    }

    fn expects(&self) -> String {
        "an IP address with a port, such as \"0.0.0.0:5000\" or \"[::]:5000\", or \"unix:\" \
         and a path"
            .into()
    }

    fn show(&self, value: &Listen) -> String {
        quoted(&value.to_string())
    }
}

/// The whole address of a service. Never shown: it may hold credentials by mistake.
pub(crate) struct ServiceUrl;

impl Kind for ServiceUrl {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        let text = node.text().map(str::trim).ok_or(Wrong::Kind)?;
        if text.is_empty() {
            return Ok(None);
        }
        let uri = text.parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(host) = uri.as_ref().and_then(Uri::authority) else {
            return Err(Wrong::Says(format!("expected {}", self.expects())));
        };
        if host.as_str().contains('@') || host.host().is_empty() {
            let sentence = "expected an address with a host, and without a user and a password";
            return Err(Wrong::Says(sentence.to_owned()));
        }
        Ok(Some(text.to_owned()))
    }

    fn expects(&self) -> String {
        "an http:// or https:// address".into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

/// The backend's base address. Never shown: it may hold credentials by mistake.
pub(crate) struct BaseUrl;

impl Kind for BaseUrl {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        let says = |what: &str| Err(Wrong::Says(what.to_owned()));
        let Some(text) = node.text().map(str::trim) else {
            return Err(Wrong::Kind);
        };
        if text.is_empty() {
            return Ok(None);
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return says(
                "this is not a web address; expected one such as \"http://localhost:8000/api/\"",
            );
        };
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return says("expected an address that begins with http:// or https:// and a host");
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return says(
                "leave user and password out: send credentials as a header (backend.headers)",
            );
        }
        if text.contains(['?', '#']) {
            return says("leave out what begins with ? or #: paths are appended to this address");
        }
        if !text.ends_with('/') {
            return says(
                "end it with a slash: paths such as bootstrap/ are appended to it as it is",
            );
        }
        Ok(Some(text.to_owned()))
    }

    fn expects(&self) -> String {
        "an http:// or https:// address that ends in a slash".into()
    }

    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^\\s*https?://.*/\\s*$" })
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

/// The broker's address; empty for none. A secret: it is never shown.
pub(crate) struct AmqpUrl;

impl Kind for AmqpUrl {
    type Value = Option<String>;

    fn read(&self, node: &Node) -> Result<Option<String>, Wrong> {
        let wrong = || Wrong::Says(format!("expected {}", self.expects()));
        let text = node.text().ok_or_else(wrong)?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let fits = matches!(uri.scheme_str(), Some("amqp" | "amqps"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !text.contains('#');
        if fits {
            Ok(Some(text.to_owned()))
        } else {
            Err(wrong())
        }
    }

    fn expects(&self) -> String {
        "an address such as \"amqp://user:password@host:5672/vhost\" (amqps:// for TLS, \
         special characters percent-encoded), or \"\" for the embedded broker"
            .into()
    }

    fn show(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}
