//! Claims at the edges of what a number, a name or a list can be, signed with a secret and with a
//! private key.

use super::*;

/// Signs claims as they are written, and reads them at [`NOW`] with a leeway of 5 s.
struct Both {
    edwards: EncodingKey,
    keys: [Keys; 2],
}

impl Both {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        let set = json!({"keys": [{"kid": "1", "kty": "OKP", "crv": "Ed25519", "x": x}]});
        Self {
            edwards: EncodingKey::from_ed_der(&pair.serialize_der()),
            keys: [keys(), Keys::of_set(&set.to_string()).unwrap()],
        }
    }

    /// Checks both tokens, and returns their result, which must be equal.
    #[track_caller]
    fn check(&self, expected: &Expected, claims: &str) -> Result<Grant, Refusal> {
        let [secret, edwards] = [Algorithm::HS256, Algorithm::EdDSA].map(|algorithm| {
            let (head, key, known) = match algorithm {
                Algorithm::HS256 => (
                    json!({"alg": "HS256"}),
                    &EncodingKey::from_secret(SECRET),
                    &self.keys[0],
                ),
                _ => (
                    json!({"alg": "EdDSA", "kid": "1"}),
                    &self.edwards,
                    &self.keys[1],
                ),
            };
            let message = format!("{}.{}", part(&head), BASE64_URL_SAFE_NO_PAD.encode(claims));
            let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
            let payload = token::payload(&format!("{message}.{signature}"), known)?;
            claims::read(&payload, expected, NOW * 1_000)
        });
        assert_eq!(secret, edwards, "{claims}");
        secret
    }
}

type Outcome = Result<u64, Reason>;

