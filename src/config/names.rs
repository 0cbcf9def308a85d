//! Names of settings: paths in the file, and variables.

/// Sections that may be written as one value, and the setting that it is for.
pub(crate) const SHORT: &[(&str, &str)] = &[("origins", "origins.allow")];

/// The variable that sets a setting: `limits.message_bytes` is `HT_LIMITS__MESSAGE_BYTES`.
pub(crate) fn variable_of(key: &str) -> String {
    format!("HT_{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The section of a setting; empty for those at the top.
pub(crate) fn section_of(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}
