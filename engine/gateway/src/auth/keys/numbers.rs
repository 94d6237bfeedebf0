//! Checks the numbers of a key: no signature could be valid with other ones, or anybody could make one.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use curve25519_dalek::edwards::CompressedEdwardsY;
use jsonwebtoken::DecodingKey;

use super::{Key, Problem};
use crate::auth::TokenAlgorithm;

/// The least number of bytes of a secret: the length of the hash (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;

/// The accepted sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The accepted sizes of the exponent of an RSA key, in bits. The least exponent is 3; the library that
/// checks signatures takes no longer one.
const EXPONENT_BITS: std::ops::RangeInclusive<usize> = 2..=33;

/// The number of bytes of a coordinate on P-256 (RFC 7518 §6.2.1.2).
pub(super) const COORDINATE: usize = 32;

/// Makes the key of a secret, for HS256.
///
/// # Errors
/// The secret is too short.
pub(super) fn secret(bytes: &[u8]) -> Result<Key, Problem> {
    if bytes.len() < SHORTEST_SECRET {
        return Err(format!(
            "a secret has at least {SHORTEST_SECRET} bytes that nobody can guess: make one with openssl \
             rand -out FILE {SHORTEST_SECRET}"
        ));
    }
    Ok(Key {
        algorithm: TokenAlgorithm::HS256,
        key: DecodingKey::from_secret(bytes),
    })
}

/// Makes an RSA key, for RS256. Modulus and exponent begin with their most significant byte.
///
/// # Errors
/// No signature could be valid with these numbers, or anybody could make one.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Key, Problem> {
    let [modulus, exponent] = [modulus, exponent].map(without_zeros);
    let (size, exponent_size) = (bits(modulus), bits(exponent));
    if !RSA_BITS.contains(&size) {
        return Err(format!(
            "an RSA key has 2,048 to 8,192 bits, and this one has {size}"
        ));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !is_odd(modulus) {
        return Err(
            "the modulus of the RSA key (\"n\") is even: it cannot be a product of two large primes"
                .into(),
        );
    }
    if !is_odd(exponent) || !EXPONENT_BITS.contains(&exponent_size) {
        return Err(format!(
            "the exponent of an RSA key (\"e\") is odd, at least 3 and of at most {} bits; \
             65537 (\"AQAB\") is the usual one",
            EXPONENT_BITS.end()
        ));
    }
    Ok(Key {
        algorithm: TokenAlgorithm::RS256,
        key: DecodingKey::from_rsa_raw_components(modulus, exponent),
    })
}

/// Makes a key on P-256, for ES256. The point must not be compressed (SEC 1 §2.3.3).
///
/// # Errors
/// The point is not on the curve.
pub(super) fn ecdsa(point: &[u8]) -> Result<Key, Problem> {
    if let [2 | 3, ..] = point {
        return Err(
            "the point of the EC key is compressed: write it in full (openssl ec -pubin -in FILE \
             -pubout -conv_form uncompressed)"
                .into(),
        );
    }
    // This finds points of another length, and points that are not on the curve.
    if point.first() != Some(&4) || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_err() {
        return Err("the key is not valid: its point is not on the curve P-256".into());
    }
    Ok(Key {
        algorithm: TokenAlgorithm::ES256,
        key: DecodingKey::from_ec_der(point),
    })
}

/// Makes a key on Curve25519, for EdDSA (RFC 8032 §5.1.5).
///
/// # Errors
/// The point is not on the curve, or anybody can make signatures for it.
pub(super) fn edwards(point: &[u8]) -> Result<Key, Problem> {
    const NOT_ON_CURVE: &str =
        "the key is not valid: its bytes are not a point of the curve Ed25519";
    let Ok(compressed) = CompressedEdwardsY::from_slice(point) else {
        return Err(format!(
            "the key is not valid: an Ed25519 key has 32 bytes, and this one has {}",
            point.len()
        ));
    };
    let decoded = compressed.decompress().ok_or(NOT_ON_CURVE)?;
    // A coordinate beyond the order of the field is another form of the point, and not allowed.
    if decoded.compress() != compressed {
        return Err(NOT_ON_CURVE.into());
    }
    if decoded.is_small_order() {
        return Err(
            "the key is not valid: anybody can make signatures for its point, which is one of the \
             eight points of small order"
                .into(),
        );
    }
    Ok(Key {
        algorithm: TokenAlgorithm::EdDSA,
        key: DecodingKey::from_ed_der(point),
    })
}

/// Returns a number without its leading zero bytes.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Returns the length in bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
