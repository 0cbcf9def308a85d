//! Where the usage of tenants is written: its rules, and its struct.

use ht_backend::{PostConfig, tls};
use ht_node::config::{Secret, UsageConfig};

use crate::config::mistake::Mistakes;
use crate::config::settings::Values;

/// Checks that what is posted is kept until it was accepted, and that it can be sent at all.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let (url, key) = (&values.usage_url, &values.usage_receiver_key);
    let has_file = values.usage_file.value.is_some() || mistakes.about("usage.file");
    if url.value.is_some() && !has_file {
        mistakes.add(
            &url.place,
            "usage.url",
            "usage.file is missing: it names the files in which records are kept until this address \
             has accepted them",
        );
    }
    if let Some(Secret(text)) = &key.value
        && PostConfig::authorization(text).is_none()
    {
        mistakes.add(
            &key.place,
            "usage.receiver_key",
            "the key holds characters that no header can have",
        );
    }
    let is_secure = url
        .value
        .as_ref()
        .is_some_and(|url| url.starts_with("https://"));
    if let (Some(path), true) = (&values.usage_tls_ca_file.value, is_secure)
        && let Err(problem) = tls::check_ca_file(path)
    {
        let place = &values.usage_tls_ca_file.place;
        mistakes.add(place, "usage.tls_ca_file", problem.to_string());
    }
}

/// Builds the struct from checked values.
pub(crate) fn usage(values: &Values) -> UsageConfig {
    UsageConfig {
        file: values.usage_file.value.clone(),
        url: values.usage_url.value.clone(),
        key: values.usage_receiver_key.value.clone(),
        tls_ca_file: values.usage_tls_ca_file.value.clone(),
        timeout: values.usage_timeout.value,
        interval: values.usage_interval.value,
        keep: values.usage_keep.value,
    }
}
