//! Variables of Python deployments, used where no newer setting overrides them, so that the old
//! environment starts the new gateway unchanged.

mod scope;

use std::collections::BTreeMap;

use ht_node::config::OriginPattern;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::kind::{HeaderChange, fixed_header, token_header};
use crate::config::layers::{Layers, Variable};
use crate::config::mistake::Mistakes;
use crate::config::node::{Node, Value};

pub(crate) use crate::config::legacy::scope::{read_secrets, unused};

/// Every variable that is looked at.
pub(crate) const NAMES: &[&str] = &[
    "API_SOCKET",
    "API_URL",
    "APP_URL",
    "BINDER_INTERNAL",
    "BINDER_SOCKET",
    "CY_BINDER_INTERNAL",
    "CY_BINDER_SOCKET",
    "LOGFILE_LEVEL",
    "LOGFILE_PATH",
    "RABBITMQ_HOST",
    "RABBITMQ_PASSWORD",
    "RABBITMQ_PASSWORD_FILE",
    "RABBITMQ_USERNAME",
    "RABBITMQ_USERNAME_FILE",
];

/// The API's address where only its socket is given.
const SOCKET_URL: &str = "http://localhost/api/";

/// Which Python program the variables were made for: the first one that any of them names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// The `serve.py` of the usual deployment.
    ServePy,
    /// The `asgi.py` of the package.
    AsgiPy,
    /// A settings class that takes its address from the environment, or nothing of the kind.
    Plain,
}

impl Family {
    /// Default host of RabbitMQ in the program.
    fn broker_host(self) -> Option<&'static str> {
        match self {
            Self::ServePy => Some("localhost"),
            Self::AsgiPy => Some("rabbitmq"),
            Self::Plain => None,
        }
    }
}

/// Result of these variables.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Headers that such a deployment forwards beyond the usual ones.
    pub(crate) headers: Vec<HeaderChange>,
    /// The variables that were used, in the order of their use.
    pub(crate) honoured: Vec<&'static str>,
    /// Notes for the operator.
    pub(crate) notes: Vec<String>,
}

/// Adds the values of these variables below all other layers.
pub(crate) fn apply(
    layers: &mut Layers,
    variables: &BTreeMap<String, Variable>,
    mistakes: &mut Mistakes,
) -> Legacy {
    let mut apply = Apply {
        layers,
        variables,
        mistakes,
        legacy: Legacy::default(),
    };
    apply.backend();
    apply.rabbitmq();
    apply.log();
    apply.legacy
}

struct Apply<'a> {
    layers: &'a mut Layers,
    variables: &'a BTreeMap<String, Variable>,
    mistakes: &'a mut Mistakes,
    legacy: Legacy,
}

impl<'a> Apply<'a> {
    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<&'a Variable> {
        self.variables
            .get(name)
            .filter(|variable| !variable.text.is_empty())
    }

    /// Sets `key` on the word of `name`, unless something stronger does.
    fn put(&mut self, key: &'static str, name: &'static str, text: impl Into<String>) {
        let Some(variable) = self.get(name) else {
            return;
        };
        if self.layers.has(key) {
            return;
        }
        let node = Node {
            place: variable.place.clone(),
            value: Value::Raw(text.into()),
        };
        self.layers.put(key, node);
        self.honour(name);
    }

    fn honour(&mut self, name: &'static str) {
        if !self.legacy.honoured.contains(&name) {
            self.legacy.honoured.push(name);
        }
    }

    /// The family, and the variable that identifies it.
    fn family(&self) -> (Family, Option<&'static str>) {
        let first = |names: &[&'static str]| {
            let mut names = names.iter().copied();
            names.find(|name| self.get(name).is_some())
        };
        if let Some(name) = first(&["APP_URL", "BINDER_INTERNAL", "BINDER_SOCKET"]) {
            (Family::ServePy, Some(name))
        } else if let Some(name) = first(&["CY_BINDER_INTERNAL", "CY_BINDER_SOCKET"]) {
            (Family::AsgiPy, Some(name))
        } else {
            (Family::Plain, None)
        }
    }

    fn backend(&mut self) {
        match self.family() {
            (Family::ServePy, Some(name)) => self.serve_py(name),
            (Family::AsgiPy, _) => self.url_and_socket("CY_BINDER_INTERNAL", "CY_BINDER_SOCKET"),
            (Family::ServePy | Family::Plain, _) => self.url_and_socket("API_URL", "API_SOCKET"),
        }
    }

    fn url_and_socket(&mut self, url: &'static str, socket: &'static str) {
        if let Some(variable) = self.get(url) {
            self.put("backend.url", url, variable.text.as_str());
        }
        if let Some(variable) = self.get(socket) {
            self.put("backend.url", socket, SOCKET_URL);
            self.put("backend.socket", socket, variable.text.as_str());
        }
    }

    /// The effect of `serve.py`'s variables and code.
    fn serve_py(&mut self, name: &'static str) {
        self.url_and_socket("BINDER_INTERNAL", "BINDER_SOCKET");
        self.put("hooks.connect", name, "POST user/notify_online/");
        self.put("hooks.ping", name, "POST user/notify_online/");
        self.put("hooks.disconnect", name, "POST user/notify_offline/");
        self.honour(name);
        self.legacy
            .headers
            .push(token_header("x-session-token", "session_token"));
        let Some(app) = self.get("APP_URL") else {
            return;
        };
        self.honour("APP_URL");
        let url = format!("{}/api/", app.text.trim_end_matches('/'));
        self.put("backend.url", "APP_URL", url.as_str());
        // The site's own pages, whatever a proxy in front makes of their Host.
        if let Some(origin) = origin_of(&app.text) {
            self.put("origins.allow", "APP_URL", origin);
        }
        match fixed_header("referer", &url) {
            Some(header) => self.legacy.headers.push(header),
            None => self.mistakes.add(
                &app.place,
                "backend.headers.referer",
                "it is sent as the header Referer, but holds characters that no header can",
            ),
        }
    }

    fn rabbitmq(&mut self) {
        if self.layers.has("rabbitmq.url") {
            return;
        }
        let login = ["RABBITMQ_USERNAME", "RABBITMQ_PASSWORD"];
        let (family, teller) = self.family();
        let (host, name) = match (self.get("RABBITMQ_HOST"), family.broker_host(), teller) {
            (Some(host), _, _) => (host.text.as_str(), "RABBITMQ_HOST"),
            (None, Some(host), Some(name)) => {
                self.legacy.notes.push(format!(
                    "{name} implies RabbitMQ on the host {host}, as it was; RABBITMQ_HOST names \
                     another, an empty HT_RABBITMQ__URL means none"
                ));
                (host, name)
            }
            (None, _, _) => {
                let set = login.into_iter().find(|name| self.get(name).is_some());
                if let Some(name) = set {
                    self.legacy.notes.push(format!(
                        "{name} is set without RABBITMQ_HOST: no RabbitMQ is used"
                    ));
                }
                return;
            }
        };
        let [user, password] = login.map(|name| {
            self.get(name)
                .map_or("rabbitmq", |variable| variable.text.as_str())
        });
        let url = amqp_url(host, user, password);
        self.put("rabbitmq.url", name, url);
        for name in login {
            if self.get(name).is_some() {
                self.honour(name);
            }
        }
    }

    fn log(&mut self) {
        if let Some(level) = self.get("LOGFILE_LEVEL")
            && !self.layers.has("log.level")
        {
            match level_of(&level.text) {
                Some(name) => self.put("log.level", "LOGFILE_LEVEL", name),
                None => self.mistakes.add(
                    &level.place,
                    "log.level",
                    format!(
                        "expected DEBUG, INFO, WARNING, ERROR or CRITICAL; found {:?}",
                        level.text
                    ),
                ),
            }
        }
        if self.get("LOGFILE_PATH").is_some() {
            self.legacy
                .notes
                .push("LOGFILE_PATH is not used: the log goes to stderr".to_owned());
        }
    }
}

