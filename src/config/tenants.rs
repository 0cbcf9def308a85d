//! Tenants as they are written: in the configuration file, in files of their own, or in the JSON of a
//! registry. All of them have one reader, and every mistake of all tenants is reported at once.

mod document;
pub(crate) mod files;
mod from;
mod kinds;
mod log;
mod references;
mod rows;
mod schema;
mod survey;
mod tenancy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ht_backend::HttpBackend;
use ht_node::config::{HostName, Origins, OriginsWritten, TenantConfig, TenantLimits, TenantName};

use crate::config::build;
use crate::config::kind::quoted;
use crate::config::layers::Layers;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::names::section_of;
use crate::config::node::{Node, Value};
use crate::config::settings;
use crate::config::table::Lookup;

pub use from::TenantSource;
pub use tenancy::Tenancy;

#[cfg(test)]
pub(crate) use document::of_one;
pub(crate) use document::{Document, from_json};
pub(crate) use from::check;
pub(crate) use log::LogRules;
pub(crate) use references::{Missing, Trust, with_paths};
pub(crate) use schema::{json_schema, markdown};
pub(crate) use survey::{Survey, Surveyed};

/// Most tenants of a gateway.
pub(crate) const TENANTS_MAX: usize = 100_000;

/// Names that mean something else.
const RESERVED: [&str; 3] = [TenantName::MAIN, "none", "other"];

/// The settings of hooks that a tenant has of its own; the queue is the node's.
const HOOKS: [&str; 4] = [
    "hooks.connect",
    "hooks.ping",
    "hooks.disconnect",
    "hooks.timeout",
];

/// All settings of a tenant: its own, and those of the sections that it shares with the
/// configuration file.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let shared = settings::KEYS.iter().filter(|key| is_shared(key));
    rows::KEYS.iter().chain(shared).copied().collect()
});

/// Whether a setting of the configuration file is one of each tenant, too.
fn is_shared(key: &str) -> bool {
    let section = section_of(key);
    matches!(section, "backend" | "origins") || HOOKS.contains(&key) || log::is_of_log(section)
}

/// Reads tenants.
pub(crate) struct Reader<'a> {
    /// The variables that a tenant may refer to.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Base folder of the paths of secrets.
    pub(crate) folder: &'a Path,
    /// What a tenant may refer to.
    pub(crate) trust: Trust,
    /// The hosts of `main`, which none may have.
    pub(crate) main_hosts: &'a [HostName],
    /// What there may be of logs of their own.
    pub(crate) logs: &'a LogRules,
}

impl Reader<'_> {
    /// Reads one tenant. None if something is wrong.
    pub(crate) fn one(&self, document: &Document, mistakes: &mut Mistakes) -> Option<TenantConfig> {
        let surveyed = self.survey(document.clone());
        let config = surveyed.good().cloned();
        let missing = surveyed.missing.into_iter().map(|it| it.mistake);
        mistakes.0.extend(surveyed.mistakes.0);
        mistakes.0.extend(missing);
        config
    }

    /// The settings of one tenant, unless there is a mistake, and what they refer to in vain.
    fn values(
        &self,
        document: &Document,
        mistakes: &mut Mistakes,
    ) -> (Option<TenantConfig>, Vec<Missing>) {
        let place = &document.node.place;
        let Value::Table(entries) = &document.node.value else {
            mistakes.add(place, "", "a tenant is a table of its settings");
            return (None, Vec::new());
        };
        let owner = document.name().parse().ok();
        let entries = nested(entries, mistakes);
        let (entries, missing) = references::resolved(&entries, self, owner.as_ref(), mistakes);
        (self.config(document, entries, mistakes), missing)
    }

    /// The settings of one tenant, with the values that they refer to.
    fn config(
        &self,
        document: &Document,
        entries: Vec<(String, Node)>,
        mistakes: &mut Mistakes,
    ) -> Option<TenantConfig> {
        let place = &document.node.place;
        let mut layers = Layers::of_settings(&KEYS, self.folder);
        let entries = self.permitted(entries, mistakes);
        layers.table("", entries.clone(), mistakes);
        let own = rows::read(&layers, mistakes);
        let mut shared = settings::read(&Shared(&layers), mistakes);
        let name = name(&own, document, mistakes);
        let is_about = |key| mistakes.about(key);
        if shared.backend_url.value.is_none()
            && !["backend", "backend.url"].into_iter().any(is_about)
        {
            let what = "this setting is missing: set the URL of the tenant's HTTP API, such as \
                        backend = { url = \"https://api.acme.example/\" }";
            mistakes.add(place, "backend.url", what);
        }
        build::check_transport(&shared, mistakes);
        let is_of_operator = self.trust.is_operator();
        let name = name?;
        let log = log::read(&mut shared, &name, &entries, is_of_operator, mistakes);
        if !mistakes.is_empty() {
            return None;
        }
        let origins = Origins {
            allow: shared.origins_allow.value.clone(),
            require: shared.origins_require.value,
            written: OriginsWritten::Tenant {
                name: name.to_string(),
                // Without its line, which changes with what is above it.
                place: place.path().display().to_string(),
            },
        };
        let backend = build::backend(shared, Vec::new());
        if let Err(cause) = HttpBackend::check(&backend) {
            mistakes.add(place, "", cause.to_string());
            return None;
        }
        let path = own.path.value.unwrap_or_else(|| format!("/t/{name}/ws/"));
        Some(TenantConfig {
            name,
            hosts: own.hosts.value.into_iter().map(Into::into).collect(),
            path: path.into(),
            key: own.key.value.map(Into::into),
            backend,
            origins,
            publish_keys: own.publish_keys.value,
            limits: TenantLimits {
                connections: own.limits_connections.value,
                connections_per_user: own.limits_connections_per_user.value,
                messages_per_second: own.limits_messages_per_second.value as u64,
                publish_per_second: own.limits_publish_per_second.value as u64,
                bytes_per_second: own.limits_bytes_per_second.value as u64,
                handshakes_per_second: own.limits_handshakes_per_second.value,
                window_bytes: own.limits_window_bytes.value,
            },
            log,
            is_suspended: own.suspended.value,
        })
    }

    /// Without the settings that are the node's, each of which is a mistake, and for a tenant that
    /// is not written by the operator without those that reach into the machine.
    fn permitted(
        &self,
        entries: Vec<(String, Node)>,
        mistakes: &mut Mistakes,
    ) -> Vec<(String, Node)> {
        let mut left = Vec::with_capacity(entries.len());
        for (section, mut node) in entries {
            if let Value::Table(members) = &mut node.value {
                members.retain(|(name, member)| {
                    let key = format!("{section}.{name}");
                    let refused = self.refused(&key);
                    if let Some(what) = refused {
                        mistakes.add(&member.place, &key, what);
                    }
                    refused.is_none()
                });
            } else if !KEYS.contains(&&*section) && settings::KEYS.contains(&&*section) {
                mistakes.add(&node.place, &section, OF_THE_NODE);
                continue;
            }
            left.push((section, node));
        }
        left
    }

    /// Why a tenant may not have a setting.
    fn refused(&self, key: &str) -> Option<&'static str> {
        let is_file = key.ends_with("_file") || key == "backend.socket";
        if self.trust.is_operator() {
            let is_known = KEYS.contains(&key) || !settings::KEYS.contains(&key);
            return (!is_known).then_some(OF_THE_NODE);
        }
        if is_file {
            return Some(
                "only a tenant in a file of the operator may name a file or a socket of this machine",
            );
        }
        (!KEYS.contains(&key) && settings::KEYS.contains(&key)).then_some(OF_THE_NODE)
    }
}

