//! Where tenants come from: the section `[tenants]`.

use std::path::PathBuf;
use std::time::Duration;

use ht_backend::tls;
use ht_node::config::{Secret, TenantName};

use crate::config::kind::TenantsFrom;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::Node;
use crate::config::settings::Values;

/// Where tenants are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSource {
    /// Nowhere.
    None,
    /// In files.
    File {
        /// A file or a folder; none: only in the configuration file.
        path: Option<PathBuf>,
        /// The file of the last good list.
        copy: Option<PathBuf>,
        /// How often it is looked at.
        interval: Duration,
        /// The folder of secrets for tenants of the administrative API.
        secrets: Option<PathBuf>,
    },
    /// In a registry.
    Http {
        /// Its address.
        url: String,
        /// Its key.
        registry_key: Option<Secret>,
        /// Check its certificate.
        tls_verify: bool,
        /// Its authorities.
        tls_ca_file: Option<PathBuf>,
        /// The file of the last good list.
        copy: Option<PathBuf>,
        /// How often it is asked.
        interval: Duration,
        /// Time limit of a call.
        timeout: Duration,
        /// The folder of secrets.
        secrets: Option<PathBuf>,
    },
}

impl TenantSource {
    /// As it is configured. `None` where the checks have found a mistake.
    pub(crate) fn of(values: &Values) -> Self {
        let interval = values.tenants_interval.value;
        let secrets = values.tenants_secrets.value.clone();
        match values.tenants_source.value {
            TenantsFrom::None => Self::None,
            TenantsFrom::File => Self::File {
                path: values.tenants_file.value.clone(),
                copy: values.tenants_copy.value.clone(),
                interval,
                secrets,
            },
            TenantsFrom::Http => Self::Http {
                url: values.tenants_url.value.clone().unwrap_or_default(),
                registry_key: values.tenants_registry_key.value.clone(),
                tls_verify: values.tenants_tls_verify.value,
                tls_ca_file: values.tenants_tls_ca_file.value.clone(),
                copy: values.tenants_copy.value.clone(),
                interval,
                timeout: values.tenants_timeout.value,
                secrets,
            },
        }
    }
}

/// Adds a mistake to a setting that has none.
fn add(mistakes: &mut Mistakes, place: &WrittenAt, key: &str, what: &str) {
    if !mistakes.about(key) {
        mistakes.add(place, key, what);
    }
}

/// Checks rules between these settings; `tables` are the tables `[[tenant]]` of the configuration
/// file.
pub(crate) fn check(values: &Values, tables: &[Node], mistakes: &mut Mistakes) {
    let (source, file, url) = (
        &values.tenants_source,
        &values.tenants_file,
        &values.tenants_url,
    );
    match source.value {
        // What it should be is not known, so nothing else contradicts it.
        _ if mistakes.about("tenants.source") => {}
        TenantsFrom::None => {
            if file.value.is_some() {
                let what = "set tenants.source = \"file\" as well, or remove this";
                add(mistakes, &file.place, "tenants.file", what);
            }
            if url.value.is_some() {
                let what = "set tenants.source = \"http\" as well, or remove this";
                add(mistakes, &url.place, "tenants.url", what);
            }
            if let Some(table) = tables.first() {
                let what = "set tenants.source = \"file\" under [tenants], so that these tenants \
                            are served, or remove them";
                add(mistakes, &table.place, "tenant", what);
            }
        }
        TenantsFrom::File if file.value.is_none() && tables.is_empty() => {
            let what = "there are no tenants: name a file or a folder in tenants.file, or write \
                        tables [[tenant]]";
            add(mistakes, &source.place, "tenants.source", what);
        }
        TenantsFrom::File => {}
        TenantsFrom::Http => {
            if url.value.is_none() && !mistakes.about("tenants.url") {
                let what = "tenants.url is missing: set the address of the registry";
                add(mistakes, &source.place, "tenants.source", what);
            }
            if let Some(table) = tables.first() {
                let what = "with tenants.source = \"http\" all tenants are those of the registry: \
                            add this one there";
                add(mistakes, &table.place, "tenant", what);
            }
        }
    }
    let ca = &values.tenants_tls_ca_file;
    if let (Some(path), true) = (&ca.value, values.tenants_tls_verify.value)
        && let Err(problem) = tls::check_ca_file(path)
    {
        mistakes.add(&ca.place, "tenants.tls_ca_file", problem.to_string());
    }
    let hosts = &values.tenants_hosts;
    if !hosts.value.is_empty() && values.backend_url.value.is_none() {
        let what = "there is no tenant main without backend.url: set that, or give these hosts to a \
                    tenant";
        mistakes.add(&hosts.place, "tenants.hosts", what);
    }
    let main = values.tenants_default.value.0.as_ref();
    let has_main = values.backend_url.value.is_some() || mistakes.about("backend.url");
    if main.is_some_and(TenantName::is_main) && !has_main {
        let what = "there is no tenant main without backend.url: set that, or another tenant here";
        mistakes.add(&values.tenants_default.place, "tenants.default", what);
    }
}
