//! Signing tokens with a shared secret, for tests and scripts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::algorithm::{Algorithm, Family};
use crate::crypto;

/// Why a token cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The algorithm needs a private key.
    #[error("{} needs a private key: only HS256, HS384 and HS512 sign with a secret", .0.as_str())]
    NotSymmetric(Algorithm),
}

/// Signs `claims` with a shared secret.
///
/// # Errors
/// [`SignError::NotSymmetric`].
pub fn sign(
    claims: &Value,
    algorithm: Algorithm,
    key_id: Option<&str>,
    secret: &[u8],
) -> Result<String, SignError> {
    let mut header = json!({"alg": algorithm.as_str(), "typ": "JWT"});
    if let Some(id) = key_id {
        header["kid"] = id.into();
    }
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let not_symmetric = SignError::NotSymmetric(algorithm);
    if algorithm.family() != Family::Secret {
        return Err(not_symmetric);
    }
    let tag = crypto::tag(secret, algorithm, signed.as_bytes()).ok_or(not_symmetric)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)))
}
