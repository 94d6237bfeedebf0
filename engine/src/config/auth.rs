//! Who clients are: as they say, or as tokens say.

use std::time::Duration;

use trunkline_gateway::auth::{Auth, KeyFile, Tokens};

use super::ConfigError;
use super::settings::{Settings, time, value};

/// Clocks that differ more are wrong.
const MOST_LEEWAY: Duration = Duration::from_secs(600);

/// # Errors
/// The settings do not go together.
pub(super) fn resolve(flags: &Settings, file: &Settings) -> Result<Auth, ConfigError> {
    let dev_auth = flags.dev_auth.or(file.dev_auth).unwrap_or(false);
    let jwt_key = flags.jwt_key.as_ref().or(file.jwt_key.as_ref());
    let jwks = flags.jwks.as_ref().or(file.jwks.as_ref());
    let algorithm = flags.jwt_algorithm.or(file.jwt_algorithm);
    let audience = flags.jwt_audience.as_ref().or(file.jwt_audience.as_ref());
    let issuer = flags.jwt_issuer.as_ref().or(file.jwt_issuer.as_ref());
    let keys = match (dev_auth, jwt_key, jwks) {
        (false, None, None) => {
            return Err(value(
                "dev_auth",
                "who clients are is not said: give --jwt-key FILE (or --jwks FILE) with what \
                     their tokens are signed with, or --dev-auth to let them name themselves, on \
                     a loopback address",
            ));
        }
        (true, None, None) => None,
        (true, ..) => {
            return Err(value(
                "dev_auth",
                "not with jwt_key or jwks: clients name themselves, or tokens do",
            ));
        }
        (false, Some(_), Some(_)) => {
            return Err(value("jwks", "not with jwt_key: one of them has the keys"));
        }
        (false, Some(file), None) => Some(KeyFile::Key {
            file: file.clone(),
            algorithm,
        }),
        (false, None, Some(file)) => Some(KeyFile::Jwks(file.clone())),
    };
    let one = matches!(keys, Some(KeyFile::Key { .. }));
    for (setting, given, fits) in [
        ("jwt_algorithm", algorithm.is_some(), one),
        ("jwt_audience", audience.is_some(), keys.is_some()),
        ("jwt_issuer", issuer.is_some(), keys.is_some()),
    ] {
        if given && !fits {
            let other = if setting == "jwt_algorithm" {
                "only with jwt_key: each key of jwks says its own"
            } else {
                "only with jwt_key or jwks"
            };
            return Err(value(setting, other));
        }
    }
    for (setting, text) in [("jwt_audience", audience), ("jwt_issuer", issuer)] {
        if text.is_some_and(String::is_empty) {
            return Err(value(setting, "not empty"));
        }
    }
    let leeway = time(flags.jwt_leeway, file.jwt_leeway, 5);
    if leeway > MOST_LEEWAY {
        return Err(value("jwt_leeway", "at most 10m"));
    }
    Ok(keys.map_or(Auth::Development, |keys| {
        Auth::Tokens(Tokens {
            keys,
            audience: audience.cloned(),
            issuer: issuer.cloned(),
            leeway,
        })
    }))
}

/// The settings that resolve to this.
pub(super) fn put(auth: &Auth, settings: &mut Settings) {
    settings.dev_auth = Some(auth.is_development());
    let Some(tokens) = auth.tokens() else {
        return;
    };
    match &tokens.keys {
        KeyFile::Key { file, algorithm } => {
            settings.jwt_key = Some(file.clone());
            settings.jwt_algorithm = *algorithm;
        }
        KeyFile::Jwks(file) => settings.jwks = Some(file.clone()),
    }
    settings.jwt_audience.clone_from(&tokens.audience);
    settings.jwt_issuer.clone_from(&tokens.issuer);
    settings.jwt_leeway = Some(super::Duration(tokens.leeway));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Auth, ConfigError> {
        super::resolve(&Settings::default(), &toml::from_str(text).unwrap())
    }

    #[test]
    fn what_goes_together() {
        let check = |text: &str, start: &str, word: &str| {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.contains(word), "{error}");
        };
        check("", "dev_auth: ", "--jwt-key FILE (or --jwks FILE)");
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
    fn what_is_printed_resolves_to_itself() {
        let texts = [
            "dev_auth = true",
            "jwt_key = \"k\"",
            "jwt_key = \"k\"\njwt_algorithm = \"EdDSA\"\njwt_leeway = \"0s\"",
            "jwks = \"k\"\njwt_audience = \"a\"\njwt_issuer = \"https://issuer\"",
        ];
        let resolved: Vec<_> = texts
            .into_iter()
            .map(|text| resolve(text).unwrap())
            .collect();
        for auth in &resolved {
            let mut settings = Settings::default();
            put(auth, &mut settings);
            let again = super::resolve(&Settings::default(), &settings).unwrap();
            assert_eq!(&again, auth);
        }
        for (i, auth) in resolved.iter().enumerate() {
            assert_eq!(resolved.iter().position(|other| other == auth), Some(i));
        }
    }
}
