//! Settings of tokens.

use std::path::PathBuf;
use std::time::Duration;

use ht_token::{Holder, Issuer, Rules};

/// What a valid token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtUse {
    /// It stands for the call of the API. A client without one is asked about as ever.
    Instead,
    /// The API is called as well, but only about clients with a valid one.
    First,
}

/// Settings of tokens.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// What a valid token does.
    pub usage: JwtUse,
    /// Refuse clients without a token.
    pub require: bool,
    /// What holds for all tokens.
    pub rules: Rules,
    /// Who may sign them.
    pub issuers: Vec<JwtIssuer>,
}

/// An issuer, and where its public keys are.
#[derive(Clone, Debug)]
pub struct JwtIssuer {
    /// The issuer; its public keys are those that are fetched.
    pub issuer: Issuer,
    /// Address of its set of public keys (JWKS), `https://` or on loopback.
    pub key_set: Option<String>,
    /// Timeout of a fetch.
    pub timeout: Duration,
    /// PEM file with the authorities to trust for the fetch instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
}

/// Which tokens are revoked.
pub trait DenyCheck: Send + Sync + 'static {
    /// Whether the token of this holder is revoked.
    fn denies(&self, holder: Holder<'_>) -> bool;
}
