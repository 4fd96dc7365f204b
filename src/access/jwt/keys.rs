//! Keys that tokens are verified with: from PEM, from a JSON Web Key Set (RFC 7517), or a secret.
//!
//! Each key is for one algorithm, which follows from what the key is and never from what a token says.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

/// Keys of one set that are read; the rest is left out.
pub const KEYS_MAX: usize = 64;
/// A file of keys, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// A secret for HS256 must have as many bytes as its hash (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// One key. Its `Debug` does not show it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Its name, where it has one.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of a file: PEM, or a JSON Web Key Set.
///
/// # Errors
/// What the file should be; nothing of it is repeated.
pub(super) fn from_file(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let keys = if bytes.trim_ascii_start().starts_with(b"{") { from_set(bytes)? } else { from_pem(bytes)? };
    if keys.is_empty() {
        return Err("it holds no key for RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// A secret that issuer and gateway share, for HS256. A line end at its end is an editor's.
///
/// # Errors
/// It is too short to be safe.
pub(super) fn from_secret(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let secret = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
    }
    Ok(vec![Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) }])
}

/// The keys of a set that are public and for an algorithm of ours; others are left out, as RFC 7517, 5 wants it.
///
/// # Errors
/// It is no set.
pub(super) fn from_set(bytes: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|_| "it is no JSON Web Key Set".to_owned())?;
    let keys =
        set.keys.into_iter().take(KEYS_MAX).filter_map(|key| of_set(&serde_json::from_value(key).ok()?));
    Ok(keys.collect())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library may learn more kinds of keys")]
fn of_set(jwk: &Jwk) -> Option<Key> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // Another curve, or a secret, which is no public key: what everybody can fetch proves nothing.
        _ => return None,
    };
    let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let for_algorithm = jwk.common.key_algorithm.as_ref().is_none_or(|of| *of == named);
    if !for_signatures || !for_algorithm {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
}

fn from_pem(bytes: &[u8]) -> Result<Vec<Key>, String> {
    const MEANT: &str = "write public keys in PEM (BEGIN PUBLIC KEY, as openssl pkey -pubout gives them), or a JSON Web Key Set";
    let mut keys = Vec::new();
    for key in SubjectPublicKeyInfoDer::pem_slice_iter(bytes).take(KEYS_MAX) {
        let key = key.map_err(|_| MEANT.to_owned())?;
        let Some((algorithm, key)) = of_info(&key) else {
            return Err("a key in it is neither RSA nor P-256 nor Ed25519".to_owned());
        };
        keys.push(Key { id: None, algorithm, key });
    }
    if keys.is_empty() {
        let is_private = bytes.windows(12).any(|twelve| twelve == b"PRIVATE KEY-");
        let hint = if is_private { "it holds a private key, which Entry must not have; " } else { "" };
        return Err(format!("{hint}{MEANT}"));
    }
    Ok(keys)
}

/// A SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): the algorithm, then the key itself in a bit string.
fn of_info(der: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    let (info, []) = value(der, SEQUENCE)? else { return None };
    let (algorithm, rest) = value(info, SEQUENCE)?;
    let (bits, []) = value(rest, BIT_STRING)? else { return None };
    // A key is of whole bytes: no bit of the last one is unused.
    let [0, key @ ..] = bits else { return None };
    match algorithm {
        RSA => Some((Algorithm::RS256, DecodingKey::from_rsa_der(key))),
        P256 => Some((Algorithm::ES256, DecodingKey::from_ec_der(key))),
        ED25519 => Some((Algorithm::EdDSA, DecodingKey::from_ed_der(key))),
        _ => None,
    }
}

/// The content of the DER value with this tag, and what is behind it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("../../../tests/keys/public.pem");

    #[test]
    fn keys_in_pem_are_for_the_algorithm_of_their_kind() {
        let keys = from_file(PEM.as_bytes()).unwrap();
        let algorithms: Vec<Algorithm> = keys.iter().map(|key| key.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_not_repeated() {
        let private = "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n";
        let table = [
            ("", "PEM"),
            ("SECRET", "PEM"),
            (private, "which Entry must not have"),
            ("-----BEGIN PUBLIC KEY-----\n!SECRET!\n-----END PUBLIC KEY-----\n", "PEM"),
            ("-----BEGIN PUBLIC KEY-----\nU0VDUkVU\n-----END PUBLIC KEY-----\n", "neither RSA"),
            ("{\"SECRET\":1}", "JSON Web Key Set"),
            ("{\"keys\":[]}", "no key"),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"U0VDUkVU\"}]}", "no key"),
        ];
        for (text, words) in table {
            let error = from_file(text.as_bytes()).unwrap_err();
            assert!(error.contains(words) && !error.contains("SECRET"), "{text}: {error}");
        }
        assert!(from_secret(b"too short\n").unwrap_err().contains("32 bytes"));
        assert!(from_secret(&[b'x'; 32]).is_ok());
        assert!(from_secret(&[&[b'x'; 31][..], b"\n"].concat()).is_err(), "a line end is no byte of it");
    }

    #[test]
    fn a_set_gives_the_keys_that_are_of_use_here() {
        let set = r#"{"keys":[
            {"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty":"EC","crv":"P-256","kid":"enc","use":"enc","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty":"EC","crv":"secp256k1","kid":"b","x":"AA","y":"AA"},
            {"kty":"RSA","alg":"PS256","kid":"c","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","use":"sig","kid":"d","n":"AQAB","e":"AQAB"},
            {"kty":"oct","kid":"e","k":"AAAA"},
            {"kty":"new","kid":"f"},
            7,
            {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ]}"#;
        let keys = from_set(set.as_bytes()).unwrap();
        let told: Vec<(Option<&str>, Algorithm)> =
            keys.iter().map(|key| (key.id.as_deref(), key.algorithm)).collect();
        let expected =
            [(Some("a"), Algorithm::ES256), (Some("d"), Algorithm::RS256), (None, Algorithm::EdDSA)];
        assert_eq!(told, expected);
        let many = format!(
            "{{\"keys\":[{}]}}",
            vec![r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#; KEYS_MAX + 9].join(",")
        );
        assert_eq!(from_set(many.as_bytes()).unwrap().len(), KEYS_MAX);
    }

    #[test]
    fn a_cut_key_is_no_key() {
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(PEM.as_bytes()) {
            let key = key.unwrap();
            assert!(of_info(&key).is_some());
            for length in 0..key.len() {
                assert!(of_info(&key[..length]).is_none(), "{length}");
            }
            assert!(of_info(&[&key[..], &[0]].concat()).is_none());
        }
    }
}
