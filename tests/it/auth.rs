//! Tokens name the users of clients, and the topics that they may use.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::{End, error_code};
use trunkline_tests::gateway::Setup;
use trunkline_tests::service::{EXPIRED, INVALID, Service, folder, ms};
use trunkline_tests::tokens::{Signer, claims, claims_with, now};

#[test]
fn every_algorithm() {
    for signer in Signer::all() {
        let algorithm = signer.algorithm();
        let service = Service::new(signer, |setup| setup);
        let said = claims("alice");
        let token = service.signer.sign(&said);
        let dial = service.gateway.dial().with("token", token);
        let mut alice = dial.connect("alice", "phone");
        assert_eq!(alice.opening()["user"], "alice", "{algorithm}");
        assert_eq!(alice.opening()["expires"], ms(&said), "{algorithm}");
        // The user need not be named twice.
        let mut bob = service.gateway.dial().proto().open();
        let token = service.signer.sign(&claims("bob"));
        let opening = bob.done("connect", &json!({"token": token}));
        assert_eq!(opening["user"], "bob");
        assert!(opening["expires"].is_u64(), "{opening}");
        alice.send("bob", algorithm);
        assert_eq!(bob.push_of("message")["text"], algorithm);
        // Another key of the same kind.
        let others = Signer::all().into_iter();
        for other in others {
            let reason = if other.algorithm() == algorithm {
                "signature"
            } else {
                "algorithm"
            };
            service.refuses(&other.sign(&claims("alice")), INVALID, reason);
        }
        assert_eq!(service.gateway.metric("trunkline_tokens_total"), 2.0);
    }
}