/// Without names that reach into a section: what a tenant may have, and what is a secret, is told by
/// the members of sections.
fn nested(entries: &[(String, Node)], mistakes: &mut Mistakes) -> Vec<(String, Node)> {
    let (nested, others): (Vec<_>, Vec<_>) = entries
        .iter()
        .cloned()
        .partition(|(name, _)| !name.is_empty() && !name.contains('.'));
    for (name, node) in others {
        let what = "write the section as a table, such as backend = { url = \"https://…\" }: a name \
                    that is empty or has a point in it is no setting";
        mistakes.add(&node.place, &quoted(&name), what);
    }
    nested
}

const OF_THE_NODE: &str =
    "this is a setting of the node, not of a tenant: write it in the configuration file";

/// The settings of a tenant that are settings of the configuration file, too.
struct Shared<'a>(&'a Layers);

impl Lookup for Shared<'_> {
    fn of(&self, key: &str) -> impl Iterator<Item = &Node> {
        let is_shared = is_shared(key);
        self.0.of(key).filter(move |_| is_shared)
    }
}

/// The tenant's name: that which is written, or that of its file.
fn name(own: &rows::Values, document: &Document, mistakes: &mut Mistakes) -> Option<TenantName> {
    let place = &document.node.place;
    let (name, at) = match (&own.name.value, &document.stem) {
        (Some(name), Some(stem)) if name.as_str() != stem => {
            let what = format!(
                "the file of a tenant has its name: call this file {name}, or change the name"
            );
            mistakes.add(&own.name.place, "name", what);
            return None;
        }
        (Some(name), _) => (name.clone(), &own.name.place),
        (None, _) if mistakes.about("name") => return None,
        (None, Some(stem)) => match stem.parse::<TenantName>() {
            Ok(name) => (name, place),
            Err(error) => {
                mistakes.add(
                    place,
                    "name",
                    format!("{stem:?} cannot be a tenant: {error}"),
                );
                return None;
            }
        },
        (None, None) => {
            mistakes.add(
                place,
                "name",
                "this setting is missing: every tenant has a name",
            );
            return None;
        }
    };
    if RESERVED.contains(&name.as_str()) {
        let what = match name.as_str() {
            TenantName::MAIN => "main is the tenant of [backend] in the configuration file",
            _ => "this name has another meaning: choose another one",
        };
        mistakes.add(at, "name", what);
        return None;
    }
    Some(name)
}

/// A tenant of a registry or a request, which `shown` stands for in mistakes.
pub(crate) fn tenant_of_json(json: serde_json::Value, shown: &str) -> Document {
    let place = WrittenAt::File {
        path: PathBuf::from(shown),
        line: 0,
    };
    from_json(json, &place)
}

#[cfg(test)]
mod tests;
