//! Keys that verify signatures.

use std::fmt;

use crate::algorithm::Family;

/// Shortest modulus of an RSA key, in bits (RFC 7518 section 3.3).
const RSA_BITS_MIN: usize = 2048;

/// Longest modulus of an RSA key, in bits.
const RSA_BITS_MAX: usize = 8192;

/// Longest public exponent, in bytes: F4 has three.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// Shortest secret of an issuer, in bytes: that of the digest of HS256 (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// A key that verifies signatures. `Debug` shows its type only.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// Modulus and exponent, big endian without leading zeros.
    Rsa {
        /// Modulus.
        n: Box<[u8]>,
        /// Public exponent.
        e: Box<[u8]>,
    },
    /// An uncompressed point on P-256 (SEC 1 section 2.3.3).
    P256(Box<[u8]>),
    /// An uncompressed point on P-384.
    P384(Box<[u8]>),
    /// An encoded point (RFC 8032 section 5.1.2).
    Ed25519(Box<[u8]>),
    /// A shared secret.
    Secret(Box<[u8]>),
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The modulus is too short or too long.
    #[error("an RSA key of {bits} bits: it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaBits {
        /// Its length in bits.
        bits: usize,
    },
    /// The exponent is even, 1, or absurdly long.
    #[error(
        "the exponent of an RSA key must be odd, greater than 1 and of at most {RSA_EXPONENT_BYTES_MAX} bytes"
    )]
    RsaExponent,
    /// A coordinate has another length than the curve's.
    #[error("a coordinate of {bytes} bytes where the curve has {expected}")]
    Coordinate {
        /// Its length.
        bytes: usize,
        /// The length on that curve.
        expected: usize,
    },
    /// The secret is too short.
    #[error("a secret of {bytes} bytes: it must have at least {SECRET_BYTES_MIN}")]
    ShortSecret {
        /// Its length.
        bytes: usize,
    },
}

impl Key {
    /// An RSA key of big endian numbers; zeros before them are left out.
    ///
    /// # Errors
    /// [`KeyError::RsaBits`] and [`KeyError::RsaExponent`].
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n = without_zeros(n);
        let e = without_zeros(e);
        let unused = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = n.len() * 8 - unused;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::RsaBits { bits });
        }
        let is_odd = e.last().is_some_and(|byte| byte & 1 == 1);
        if !is_odd || e == [1] || e.len() > RSA_EXPONENT_BYTES_MAX {
            return Err(KeyError::RsaExponent);
        }
        Ok(Self::Rsa {
            n: n.into(),
            e: e.into(),
        })
    }

    /// A key on P-256 of its coordinates.
    ///
    /// # Errors
    /// [`KeyError::Coordinate`]. Whether the point is on the curve is checked at each use.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        point(x, y, 32).map(Self::P256)
    }

    /// A key on P-384 of its coordinates.
    ///
    /// # Errors
    /// As [`Self::p256`].
    pub fn p384(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        point(x, y, 48).map(Self::P384)
    }

    /// An Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Coordinate`].
    pub fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        coordinate(x, 32)?;
        Ok(Self::Ed25519(x.into()))
    }

    /// A secret that the issuer shares with the gateway.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`].
    pub fn secret(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret { bytes: bytes.len() });
        }
        Ok(Self::Secret(bytes.into()))
    }

    /// The algorithms that it fits.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Rsa { .. } => Family::Rsa,
            Self::P256(_) => Family::P256,
            Self::P384(_) => Family::P384,
            Self::Ed25519(_) => Family::Ed25519,
            Self::Secret(_) => Family::Secret,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.family())
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn coordinate(bytes: &[u8], expected: usize) -> Result<(), KeyError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(KeyError::Coordinate {
        bytes: bytes.len(),
        expected,
    })
}

fn point(x: &[u8], y: &[u8], expected: usize) -> Result<Box<[u8]>, KeyError> {
    coordinate(x, expected)?;
    coordinate(y, expected)?;
    Ok([&[4], x, y].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused() {
        let n = |bits: usize| [&[0, 0x80][..], &vec![1; bits / 8 - 1]].concat();
        assert!(Key::rsa(&n(2048), &[1, 0, 1]).is_ok());
        assert!(Key::rsa(&n(8192), &[3]).is_ok());
        assert_eq!(
            Key::rsa(&n(2040), &[3]),
            Err(KeyError::RsaBits { bits: 2040 })
        );
        assert_eq!(
            Key::rsa(&n(8200), &[3]),
            Err(KeyError::RsaBits { bits: 8200 })
        );
        assert_eq!(Key::rsa(&[], &[3]), Err(KeyError::RsaBits { bits: 0 }));
        for e in [&[][..], &[1], &[0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(Key::rsa(&n(2048), e), Err(KeyError::RsaExponent), "{e:?}");
        }
        assert!(Key::p256(&[1; 32], &[1; 32]).is_ok());
        assert!(Key::p256(&[1; 31], &[1; 32]).is_err());
        assert!(Key::p384(&[1; 48], &[1; 47]).is_err());
        assert!(Key::ed25519(&[1; 33]).is_err());
        assert_eq!(
            Key::secret(&[1; 31]),
            Err(KeyError::ShortSecret { bytes: 31 })
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let key = Key::secret(&[0x41; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key(Secret)");
    }
}
