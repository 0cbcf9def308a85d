//! Why a token is refused.

ht_proto::labels! {
    /// Why a token is refused: a label of metrics, and the word in the log. Ordered as the checks are.
    pub enum Reason {
        /// Longer than [`crate::TOKEN_BYTES_MAX`].
        TooLong = "too-long",
        /// Not three parts of canonical base64url, or header and payload are not objects of JSON
        /// without repeated names.
        Malformed = "malformed",
        /// `iss` is none of the configured issuers.
        Issuer = "issuer",
        /// `alg` is not in the list of the issuer.
        Algorithm = "algorithm",
        /// The header has a `crit`: it demands what this gateway does not know (RFC 7515 section
        /// 4.1.11).
        Critical = "critical",
        /// `typ` is not the one that is configured.
        Type = "type",
        /// The issuer has no key of this `kid`, or has several that fit where the token names none.
        Key = "unknown-key",
        /// No key of the issuer could be fetched yet.
        NoKeys = "no-keys",
        /// The signature is not of that key.
        Signature = "signature",
        /// `exp` is in the past.
        Expired = "expired",
        /// `exp` is missing, or a claim of time is not a number.
        Time = "time",
        /// `nbf` or `iat` is in the future.
        TooEarly = "too-early",
        /// Valid for longer than the configuration admits.
        TooLongLived = "too-long-lived",
        /// `aud` has no configured audience.
        Audience = "audience",
        /// A claim of the client's identity has the wrong type.
        Claims = "claims",
        /// Revoked by a command.
        Denied = "denied",
        /// There is no token, and one is required.
        Missing = "missing",
    }
}