/// Characters that may be unescaped in a user, a password or a vhost.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The address of `host`, which may carry `:port` and `/vhost`; a vhost that is already
/// percent-encoded stays as it is.
fn amqp_url(host: &str, user: &str, password: &str) -> String {
    let encode = |text| utf8_percent_encode(text, ENCODED);
    let (host, query) = host.split_once('?').unwrap_or((host, ""));
    let (host, vhost) = host.split_once('/').unwrap_or((host, ""));
    let mut url = format!("amqp://{}:{}@{host}", encode(user), encode(password));
    if !vhost.is_empty() {
        const KEEP: &AsciiSet = &ENCODED.remove(b'%');
        url.push('/');
        url.extend(utf8_percent_encode(vhost, KEEP));
    }
    if !query.is_empty() {
        // An empty path would be the vhost with the empty name.
        url.push_str(if vhost.is_empty() { "/%2f?" } else { "?" });
        url.push_str(query);
    }
    url
}

/// The origin of the pages below this address.
fn origin_of(url: &str) -> Option<String> {
    let url: Uri = url.trim().parse().ok()?;
    let origin = format!("{}://{}", url.scheme_str()?, url.authority()?);
    origin.parse::<OriginPattern>().ok()?;
    Some(origin)
}

/// Python's level names in ours.
fn level_of(name: &str) -> Option<&'static str> {
    match name.trim().to_ascii_uppercase().as_str() {
        "NOTSET" => Some("trace"),
        "DEBUG" => Some("debug"),
        "INFO" => Some("info"),
        "WARN" | "WARNING" => Some("warn"),
        "ERROR" | "CRITICAL" | "FATAL" => Some("error"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_site_is_what_its_pages_send() {
        for (url, origin) in [
            ("https://app.nl", Some("https://app.nl")),
            ("https://app.nl:8443/shop/", Some("https://app.nl:8443")),
            ("app.nl", None),
            ("https://user@app.nl", None),
            ("/app", None),
        ] {
            assert_eq!(origin_of(url).as_deref(), origin, "{url}");
        }
    }

    #[test]
    fn rabbitmq_addresses_are_put_together() {
        for (host, user, password, expected) in [
            ("mq", "rabbitmq", "rabbitmq", "amqp://rabbitmq:rabbitmq@mq"),
            ("mq:5673", "u", "p", "amqp://u:p@mq:5673"),
            ("mq:5673/live", "u", "p", "amqp://u:p@mq:5673/live"),
            ("mq/", "u", "p", "amqp://u:p@mq"),
            ("mq//live", "u", "p", "amqp://u:p@mq/%2Flive"),
            ("mq/%2flive", "u", "p", "amqp://u:p@mq/%2flive"),
            (
                "mq?heartbeat=10",
                "u",
                "p",
                "amqp://u:p@mq/%2f?heartbeat=10",
            ),
            (
                "mq/v?heartbeat=10",
                "u",
                "p",
                "amqp://u:p@mq/v?heartbeat=10",
            ),
            ("[::1]:5672", "u", "p", "amqp://u:p@[::1]:5672"),
            ("mq", "u@x", "p/:ä", "amqp://u%40x:p%2F%3A%C3%A4@mq"),
        ] {
            assert_eq!(amqp_url(host, user, password), expected, "{host}");
        }
    }
}
