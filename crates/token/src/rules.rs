//! What holds for tokens of every issuer.

use std::time::Duration;

/// What holds for tokens of every issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Name of the claim with the members of a bootstrap response.
    pub claim: Box<str>,
    /// Name of the claim with the user.
    pub user: Box<str>,
    /// Name of the claim with the sign-in; where a token has none, it is `jti`.
    pub session: Box<str>,
    /// Longest time until a token expires.
    pub max_life: Duration,
    /// Tolerated difference between clocks.
    pub leeway: Duration,
}
