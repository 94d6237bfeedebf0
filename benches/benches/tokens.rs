//! The cost of checking a token on a shard: the whole way from the text to the granted rights.
//!
//! `cargo bench -p trunkline-benches --bench tokens`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a panic ends the benchmark visibly")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use trunkline::config::Config;
use trunkline_gateway::auth::{Authority, Reason, TokenAlgorithm};

/// The time at which all tokens are checked, in milliseconds.
const NOW: u64 = 1_800_000_000_000;

/// The claims of all tokens: a user and a namespace, an expiry an hour later, an issuer, three
/// topics.
const CLAIMS: &str = "eyJzdWIiOiJhbGljZSIsIm5zIjoiYWNtZSIsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAzNjAwLCJ0b3BpY3MiOnsic3Vic2NyaWJlIjpbImxpdmUuKiIsIm5ld3MiXSwicHVibGlzaCI6WyJjaGF0LjQyIl19fQ";

/// A key made by `openssl`, and the parts of its token beside the claims.
struct Issuer {
    algorithm: TokenAlgorithm,
    key: &'static str,
    head: &'static str,
    signature: &'static str,
}

const ISSUERS: [Issuer; 4] = [
    Issuer {
        algorithm: TokenAlgorithm::HS256,
        key: "0123456789abcdef0123456789abcdef",
        head: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        signature: "NmvAA_tsnidu-hWC2YLP_iCgzDImd1lhqqciQ3mlk_s",
    },
    Issuer {
        algorithm: TokenAlgorithm::RS256,
        key: "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAo++OH7JkvqPlr0Tk6PE6\nnw1qFdwa12iFLcGyRA+JRhWqfiJtFtftImvESa4G1YbodoAD92uHkBciKz16tTUO\nkXFSTsTZOrIbDsuAHaSH5gO5cm+kctIwKQXB/vQbrf19bcfZVBKpXdKk+7j8qskC\n9SNcoVOy+1dNHLR+a86ly93048vVdhpCLjrFJSNC9daykXcPqITVsfwBj8quI38r\nZspUxBpP7K6/atR02raSIoDdNRZongsrL9z/gUZ7ErYdSFb6oedWSkxEFuywww8B\n+j3Fbn2WtDbWphL7O4qshxM1/xRruBvjY5H6fulOnPqnc7jGO82sotidEqd4ntb/\n5wIDAQAB\n-----END PUBLIC KEY-----\n",
        head: "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
        signature: "Mxi7a0x-_w9NjvmBOowAMLrCUKby-MjAFfUVBLEUrZnE_8LtJ3EKAZRRUz2sWEq-DO3EZXvUH4A7D4a04RZeJR7C8FdIe9CyMqa5nSHNYKFdkAfoaP-CNXZZOnH5uOzLJ1Z9ClkbDZZ6srXzjMFILdM9zxru2cyN0ClSEurVzktl-T-H920nH_7HWNjBsoxCG8MQ3n3lTTyQtooCTReyIllov907haiElCLl8FaebdNCENGyVLObrd3USBwzA4K6NiIXeHai2vh0v4xhE-plj2KmfS5ievUVZhbysPps7BY4YKz0ouuAZv84iUyQd0RjtaodJhKZ1sCs2711-4tt1g",
    },
    Issuer {
        algorithm: TokenAlgorithm::ES256,
        key: "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6zLtfH6Ihk7n+iQFG5bQWNH3juOL\n6f2Skfn8Gj7SuLXBWHbjPS16ok9n1L8qX5fjofFF1MyfRqPSaGLyVL/+dg==\n-----END PUBLIC KEY-----\n",
        head: "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9",
        signature: "8tBftLEfn7WeTTlAVMOQoHN2_8LHXSBxbzXVUhnyfcQUGzpIJS0T0lwai9q6S_85tJe6uCIXtNtqqlLszb-sgQ",
    },
    Issuer {
        algorithm: TokenAlgorithm::EdDSA,
        key: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAaXmMlFQ3MCPJJ5W8yaM4zmRkP6fZxIVj120n7q/9jYQ=\n-----END PUBLIC KEY-----\n",
        head: "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9",
        signature: "gH8ULHB4YSeJe5Npxoj3nalHsY9JyZkK4Vywf7s5qetsuXMK-rFVHotq_gugiGEpZ_kIxLl7tVmXHcibQk8iDQ",
    },
];

fn tokens(c: &mut Criterion) {
    let mut group = c.benchmark_group("tokens");
    let folder = tempfile::tempdir().unwrap();
    for issuer in ISSUERS {
        let name = issuer.algorithm.name();
        let file = folder.path().join(name);
        std::fs::write(&file, issuer.key).unwrap();
        let text = format!("jwt_key = {file:?}\njwt_algorithm = {name:?}\n");
        let config = Config::of_text(&text).unwrap();
        let limits = config.limits.of_a_token();
        let authority = Authority::load(config.auth.tokens().unwrap(), limits).unwrap();
        let token = format!("{}.{CLAIMS}.{}", issuer.head, issuer.signature);
        group.bench_function(format!("good/{name}"), |b| {
            b.iter(|| authority.check(black_box(&token), NOW).unwrap());
        });
        // The work that a client without a key can cause.
        let claims = CLAIMS.replacen("hbGlj", "hbGlk", 1);
        let forged = format!("{}.{claims}.{}", issuer.head, issuer.signature);
        assert_eq!(
            authority.check(&forged, NOW).unwrap_err().reason,
            Reason::Signature
        );
        group.bench_function(format!("forged/{name}"), |b| {
            b.iter(|| authority.check(black_box(&forged), NOW).unwrap_err());
        });
    }
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
