//! Keys that cannot be right, by the smallest thing that is wrong with each.

use std::io::Write;

use super::*;
use crate::auth::KeyFile;
use crate::auth::keys;

fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A good key of each kind.
fn good() -> [Value; 4] {
    [
        json!({"kid": "1", "kty": "oct", "k": base64(SECRET)}),
        json!({"kid": "1", "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}),
        json!({"kid": "1", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
        json!({"kid": "1", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    ]
}

fn read(json: &str) -> Result<(usize, Vec<String>), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.as_bytes()).unwrap();
    let read = keys::read(&KeyFile::Jwks(file.path().to_owned()));
    let read = read.map_err(|error| error.to_string());
    read.map(|read| (read.keys.count(), read.warnings))
}

/// A key beside a good one: the whole set is refused, and the key named.
#[track_caller]
fn refused(key: &Value, word: &str) {
    let other = json!({"kid": "other", "kty": "oct", "k": base64(SECRET)});
    let set = json!({"keys": [other, key]}).to_string();
    let error = read(&set).expect_err(&set);
    let named = match key.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key 2 (\"kid\" {kid:?}): "),
        None => "key 2: ".to_owned(),
    };
    assert!(error.contains(&named), "{named}: {error}");
    assert!(error.contains(word), "{word}: {error}");
}

/// A key for another purpose beside a valid one is skipped, and a warning says so.
#[track_caller]
fn passed_over(key: &Value, word: &str) {
    let other = json!({"kid": "other", "kty": "oct", "k": base64(SECRET)});
    let (count, warnings) = read(&json!({"keys": [key, other]}).to_string()).unwrap();
    assert_eq!(count, 1, "{key}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = &warnings[0];
    assert!(warning.contains("skipped: key 1"), "{warning}");
    assert!(warning.contains(word), "{word}: {warning}");
    // Without the other, nothing is left.
    let error = read(&json!({"keys": [key]}).to_string()).unwrap_err();
    assert!(
        error.contains("has no key that tokens") && error.contains(word),
        "{error}"
    );
}

fn with(key: &Value, name: &str, value: Value) -> Value {
    let mut key = key.clone();
    key[name] = value;
    key
}

fn without(key: &Value, name: &str) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove(name);
    key
}

#[test]
fn good_keys() {
    let named = good().into_iter().enumerate();
    let named: Vec<_> = named
        .map(|(i, key)| with(&key, "kid", json!(i.to_string())))
        .collect();
    assert_eq!(read(&json!({"keys": named}).to_string()), Ok((4, vec![])));
    let [_, rsa, ..] = good();
    // Zeros in front of a number are no part of it.
    let zeros = |name: &str| {
        with(
            &rsa,
            name,
            json!(base64(&[&[0], &*bytes(&rsa[name])].concat())),
        )
    };
    for key in [
        zeros("n"),
        zeros("e"),
        with(&rsa, "e", json!("Aw")),
        with(&rsa, "use", json!("sig")),
        with(&rsa, "alg", json!("RS256")),
        with(&rsa, "alg", json!(null)),
        with(&rsa, "key_ops", json!(["sign", "verify"])),
    ] {
        assert_eq!(
            read(&json!({"keys": [key]}).to_string()).unwrap().0,
            1,
            "{key}"
        );
    }
}

#[test]
fn rsa_numbers() {
    let [_, rsa, ..] = good();
    let n = bytes(&rsa["n"]);
    let modulus = |bytes: &[u8]| with(&rsa, "n", json!(base64(bytes)));
    let exponent = |bytes: &[u8]| with(&rsa, "e", json!(base64(bytes)));
    let even = [&n[..n.len() - 1], &[n[n.len() - 1] & 0xfe]].concat();
    refused(&modulus(&even), "is even");
    refused(&modulus(&[0]), "2,048 to 8,192 bits, and this one has 0");
    refused(&modulus(&[]), "2,048 to 8,192 bits");
    let short = [&[n[0] & 0x7f | 0x40], &n[1..]].concat();
    refused(&modulus(&short), "this one has 2047");
    refused(&modulus(&[&[1], &[0xff; 1_024][..]].concat()), "has 8193");
    refused(&modulus(&vec![0xff; 100_000]), "has 800000");
    for bad in [
        &[][..],
        &[0],
        &[1],
        &[0, 1],
        &[2],
        &[4],
        &[1, 0, 0],
        &[3, 0, 0, 0, 1],
        &[0xff; 32],
    ] {
        refused(&exponent(bad), "exponent of an RSA key");
    }
    for name in ["n", "e"] {
        let text = format!("\"{name}\"");
        refused(&without(&rsa, name), &text);
        for bad in [
            json!("!"),
            json!("AQAB="),
            json!("AQ AB"),
            json!("A"),
            json!(3),
            json!([1]),
        ] {
            refused(&with(&rsa, name, bad), &text);
        }
    }
}

#[test]
fn points_of_p_256() {
    let [.., ec, _] = good();
    for name in ["x", "y"] {
        let good = bytes(&ec[name]);
        let mut off = good.clone();
        off[31] ^= 1;
        refused(
            &with(&ec, name, json!(base64(&off))),
            "not on the curve P-256",
        );
        refused(
            &with(&ec, name, json!(base64(&good[1..]))),
            "has 32 bytes, and this one has 31",
        );
        let long = [&[0], &*good].concat();
        refused(&with(&ec, name, json!(base64(&long))), "this one has 33");
        refused(&with(&ec, name, json!("")), "this one has 0");
        refused(&without(&ec, name), &format!("\"{name}\""));
    }
    let mut zero = with(&ec, "x", json!(base64(&[0; 32])));
    refused(&zero, "not on the curve");
    zero["y"] = json!(base64(&[0; 32]));
    refused(&zero, "not on the curve");
    // Beyond the field's order.
    refused(
        &with(&ec, "x", json!(base64(&[0xff; 32]))),
        "not on the curve",
    );
    refused(&without(&ec, "crv"), "no \"crv\"");
}

#[test]
fn points_of_ed25519() {
    let [.., ed] = good();
    let point = |bytes: &[u8]| with(&ed, "x", json!(base64(bytes)));
    let number = |low: u8, rest: u8, high: u8| {
        let mut bytes = [rest; 32];
        (bytes[0], bytes[31]) = (low, high);
        bytes
    };
    refused(&point(&number(2, 0, 0)), "not a point of the curve Ed25519");
    // 1 and -1 as the second coordinate, 0 and the order of the field less 1.
    refused(&point(&number(1, 0, 0)), "small order");
    refused(&point(&number(0xec, 0xff, 0x7f)), "small order");
    refused(&point(&number(0, 0, 0)), "small order");
    refused(&point(&number(0, 0, 0x80)), "small order");
    // The order of the field and 1, which is 1 written in another way.
    refused(
        &point(&number(0xee, 0xff, 0x7f)),
        "not a point of the curve Ed25519",
    );
    // 0 as the first coordinate has no sign.
    refused(
        &point(&number(1, 0, 0x80)),
        "not a point of the curve Ed25519",
    );
    refused(&point(&[0xff; 32]), "not a point of the curve Ed25519");
    for bytes in [&[][..], &[7; 31], &[7; 33], &[7; 64]] {
        refused(&point(bytes), "has 32 bytes");
    }
    refused(&without(&ed, "x"), "\"x\"");
}

#[test]
fn what_must_not_be_in_a_set() {
    let [oct, rsa, ec, ed] = good();
    for (key, private) in [
        (&rsa, "d"),
        (&rsa, "p"),
        (&rsa, "qi"),
        (&ec, "d"),
        (&ed, "d"),
    ] {
        let key = with(key, private, json!("AAAA"));
        refused(&key, "a private key");
        // Even where the key is for something else.
        refused(&with(&key, "use", json!("enc")), "a private key");
    }
    refused(
        &with(&oct, "k", json!(base64(&SECRET[1..]))),
        "at least 32 bytes",
    );
    refused(&json!(7), "not a key");
    refused(&json!("key"), "not a key");
    refused(&without(&oct, "kty"), "no \"kty\"");
    refused(&with(&oct, "kty", json!(1)), "\"kty\"");
    refused(&with(&oct, "kid", json!(1)), "\"kid\"");
    refused(&with(&oct, "use", json!(["sig"])), "\"use\"");
    refused(&with(&oct, "key_ops", json!("verify")), "\"key_ops\"");
    refused(
        &with(&oct, "kid", json!("other")),
        "another key has the same \"kid\"",
    );
    let long = with(&oct, "kid", json!("x".repeat(1_000)));
    let error = read(&json!({"keys": [&long, &long]}).to_string()).unwrap_err();
    assert!(error.len() < 300, "{error}");
}

#[test]
fn what_a_set_may_have_beside() {
    let [oct, rsa, ec, ed] = good();
    passed_over(&with(&rsa, "use", json!("enc")), "\"use\"");
    passed_over(&with(&rsa, "key_ops", json!(["sign"])), "\"key_ops\"");
    passed_over(&with(&rsa, "key_ops", json!([])), "\"key_ops\"");
    for alg in ["PS256", "RS512", "RSA-OAEP", "none", "?"] {
        passed_over(&with(&rsa, "alg", json!(alg)), "\"alg\"");
    }
    for curve in ["P-384", "P-521", "secp256k1", "?"] {
        passed_over(&with(&ec, "crv", json!(curve)), "\"crv\"");
    }
    for curve in ["Ed448", "X25519"] {
        passed_over(&with(&ed, "crv", json!(curve)), "\"crv\"");
    }
    passed_over(
        &json!({"kid": "1", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        "\"kty\"",
    );
    passed_over(&without(&oct, "kid"), "no \"kid\"");
    // Of many, some are named.
    let others = (0..100).map(|i| json!({"kid": i.to_string(), "kty": "XYZ"}));
    let (_, warnings) =
        read(&json!({"keys": others.chain([oct]).collect::<Vec<_>>()}).to_string()).unwrap();
    assert!(
        warnings[0].contains("key 10 ") && !warnings[0].contains("key 11 "),
        "{warnings:?}"
    );
    assert!(warnings[0].ends_with("and 90 more"), "{warnings:?}");
}

#[test]
fn sets_with_a_byte_order_mark() {
    let set = json!({"keys": good()[..1]}).to_string();
    assert_eq!(read(&set).unwrap().0, 1);
    let error = read(&format!("\u{feff}{set}")).unwrap_err();
    assert!(error.contains("byte order mark (UTF-8"), "{error}");
}
