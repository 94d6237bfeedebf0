//! The settings that decide how clients are identified: by the names that they choose, or by
//! tokens.

use trunkline_gateway::auth::{Auth, KeyFile, Tokens};

use super::layers::Layers;
use super::resolve::time;

/// Returns how clients are identified. Returns `None` if the settings contradict each other, and
/// notes the problem.
pub(super) fn resolve(layers: &mut Layers) -> Option<Auth> {
    let settings = layers.settings.clone();
    let dev_auth = settings.dev_auth.unwrap_or(false);
    let has = |name| layers.is_given(name);
    let (has_key, has_set) = (has("jwt_key"), has("jwks"));
    let by_back = has("callbacks_connect");
    let refused = match (dev_auth, has_key, has_set) {
        (false, false, false) if by_back => None,
        (false, false, false) => Some((
            "dev_auth",
            "no way to know clients is set: give --jwt-key FILE or --jwks FILE with the key \
             that checks their tokens, or connect in the table [callbacks], or --dev-auth to let clients name themselves, on a \
             loopback address",
        )),
        (true, true, _) | (true, _, true) => Some((
            "dev_auth",
            "not with jwt_key or jwks: clients name themselves, or tokens do",
        )),
        (false, true, true) => Some(("jwks", "not with jwt_key: one of them has the keys")),
        _ => None,
    };
    let has_tokens = !dev_auth && (has_key || has_set);
    let others = [
        (
            "jwt_algorithm",
            has_key,
            "only with jwt_key: each key of jwks says its own",
        ),
        ("jwt_audience", has_tokens, "only with jwt_key or jwks"),
        ("jwt_issuer", has_tokens, "only with jwt_key or jwks"),
    ];
    let others = others.map(|(name, fits, text)| (has(name) && !fits).then_some((name, text)));
    let mut is_good = true;
    for (name, text) in refused.into_iter().chain(others.into_iter().flatten()) {
        is_good = false;
        layers.refuse(name, text);
    }
    if !is_good {
        return None;
    }
    if dev_auth {
        return Some(Auth::Development);
    }
    if by_back && !has_tokens {
        return Some(Auth::BackEnd);
    }
    let key = settings.jwt_key.map(|file| KeyFile::Key {
        file: file.0,
        algorithm: settings.jwt_algorithm,
    });
    let keys = key.or(settings.jwks.map(|file| KeyFile::Jwks(file.0)))?;
    Some(Auth::Tokens(Tokens {
        keys,
        audience: settings.jwt_audience.map(|text| text.0),
        issuer: settings.jwt_issuer.map(|text| text.0),
        leeway: time(settings.jwt_leeway),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn resolve(text: &str) -> Result<Auth, String> {
        let config = Config::of_text(text);
        config
            .map(|config| config.auth)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_goes_together() {
        let check = |text: &str, start: &str, word: &str| {
            let error = resolve(text).unwrap_err();
            assert!(error.starts_with(start) && error.contains(word), "{error}");
        };
        check("", "dev_auth: ", "--jwt-key FILE or --jwks FILE");
        check("", "dev_auth: ", "or --dev-auth");
        check("dev_auth = false", "dev_auth: ", "--jwt-key");
        check("dev_auth = true\njwt_key = \"k\"", "dev_auth: ", "not with");
        check("dev_auth = true\njwks = \"k\"", "dev_auth: ", "not with");
        check("jwt_key = \"k\"\njwks = \"k\"", "jwks: ", "one of them");
        check(
            "jwks = \"k\"\njwt_algorithm = \"HS256\"",
            "jwt_algorithm: ",
            "each key of jwks",
        );
        for setting in ["jwt_audience", "jwt_issuer"] {
            let start = format!("{setting}: ");
            let dev = format!("dev_auth = true\n{setting} = \"x\"");
            check(&dev, &start, "only with jwt_key or jwks");
            check(&format!("jwks = \"k\"\n{setting} = \"\""), &start, "empty");
        }
        check("jwks = \"k\"\njwt_leeway = \"11m\"", "jwt_leeway: ", "10m");
    }

    #[test]
    fn the_leeway_is_that_of_the_table() {
        let Ok(Auth::Tokens(tokens)) = resolve("jwks = \"k\"") else {
            panic!("tokens");
        };
        let printed = Config::of_text("jwks = \"k\"").unwrap().to_toml();
        assert!(printed.contains("jwt_leeway = \"5s\""), "{printed}");
        assert_eq!(tokens.leeway.as_secs(), 5);
    }

    #[test]
    fn what_is_printed_resolves_to_itself() {
        let texts = [
            "dev_auth = true",
            "jwt_key = \"/k\"",
            "jwt_key = \"/k\"\njwt_algorithm = \"EdDSA\"\njwt_leeway = \"0s\"",
            "jwks = \"/k\"\njwt_audience = \"a\"\njwt_issuer = \"https://issuer\"",
        ];
        let resolved: Vec<_> = texts
            .into_iter()
            .map(|text| Config::of_text(text).unwrap())
            .collect();
        for config in &resolved {
            let again = Config::of_text(&config.to_toml()).unwrap();
            assert_eq!(again.auth, config.auth);
        }
        for (i, config) in resolved.iter().enumerate() {
            let first = resolved.iter().position(|other| other.auth == config.auth);
            assert_eq!(first, Some(i));
        }
    }
}
