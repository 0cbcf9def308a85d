//! JSON Web Tokens (RFC 7519) that stand for a call of the API: signed, with the members of a
//! bootstrap response in a claim.
//!
//! [`Verifier`] decides whether a token is valid at a time that it is given, and
//! [`DenyList`] whether it was revoked since. Nothing here does input or output, reads a clock, or
//! builds an address from a token: keys come from the configuration and from sets
//! ([`KeySet`]) that somebody else fetched.

mod algorithm;
mod claims;
mod compact;
mod crypto;
mod deny;
mod header;
mod issuer;
mod jwk;
mod key;
mod reason;
mod rules;
mod sign;
mod strict;
mod verifier;

pub use crate::algorithm::{Algorithm, Family};
pub use crate::claims::Claims;
pub use crate::compact::TOKEN_BYTES_MAX;
pub use crate::deny::{Denied, DenyList, ENTRIES_MAX, Full, Holder, Target};
pub use crate::issuer::{Issuer, Secret};
pub use crate::jwk::{KEYS_MAX, KeySet, KeySetError, Skipped};
pub use crate::key::{Key, KeyError};
pub use crate::reason::Reason;
pub use crate::rules::Rules;
pub use crate::sign::{SignError, sign};
pub use crate::verifier::{Refused, Verified, Verifier};