/// `exp` and `nbf` as they are written; when the token expires, or why it is refused.
#[test]
fn times() {
    use Reason::{Claims, Expired, NotYet};
    const FAR: Outcome = Ok((1 << 53) - 1);
    let in_a_minute: Outcome = Ok((NOW + 60) * 1_000);
    let both = Both::new();
    let check = |fields: &str, outcome: Outcome| {
        let claims = format!(r#"{{"sub":"alice"{fields}}}"#);
        let found = both.check(&expected(), &claims);
        let found = found.map(|grant| grant.expires_ms);
        assert_eq!(found.map_err(|refusal| refusal.reason), outcome, "{claims}");
    };
    for (exp, outcome) in [
        // Within the leeway, on its end, and behind it.
        ("1799999995.001", Ok(1_799_999_995_001)),
        ("1799999995", Err(Expired)),
        ("1800000060", in_a_minute),
        ("1800000060.0", in_a_minute),
        ("1.80000006e9", in_a_minute),
        ("180000006E+1", in_a_minute),
        ("18000000600e-1", in_a_minute),
        ("1800000001.5", Ok(1_800_000_001_500)),
        ("1800000001.0006", Ok(1_800_000_001_001)),
        ("0", Err(Expired)),
        ("-0", Err(Expired)),
        ("-0.0", Err(Expired)),
        ("-1", Err(Expired)),
        ("-0.5", Err(Expired)),
        ("-1e18", Err(Expired)),
        ("-1e308", Err(Expired)),
        ("-9223372036854775808", Err(Expired)),
        ("1e-400", Err(Expired)),
        // The last time that all readers of JSON have exactly, and the next.
        ("9007199254740.5", Ok(9_007_199_254_740_500)),
        ("9007199254741", FAR),
        ("9223372036854775807", FAR),
        ("18446744073709551615", FAR),
        ("18446744073709551616", FAR),
        ("1e18", FAR),
        ("1e300", FAR),
        ("1.7976931348623157e308", FAR),
        // No number that JSON has, or none at all.
        ("1e400", Err(Claims)),
        ("-1e400", Err(Claims)),
        ("NaN", Err(Claims)),
        ("Infinity", Err(Claims)),
        ("01800000060", Err(Claims)),
        ("0x7fffffff", Err(Claims)),
        ("\"1800000060\"", Err(Claims)),
        ("\"\"", Err(Claims)),
        ("null", Err(Claims)),
        ("true", Err(Claims)),
        ("[1800000060]", Err(Claims)),
        ("{}", Err(Claims)),
    ] {
        check(&format!(r#","exp":{exp}"#), outcome);
    }
    check("", Err(Claims));
    check(r#","exp":1800000060,"exp":1800000060"#, Err(Claims));
    check(r#","exp":1800000060,"\u0065xp":1"#, Err(Claims));
    check(r#","EXP":1800000060"#, Err(Claims));
    for (nbf, outcome) in [
        ("1800000005", in_a_minute),
        ("1800000005.001", Err(NotYet)),
        ("1.9e9", Err(NotYet)),
        ("1e18", Err(NotYet)),
        ("1e308", Err(NotYet)),
        ("18446744073709551616", Err(NotYet)),
        // Long ago.
        ("0", in_a_minute),
        ("-1", in_a_minute),
        ("-0.001", in_a_minute),
        ("-1e308", in_a_minute),
        ("null", in_a_minute),
        ("1e400", Err(Claims)),
        ("\"0\"", Err(Claims)),
        ("false", Err(Claims)),
        ("[]", Err(Claims)),
    ] {
        check(&format!(r#","exp":1800000060,"nbf":{nbf}"#), outcome);
    }
    check(r#","exp":1800000060,"nbf":1,"nbf":1"#, Err(Claims));
    // It begins when it has expired: at no time is it valid, whatever the leeway.
    for (exp, nbf, outcome) in [
        (NOW - 60, NOW + 60, Err(Expired)),
        (NOW + 60, NOW + 120, Err(NotYet)),
        (NOW - 60, NOW - 30, Err(Expired)),
        (NOW + 1, NOW + 2, Err(Claims)),
        (NOW - 2, NOW + 2, Err(Claims)),
        (NOW, NOW, Err(Claims)),
        (NOW + 1, NOW, Ok((NOW + 1) * 1_000)),
    ] {
        check(&format!(r#","exp":{exp},"nbf":{nbf}"#), outcome);
    }
    // `iat` says when the token was made, and decides nothing.
    for iat in ["0", "-1", "1e18", "\"x\"", "null", "[[]]"] {
        check(&format!(r#","exp":1800000060,"iat":{iat}"#), in_a_minute);
    }
}

/// Names, audiences and what stands beside them.
#[test]
fn other_claims() {
    use Reason::{Audience, Claims};
    let both = Both::new();
    let check = |audience: Option<&str>, claims: &str, outcome: Result<&str, Reason>| {
        let expected = Expected {
            audience: audience.map(Into::into),
            ..expected()
        };
        let found = both.check(&expected, claims);
        let found = found.as_ref().map(|grant| grant.user.as_str());
        let found = found.map_err(|refusal| refusal.reason);
        assert_eq!(found, outcome, "{claims}");
    };
    let long = format!("\"{}\"", "x".repeat(65));
    for (sub, outcome) in [
        (r#""alice""#, Ok("alice")),
        (r#""\u0061lice""#, Ok("alice")),
        (r#""""#, Err(Claims)),
        (r#"" alice""#, Err(Claims)),
        (r#""alice\n""#, Err(Claims)),
        (r#""a\u0000b""#, Err(Claims)),
        (r#""\ud800""#, Err(Claims)),
        (r#""al\u0131ce""#, Err(Claims)),
        (r#""a/b""#, Err(Claims)),
        (r#""u:a:b""#, Err(Claims)),
        (&long, Err(Claims)),
        ("7", Err(Claims)),
        ("null", Err(Claims)),
        (r#"["alice"]"#, Err(Claims)),
        (r#"{"sub":"alice"}"#, Err(Claims)),
    ] {
        check(None, &format!(r#"{{"exp":9e9,"sub":{sub}}}"#), outcome);
    }
    for (aud, outcome) in [
        (r#""chat""#, Ok("alice")),
        (r#""ch\u0061t""#, Ok("alice")),
        (r#"["mail","ch\u0061t"]"#, Ok("alice")),
        (r#"["chat","chat"]"#, Ok("alice")),
        (r#"["mail"]"#, Err(Audience)),
        ("[]", Err(Audience)),
        (r#""""#, Err(Audience)),
        ("null", Err(Audience)),
        (r#"["chat",7]"#, Err(Claims)),
        (r#"["chat",null]"#, Err(Claims)),
        (r#"[["chat"]]"#, Err(Claims)),
        (r#"{"chat":1}"#, Err(Claims)),
        ("true", Err(Claims)),
    ] {
        let claims = format!(r#"{{"exp":9e9,"sub":"alice","aud":{aud}}}"#);
        check(Some("chat"), &claims, outcome);
    }
    let nested = "[".repeat(1_000) + &"]".repeat(1_000);
    for (rest, outcome) in [
        (r#""others":{"sub":"bob","exp":0}"#, Ok("alice")),
        (r#""others":[{"exp":[-1]}]"#, Ok("alice")),
        // The claims that count are there once, at any depth.
        (r#""sub":"alice""#, Err(Claims)),
        (r#""iss":"a","iss":"a""#, Err(Claims)),
        (r#""aud":null,"aud":null"#, Err(Claims)),
        (r#""topics":{"publish":[],"publish":[]}"#, Err(Claims)),
        (r#""ns":"""#, Err(Claims)),
        (r#""device":7"#, Err(Claims)),
        (&format!(r#""others":{nested}"#), Ok("alice")),
    ] {
        let claims = format!(r#"{{"exp":9e9,"sub":"alice",{rest}}}"#);
        check(None, &claims, outcome);
    }
    for none in ["", "null", "[]", "7", "\u{feff}{}", "{", "{} {}"] {
        check(None, none, Err(Claims));
    }
}
