//! "Did you mean": the known name that is most like one that is not known.

/// Least likeness (Jaro-Winkler, 0 to 1) of a name that is suggested.
const ALIKE: f64 = 0.75;

/// The most similar of the known names, if one is similar enough.
pub(crate) fn similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let alike = known.into_iter().map(|known| {
        let other = known.to_lowercase().replace('-', "_");
        (strsim::jaro_winkler(&name, &other), known)
    });
    let most = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    most.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, known)| known)
}

/// "; did you mean `x`?", or else "; there are a, b, c".
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    match similar(name, known.iter().copied()) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => format!("; there are {}", known.join(", ")),
    }
}

/// A message of the deserializer with such a hint in the place of a list: "unknown field `a`, expected
/// one of `b`, `c`". Other messages as they are.
pub(crate) fn with_hint(message: &str) -> String {
    let Some((what, known)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let quoted = |text: &str| -> Vec<String> {
        let parts = text.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let unknown = what.starts_with("unknown field ") || what.starts_with("unknown variant ");
    let (names, known) = (quoted(what), quoted(known));
    match names.first().filter(|_| unknown && !known.is_empty()) {
        Some(name) => {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            format!("{what}{}", hint(name, &known))
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant_and_a_far_one_is_not() {
        for (name, known, meant) in [
            ("onlin", &["users", "online", "devices"][..], Some("online")),
            ("lots", &["ack", "lost", "e2e"], Some("lost")),
            ("smok", &["million", "smoke", "storm"], Some("smoke")),
            ("MIB", &["B", "KB", "KiB", "MiB"], Some("MiB")),
            (
                "constant_arival_rate",
                &["constant-arrival-rate", "staircase"],
                Some("constant-arrival-rate"),
            ),
            ("zebra", &["users", "online"], None),
        ] {
            assert_eq!(similar(name, known.iter().copied()), meant, "{name}");
        }
    }

    #[test]
    fn messages_of_the_deserializer_get_a_hint() {
        let found = with_hint("unknown field `contatcs`, expected one of `arrival`, `contacts`");
        assert_eq!(found, "unknown field `contatcs`; did you mean `contacts`?");
        let found = with_hint("unknown variant `zzz`, expected `json` or `proto`");
        assert_eq!(found, "unknown variant `zzz`; there are json, proto");
        for other in [
            "missing field `window`",
            "invalid type: integer, expected a string",
        ] {
            assert_eq!(with_hint(other), other);
        }
    }
}