#[test]
fn keys_of_a_set_by_name() {
    let folder = folder();
    let signers = Signer::all();
    let named = signers.iter().map(|signer| signer.jwk(signer.algorithm()));
    // What is of no use here does not disturb the others.
    let others = [
        json!({"kid": "384", "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
        json!({"kid": "enc", "kty": "oct", "use": "enc", "k": "AA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
    ];
    let keys: Vec<_> = named.chain(others).collect();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, json!({"keys": keys}).to_string()).expect("a file can be written");
    let setup = Setup::default()
        .without("dev-auth")
        .flag("jwks", file.display());
    let [first, ..] = Signer::all();
    let service = Service {
        gateway: setup.start(),
        key: file,
        signer: first,
        folder,
    };
    for signer in &signers {
        let algorithm = signer.algorithm();
        let token = signer.sign_by(algorithm, &claims("alice"));
        let dial = service.gateway.dial().with("token", token);
        dial.connect("alice", "phone").ping();
        for other in ["384", "enc", "", "nobody's"] {
            let token = signer.sign_by(other, &claims("alice"));
            service.refuses(&token, INVALID, "key");
        }
        service.refuses(&signer.sign(&claims("alice")), INVALID, "key");
        // The name of another key.
        let other = if algorithm == "RS256" {
            "ES256"
        } else {
            "RS256"
        };
        let token = signer.sign_by(other, &claims("alice"));
        service.refuses(&token, INVALID, "algorithm");
    }
    // A key of its own under a name that is there.
    let token = service.signer.sign_by("HS256", &claims("alice"));
    service.refuses(&token, INVALID, "signature");
}

#[test]
fn claims_that_are_refused() {
    let service = Service::new(Signer::ecdsa(), |setup| {
        setup
            .flag("jwt-audience", "chat")
            .flag("jwt-issuer", "https://id.example")
            .flag("token-topics", 3)
    });
    let said = |others: Value| {
        let mut all = json!({"aud": "chat", "iss": "https://id.example"});
        for (name, value) in others.as_object().expect("an object") {
            all[name] = value.clone();
        }
        claims_with("alice", all)
    };
    let sign = |others: Value| service.signer.sign(&said(others));
    let refuses = |others: Value, codes, reason| service.refuses(&sign(others), codes, reason);
    let token = sign(json!({"aud": ["mail", "chat"]}));
    let dial = service.gateway.dial();
    dial.with("token", token).connect("alice", "phone").ping();

    refuses(json!({"exp": now() - 1}), EXPIRED, "expired");
    refuses(json!({"exp": 0}), EXPIRED, "expired");
    refuses(json!({"exp": null}), INVALID, "claims");
    refuses(json!({"exp": "never"}), INVALID, "claims");
    refuses(json!({"nbf": now() + 3_600}), INVALID, "not_yet");
    refuses(json!({"aud": "mail"}), INVALID, "audience");
    refuses(json!({"aud": null}), INVALID, "audience");
    refuses(json!({"iss": "https://other.example"}), INVALID, "issuer");
    refuses(json!({"iss": null}), INVALID, "issuer");
    for sub in [
        json!(null),
        json!(""),
        json!("a b"),
        json!("x".repeat(65)),
        json!(1),
    ] {
        refuses(json!({"sub": sub}), INVALID, "claims");
    }
    refuses(json!({"ns": "a b"}), INVALID, "claims");
    refuses(json!({"device": ""}), INVALID, "claims");
    for topics in [
        json!({"subscribe": ["a", "b"], "publish": ["c", "d"]}),
        json!({"subscribe": ["*a"]}),
        json!({"publish": ["a**"]}),
        json!({"publish": ["x".repeat(65)]}),
        json!({"subscribe": "a"}),
        json!(["a"]),
    ] {
        refuses(json!({"topics": topics}), INVALID, "claims");
    }
}

/// `expires` is a number that every client reads, however far ahead a token's end is, and a time before
/// 1970 is a time.
#[test]
fn times_at_the_edges() {
    const FAR: u64 = (1 << 53) - 1;
    for signer in [Signer::hmac(), Signer::edwards()] {
        let service = Service::new(signer, |setup| setup);
        let sign = |others| service.signer.sign(&claims_with("alice", others));
        let later = now() + 3_600;
        for (claims, expires) in [
            (json!({"exp": 1e18}), FAR),
            (json!({"exp": u64::MAX}), FAR),
            (json!({"exp": i64::MAX, "nbf": -1}), FAR),
            (json!({"exp": 9_007_199_254_741_u64}), FAR),
            (json!({"exp": later as f64 + 0.25}), later * 1_000 + 250),
            (json!({"exp": later, "nbf": -1e18}), later * 1_000),
        ] {
            let token = sign(claims.clone());
            for encoding in [Json, Proto] {
                let dial = service.gateway.dial().encoding(encoding);
                let client = dial.with("token", &*token).connect("alice", "phone");
                assert_eq!(client.opening()["expires"], expires, "{claims}");
            }
        }
        for exp in [json!(-1), json!(-1e18), json!(i64::MIN), json!(-0.5)] {
            service.refuses(&sign(json!({"exp": exp})), EXPIRED, "expired");
        }
        let far = json!({"nbf": 1e18});
        service.refuses(&sign(far), INVALID, "not_yet");
    }
}

#[test]
fn tokens_that_are_none() {
    let service = Service::new(Signer::ecdsa(), |setup| setup);
    let sign = |others: Value| service.signer.sign(&claims_with("alice", others));
    let good = sign(json!({}));
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    for none in [
        "",
        "x",
        "..",
        &good[1..],
        &format!("{good}."),
        "{\"alg\":\"none\"}",
        "é",
    ] {
        service.refuses(none, INVALID, "malformed");
    }
    service.refuses(&format!("{head}.{payload}."), INVALID, "signature");
    let other = service.signer.sign(&claims("bob"));
    let other = other.split('.').nth(1).expect("three parts");
    service.refuses(&format!("{head}.{other}.{signature}"), INVALID, "signature");
    for critical in [json!(["exp"]), json!([])] {
        let token = json!({"alg": "ES256", "crit": critical});
        service.refuses(
            &service.signer.sign_as(&token, &claims("alice")),
            INVALID,
            "malformed",
        );
    }
    let long = sign(json!({"more": "x".repeat(4 << 10)}));
    assert!(long.len() > 4 << 10);
    service.refuses(&long, INVALID, "too_long");
    service.refuses(&"x".repeat(1 << 19), INVALID, "too_long");
    // As long as may be.
    let rest = (4 << 10) - sign(json!({"more": ""})).len();
    let longest = sign(json!({"more": "x".repeat(rest * 3 / 4 - 3)}));
    assert!(
        (4_080..=4_096).contains(&longest.len()),
        "{}",
        longest.len()
    );
    let dial = service.gateway.dial().with("token", longest);
    dial.connect("alice", "phone").ping();

    // None at all.
    let mut client = service.gateway.dial().open();
    assert_eq!(
        client.refused("send", &json!({"user": "bob", "text": "x"})),
        101
    );
    assert_eq!(client.refused("connect", &json!({"user": "alice"})), 101);
    assert!(matches!(client.end(), End::Close(3500, _)));
    assert_eq!(service.failures("missing"), 1.0);
}

/// A token does not choose the algorithm: otherwise anybody could sign without a key.
#[test]
fn the_key_says_which_algorithm_and_not_the_token() {
    let service = Service::new(Signer::rsa(), |setup| setup);
    let unsigned = |head: Value| {
        let token = Signer::hmac().sign_as(&head, &claims("alice"));
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        [format!("{message}."), format!("{message}.{signature}")]
    };
    for alg in ["none", "None", "NONE", "", "RS512", "PS256", "HS256"] {
        for token in unsigned(json!({"alg": alg})) {
            service.refuses(&token, INVALID, "algorithm");
        }
    }
    for token in unsigned(json!({"alg": "RS256"})) {
        service.refuses(&token, INVALID, "signature");
    }
    // The public key, which anybody may know, as a secret: in each form that it may be had in.
    let public = service.signer.public();
    for secret in [&public[..], public.trim_ascii()] {
        let forged = Signer::hmac_with(secret);
        for alg in ["HS256", "RS256"] {
            let token = forged.sign_as(&json!({"alg": alg}), &claims("alice"));
            let reason = if alg == "RS256" {
                "signature"
            } else {
                "algorithm"
            };
            let said = service.refuses(&token, INVALID, reason);
            assert!(!said.contains("KEY"), "{said}");
        }
    }
    // Keys that come with the token.
    let other = Signer::rsa();
    for head in [
        json!({"alg": "RS256", "jwk": other.jwk("1")}),
        json!({"alg": "RS256", "jku": "https://example.org/jwks", "x5u": "https://example.org"}),
        json!({"alg": "RS256", "kid": service.key.display().to_string()}),
    ] {
        let token = other.sign_as(&head, &claims("alice"));
        service.refuses(&token, INVALID, "signature");
    }
}

/// One turn checks a bounded number of tokens, because a frame with a thousand tokens would delay
/// all other clients of its shard.
#[test]
fn one_token_at_a_time() {
    let service = Service::start();
    let token = service.signer.sign(&claims("alice"));
    for encoding in [Json, Proto] {
        let before = service.failures("too_many");
        let mut client = service.gateway.dial().encoding(encoding).open();
        let many: Vec<_> = (1..=100)
            .map(|id| json!({"id": id, "connect": {"token": token, "user": "bob"}}))
            .collect();
        client.post_raw(&many);
        assert_eq!(error_code(&client.reply(1)), 103);
        // The shard handles so many commands in slices: the first token may be checked in between.
        let codes: Vec<_> = (2..=100).map(|id| error_code(&client.reply(id))).collect();
        let refused = codes.iter().filter(|code| **code == 111).count();
        assert!(refused > 0 && codes.iter().all(|code| [103, 111].contains(code)));
        assert_eq!(service.failures("too_many"), before + refused as f64);
        // One after another they may be as many as rates allow.
        for _ in 0..3 {
            client.done("connect", &json!({"token": token}));
        }
    }
}

#[test]
fn what_connect_names_must_be_the_tokens() {
    let service = Service::start();
    let token = |others| service.signer.sign(&claims_with("alice", others));
    let acme = token(json!({"ns": "acme", "device": "phone"}));
    let plain = token(json!({}));
    let mut client = service.gateway.dial().open();
    for (request, code) in [
        (json!({"token": acme, "user": "bob"}), 103),
        (json!({"token": acme, "user": ""}), 103),
        (json!({"token": acme, "namespace": "other"}), 103),
        (json!({"token": acme, "namespace": ""}), 103),
        (json!({"token": plain, "namespace": "acme"}), 103),
        (json!({"token": acme, "device": "tablet"}), 103),
        (json!({"token": plain, "device": "a b"}), 107),
        (json!({"token": plain, "since": "x y"}), 107),
        (json!({"token": plain, "resume": true}), 107),
    ] {
        assert_eq!(client.refused("connect", &request), code, "{request}");
    }
    assert_eq!(service.failures("contradicted"), 6.0);
    // It may try again, and say all of it or nothing.
    let all = json!({"token": acme, "user": "alice", "namespace": "acme", "device": "phone"});
    assert_eq!(client.done("connect", &all)["device"], "phone");
    let mut other = service.gateway.dial().open();
    assert_eq!(
        other.done("connect", &json!({"token": acme}))["device"],
        "phone"
    );
    let reply = other.done("connect", &json!({"token": acme, "device": "phone"}));
    assert_eq!(reply["device"], "phone");
    // A position is kept for the device that the token names.
    let mut resumed = service.gateway.dial().open();
    let resume = json!({"token": acme, "resume": true});
    let reply = resumed.done("connect", &resume);
    assert_eq!(
        (&reply["device"], &reply["recovered"]),
        (&json!("phone"), &json!(false))
    );
    assert!(reply["expires"].is_u64(), "{reply}");
}

#[test]
fn tenants_never_meet() {
    let service = Service::start();
    let topics = json!({"subscribe": ["*"], "publish": ["*"]});
    let mut tenants: Vec<_> = [json!("acme"), json!("umbrella"), json!(null)]
        .into_iter()
        .map(|ns| {
            let others = json!({"ns": ns, "topics": topics});
            ["alice", "bob"].map(|user| service.connect(user, others.clone()))
        })
        .collect();
    for [alice, bob] in &mut tenants {
        bob.done("subscribe", &json!({"topic": "live"}));
        bob.done("presence", &json!({"watch": ["alice"]}));
        // The same name is another group.
        let group = json!({"group": "eng", "members": ["bob"]});
        assert_eq!(alice.done("group_create", &group)["members"], 2);
        bob.push_of("group");
    }
    for (i, [alice, bob]) in tenants.iter_mut().enumerate() {
        assert_eq!(alice.send("bob", &format!("{i}"))["seq"], 1);
        alice.done("send", &json!({"group": "eng", "text": "all"}));
        alice.done("publish", &json!({"topic": "live", "data": i}));
        alice.done("signal", &json!({"user": "bob", "data": i}));
        // Stored and ephemeral events stand in no order with each other.
        let mut told = Vec::new();
        for _ in 0..4 {
            let push = bob.push();
            let kinds = ["message", "publication", "signal"];
            let kind = kinds.into_iter().find(|kind| push[kind].is_object());
            let kind = kind.unwrap_or_else(|| panic!("{push}"));
            let said = match kind {
                "message" => &push[kind]["conversation"],
                _ => &push[kind]["data"],
            };
            told.push((kind, said.clone()));
        }
        told.sort_by_key(|(kind, said)| (*kind, said.to_string()));
        let expected = [
            ("message", json!("g:eng")),
            ("message", json!("u:alice:bob")),
            ("publication", json!(i)),
            ("signal", json!(i)),
        ];
        assert_eq!(told, expected);
        let page = bob.done(
            "history",
            &json!({"conversation": "u:alice:bob", "after": 0}),
        );
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    }
    for [alice, bob] in &mut tenants {
        for client in [alice, bob] {
            client.ping();
            let told = client.waiting();
            assert!(
                told.iter().all(|push| push["group"].is_object()),
                "{told:?}"
            );
        }
    }
}

#[test]
fn topics_by_claims() {
    let service = Service::start();
    let topics = json!({"subscribe": ["live.*", "news"], "publish": ["chat.42"]});
    for encoding in [Json, Proto] {
        let mut alice = service.connect_in(encoding, "alice", json!({"topics": topics}));
        for (topic, subscribe, publish) in [
            ("live.42", true, false),
            ("live.", true, false),
            ("live", false, false),
            ("news", true, false),
            ("news.1", false, false),
            ("chat.42", false, true),
            ("chat.4", false, false),
            ("Live.42", false, false),
        ] {
            let code = |reply: Value| reply["error"]["code"].as_u64();
            let expected = |allowed: bool| (!allowed).then_some(103);
            let request = json!({"topic": topic});
            let reply = alice.ask("subscribe", &request);
            assert_eq!(code(reply), expected(subscribe), "{topic}");
            let reply = alice.ask("publish", &json!({"topic": topic, "data": 1}));
            assert_eq!(code(reply), expected(publish), "{topic}");
            // Earlier publications of the topic are not pushed either.
            let reply = alice.ask("unsubscribe", &request);
            assert_eq!(code(reply), (!subscribe).then_some(102), "{topic}");
        }
        for bad in ["", "a b", "*", "live.*"] {
            assert_eq!(alice.refused("subscribe", &json!({"topic": bad})), 107);
            assert_eq!(
                alice.refused("publish", &json!({"topic": bad, "data": 1})),
                107
            );
        }
    }
    // Without the claim there are no topics, and messages are as free as ever.
    let mut bob = service.connect("bob", json!({}));
    assert_eq!(bob.refused("subscribe", &json!({"topic": "news"})), 103);
    assert_eq!(
        bob.refused("publish", &json!({"topic": "chat.42", "data": 1})),
        103
    );
    bob.send("alice", "hello");
}
