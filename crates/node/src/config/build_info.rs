//! What a program was built from.

/// What a program was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The release.
    pub version: &'static str,
    /// The commit of the source.
    pub commit: &'static str,
    /// The version of the compiler.
    pub rustc: &'static str,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
            rustc: "unknown",
        }
    }
}
