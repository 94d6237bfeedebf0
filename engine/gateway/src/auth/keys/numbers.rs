//! What the numbers of a key have to be, so that a signature can be good.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use curve25519_dalek::edwards::CompressedEdwardsY;
use jsonwebtoken::DecodingKey;

use super::{Key, Problem};
use crate::auth::TokenAlgorithm;

/// Shortest secret: as long as the hash (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;

/// Sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Sizes of the exponent of an RSA key, in bits: 3 is the least, and what checks signatures takes no
/// longer one.
const EXPONENT_BITS: std::ops::RangeInclusive<usize> = 2..=33;

/// Bytes of a coordinate on P-256 (RFC 7518 §6.2.1.2).
pub(super) const COORDINATE: usize = 32;

/// A secret for HS256.
///
/// # Errors
/// It is too short.
pub(super) fn secret(bytes: &[u8]) -> Result<Key, Problem> {
    if bytes.len() < SHORTEST_SECRET {
        return Err(format!(
            "a secret has at least {SHORTEST_SECRET} bytes, none of which can be guessed: make one \
             with openssl rand -out FILE {SHORTEST_SECRET}"
        ));
    }
    Ok(Key {
        algorithm: TokenAlgorithm::HS256,
        key: DecodingKey::from_secret(bytes),
    })
}

/// An RSA key for RS256: modulus and exponent, the most significant byte first.
///
/// # Errors
/// No signature could be good, or anybody could make one.
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
            "the modulus of the RSA key (\"n\") is even, and no product of two large primes is"
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

/// A key on P-256 for ES256: a point, not compressed (SEC 1 §2.3.3).
///
/// # Errors
/// It is no point of the curve.
pub(super) fn ecdsa(point: &[u8]) -> Result<Key, Problem> {
    if let [2 | 3, ..] = point {
        return Err(
            "the point of the EC key is compressed: write it in full (openssl ec -pubin -in FILE \
             -pubout -conv_form uncompressed)"
                .into(),
        );
    }
    // This finds what has another length and what is not on the curve.
    if point.first() != Some(&4) || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_err() {
        return Err("it is no good key: the point of the EC key is not on the curve P-256".into());
    }
    Ok(Key {
        algorithm: TokenAlgorithm::ES256,
        key: DecodingKey::from_ec_der(point),
    })
}

/// A key on Curve25519 for EdDSA (RFC 8032 §5.1.5).
///
/// # Errors
/// It is no point of the curve, or one for which anybody can make signatures.
pub(super) fn edwards(point: &[u8]) -> Result<Key, Problem> {
    const NOT_ON_CURVE: &str = "it is no good key: its bytes are no point of the curve Ed25519";
    let Ok(compressed) = CompressedEdwardsY::from_slice(point) else {
        return Err(format!(
            "it is no good key: an Ed25519 key has 32 bytes, and this one has {}",
            point.len()
        ));
    };
    let decoded = compressed.decompress().ok_or(NOT_ON_CURVE)?;
    // A coordinate beyond the field's order is another way to write a point, and not allowed.
    if decoded.compress() != compressed {
        return Err(NOT_ON_CURVE.into());
    }
    if decoded.is_small_order() {
        return Err(
            "it is no good key: its point is one of the eight of small order, for which anybody \
             can make signatures"
                .into(),
        );
    }
    Ok(Key {
        algorithm: TokenAlgorithm::EdDSA,
        key: DecodingKey::from_ed_der(point),
    })
}

/// A number without the zeros in front of it.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The length in bits of a number that begins with no zero byte.
fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
