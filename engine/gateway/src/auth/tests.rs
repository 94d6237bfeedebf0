//! Tokens of others, and tokens of our own with everything that can be wrong.

mod edges;
mod keys;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_core::exchange::TokenMark;

use super::claims::Expected;
use super::keys::{Key, Keys};
use super::*;
use crate::auth::TokenAlgorithm;

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// The time at which tokens are checked, in seconds.
const NOW: u64 = 1_800_000_000;

fn expected() -> Expected {
    Expected {
        audience: None,
        issuer: None,
        leeway_ms: 5_000,
        patterns: 4,
    }
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(head: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(head), part(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn keys() -> Keys {
    Keys::of_secret(SECRET)
}

fn check_with(expected: &Expected, claims: &Value) -> Result<Grant, Refusal> {
    let token = signed(&json!({"alg": "HS256"}), claims);
    claims::read(&token::payload(&token, &keys())?, expected, NOW * 1_000)
}

/// The claims of a good token, changed.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"sub": "alice", "exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn check(changes: &Value) -> Result<Grant, Refusal> {
    check_with(&expected(), &claims(changes))
}

#[track_caller]
fn refused(changes: &Value, reason: Reason) {
    let refusal = check(changes).expect_err(&changes.to_string());
    assert_eq!(refusal.reason, reason, "{changes}: {refusal:?}");
}

/// The examples of RFC 7515, appendices A.1 to A.3, and of RFC 8037, appendix A.4.
#[test]
fn tokens_of_the_rfcs() {
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let set = json!({"keys": [
        {"kid": "hs", "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
        {"kid": "rs", "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kid": "es", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ]});
    let keys = Keys::of_set(&set.to_string()).unwrap();
    let check = |kid, head, claims, signature: &str| {
        let key = keys.find(Some(kid)).unwrap();
        let message = format!("{head}.{claims}");
        assert_eq!(key.signed(message.as_bytes(), signature), Ok(true), "{kid}");
        let mut other = message.into_bytes();
        other[30] ^= 1;
        assert_eq!(key.signed(&other, signature), Ok(false), "{kid}");
    };
    check(
        "hs",
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        CLAIMS,
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    );
    check(
        "rs",
        "eyJhbGciOiJSUzI1NiJ9",
        CLAIMS,
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    check(
        "es",
        "eyJhbGciOiJFUzI1NiJ9",
        CLAIMS,
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    check(
        "ed",
        "eyJhbGciOiJFZERTQSJ9",
        "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
}

#[test]
fn what_a_token_grants() {
    let grant = check(&json!({})).unwrap();
    let expected = Grant {
        token: TokenMark::default(),
        user: "alice".into(),
        namespace: "".into(),
        device: None,
        expires_ms: (NOW + 60) * 1_000,
        rights: Rights::default(),
    };
    assert_eq!(grant, expected);
    let issued = check(&json!({"iat": 1_700_000_000.9, "jti": "t-1"}));
    let expected = TokenMark::new(1_700_000_000, revoked::id_mark("t-1"));
    assert_eq!(issued.unwrap().token, expected);
    // The clock of an issuer may be ahead by the leeway, and a second more. Beyond that, no revocation would reach it.
    for (iat, issued_s) in [(NOW + 6, NOW + 6), (NOW + 7, 0), (NOW * 1_000, 0)] {
        let grant = check(&json!({"iat": iat})).unwrap();
        assert_eq!(u64::from(grant.token.issued_s), issued_s, "{iat}");
    }
    let topics = json!({"subscribe": ["live.*", "news"], "publish": ["chat.42"], "others": 1});
    let grant = check(&json!({
        "ns": "acme", "device": "phone", "exp": NOW as f64 + 1.5, "nbf": NOW - 1, "iat": "x",
        "iss": "anybody", "topics": topics, "jti": {"a": [1]},
    }));
    let grant = grant.unwrap();
    assert_eq!(grant.token, TokenMark::default());
    assert_eq!(
        (&*grant.namespace, grant.device.as_deref()),
        ("acme", Some("phone"))
    );
    assert_eq!(grant.expires_ms, NOW * 1_000 + 1_500);
    assert!(grant.rights.allow(Act::Subscribe, "live.1"));
    assert!(grant.rights.allow(Act::Publish, "chat.42"));
    assert!(!grant.rights.allow(Act::Publish, "live.1"));
    for nothing in [json!(null), json!({}), json!({"subscribe": []})] {
        assert!(
            check(&json!({"topics": nothing}))
                .unwrap()
                .rights
                .is_empty()
        );
    }
}

#[test]
fn times_with_their_leeway() {
    let exp = |seconds: f64| check(&json!({"exp": NOW as f64 + seconds}));
    assert!(exp(-4.9).is_ok());
    for expired in [-5.0, -6.0, -1e6, -(NOW as f64)] {
        assert_eq!(exp(expired), Err(Refusal::EXPIRED), "{expired}");
    }
    assert_eq!(Refusal::EXPIRED.code().code(), 109);
    let nbf = |seconds: f64| check(&json!({"nbf": NOW as f64 + seconds}));
    assert!(nbf(5.0).is_ok() && nbf(-60.0).is_ok());
    for early in [5.1, 60.0, 1e12] {
        assert_eq!(nbf(early), Err(Refusal::NOT_YET), "{early}");
    }
}

#[test]
fn for_whom_and_of_whom() {
    let with = |audience: Option<&str>, issuer: Option<&str>, changes: &Value| {
        let expected = Expected {
            audience: audience.map(Into::into),
            issuer: issuer.map(Into::into),
            ..expected()
        };
        check_with(&expected, &claims(changes)).map(|_| ())
    };
    let audience = |aud: Value| with(Some("chat"), None, &json!({"aud": aud}));
    for good in [json!("chat"), json!(["chat"]), json!(["mail", "chat"])] {
        assert_eq!(audience(good), Ok(()));
    }
    for bad in [
        json!("mail"),
        json!([]),
        json!(["mail", "cha"]),
        json!("Chat"),
    ] {
        assert_eq!(audience(bad), Err(Refusal::AUDIENCE));
    }
    assert_eq!(audience(json!(null)), Err(Refusal::NO_AUDIENCE));
    assert_eq!(audience(json!(7)).unwrap_err().reason, Reason::Claims);
    assert_eq!(
        with(Some("chat"), None, &json!({})),
        Err(Refusal::NO_AUDIENCE)
    );
    // A gateway without an audience accepts no token that names one.
    let some = with(None, None, &json!({"aud": "chat"}));
    assert_eq!(some, Err(Refusal::SOME_AUDIENCE));
    refused(&json!({"aud": []}), Reason::Audience);
    let issuer = |iss: Value| with(None, Some("https://id"), &json!({"iss": iss}));
    assert_eq!(issuer(json!("https://id")), Ok(()));
    for bad in [json!("https://id/"), json!(null), json!("")] {
        assert_eq!(issuer(bad), Err(Refusal::ISSUER));
    }
}

#[test]
fn names_and_topics_that_are_none() {
    let long = "x".repeat(65);
    for name in ["", "a b", "é", "u:alice", &long, "a/b", "a\u{0}"] {
        for claim in ["sub", "ns", "device"] {
            refused(&json!({claim: name}), Reason::Claims);
        }
        for act in ["subscribe", "publish"] {
            refused(&json!({"topics": {act: ["good", name]}}), Reason::Claims);
        }
    }
    for sub in [json!(null), json!(7), json!(["alice"]), json!({})] {
        refused(&json!({"sub": sub}), Reason::Claims);
    }
    for pattern in ["**", "*a", "a*b", "a.*.b"] {
        refused(&json!({"topics": {"publish": [pattern]}}), Reason::Claims);
    }
    for topics in [
        json!([]),
        json!("*"),
        json!({"subscribe": "live.*"}),
        json!({"subscribe": [1]}),
        json!({"publish": null}),
        // One more than may be.
        json!({"subscribe": ["a", "b", "c"], "publish": ["d", "e"]}),
        json!({"subscribe": ["a", "a", "a", "a", "a"]}),
    ] {
        refused(&json!({"topics": topics}), Reason::Claims);
    }
    let most = json!({"subscribe": ["a", "b", "c"], "publish": ["d"]});
    assert!(check(&json!({"topics": most})).is_ok());
}

#[test]
fn what_is_no_token() {
    let good = signed(&json!({"alg": "HS256"}), &claims(&json!({})));
    assert!(token::payload(&good, &keys()).is_ok());
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let reason = |token: &str| token::payload(token, &keys()).map_err(|refusal| refusal.reason);
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        head.into(),
        format!("{head}.{payload}"),
        format!("{good}.{signature}"),
        format!("{head}.{payload}.{signature}="),
        format!("{head}.{payload}.!!!!"),
        format!("{head}. {payload}.{signature}"),
        format!("{head}.{payload}.{signature}\n"),
        format!("{}.{payload}.{signature}", part(&json!("HS256"))),
        format!("{}.{payload}.{signature}", part(&json!({"typ": "JWT"}))),
        signed(&json!(["HS256", null, null]), &claims(&json!({}))),
        // Twice, which two readers may take for two things.
        format!(
            "{}.{payload}.{signature}",
            BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","alg":"none"}"#)
        ),
        signed(
            &json!({"alg": "HS256", "crit": ["exp"]}),
            &claims(&json!({})),
        ),
        signed(&json!({"alg": "HS256", "crit": []}), &claims(&json!({}))),
    ] {
        assert_eq!(reason(&bad), Err(Reason::Malformed), "{bad:?}");
    }
    for alg in ["none", "None", "hs256", "HS384", "HS512", "RS256", ""] {
        let token = signed(&json!({"alg": alg}), &claims(&json!({})));
        assert_eq!(reason(&token), Err(Reason::Algorithm), "{alg}");
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(reason(&format!("{unsigned}.")), Err(Reason::Algorithm));
    }
    for signature in ["", "AAAA", &signature[..40], &part(&json!({}))] {
        let token = format!("{head}.{payload}.{signature}");
        assert_eq!(reason(&token), Err(Reason::Signature), "{token}");
    }
    // The signed text is not an object.
    let token = signed(&json!({"alg": "HS256"}), &json!([1]));
    let payload = token::payload(&token, &keys()).unwrap();
    let refusal = claims::read(&payload, &expected(), 0).unwrap_err();
    assert_eq!(refusal.reason, Reason::Claims);
    let list = format!(r#"["alice",null,null,{NOW}]"#);
    assert!(claims::read(list.as_bytes(), &expected(), 0).is_err());
    let twice = br#"{"sub":"alice","sub":"bob","exp":9e9}"#;
    assert!(claims::read(twice, &expected(), 0).is_err());
}

#[test]
fn keys_by_name() {
    let jwk = |kid: &str, secret: &[u8]| json!({"kid": kid, "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret)});
    let set = json!({"keys": [jwk("other", &[7; 32]), jwk("1", SECRET)]});
    let keys = Keys::of_set(&set.to_string()).unwrap();
    let reason = |head: Value| {
        let token = signed(&head, &claims(&json!({})));
        token::payload(&token, &keys)
            .map(|_| ())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(reason(json!({"alg": "HS256", "kid": "1"})), Ok(()));
    for (kid, why) in [
        (json!(null), Reason::Key),
        (json!("2"), Reason::Key),
        (json!(""), Reason::Key),
        (json!("other"), Reason::Signature),
        (json!(1), Reason::Malformed),
    ] {
        assert_eq!(
            reason(json!({"alg": "HS256", "kid": kid})),
            Err(why),
            "{kid}"
        );
    }
    // With one key, whatever a token calls it.
    let token = signed(&json!({"alg": "HS256", "kid": "2"}), &claims(&json!({})));
    assert!(token::payload(&token, &self::keys()).is_ok());
}

proptest! {
    /// Random text is refused as a token, and nothing panics.
    #[test]
    fn garbage_is_refused(token in "[A-Za-z0-9_.-]{0,200}", any in ".{0,60}") {
        prop_assert!(token::payload(&token, &keys()).is_err());
        prop_assert!(token::payload(&any, &keys()).is_err());
        prop_assert!(claims::read(any.as_bytes(), &expected(), 0).is_err());
    }

    /// A token with one byte more, one byte less or another byte is refused.
    #[test]
    fn what_was_changed_is_refused(at in 0_usize..100, byte in any::<u8>()) {
        let good = signed(&json!({"alg": "HS256"}), &claims(&json!({})));
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(other) = String::from_utf8(bytes) {
            prop_assert_eq!(token::payload(&other, &keys()).is_ok(), other == good);
        }
        let mut shorter = good;
        shorter.remove(at);
        prop_assert!(token::payload(&shorter, &keys()).is_err());
    }
}

#[test]
fn one_secret() {
    let key = Key::of_secret(SECRET).unwrap();
    assert_eq!(key.algorithm, TokenAlgorithm::HS256);
    assert!(Key::of_secret(&SECRET[1..]).is_err());
    assert!(!format!("{key:?}").contains("0123"), "{key:?}");
}
