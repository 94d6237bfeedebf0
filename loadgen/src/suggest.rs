//! "Did you mean": the known name that is most similar to an unknown one.

/// The least similarity (Jaro-Winkler, 0 to 1) of a name that is suggested.
const ALIKE: f64 = 0.75;

/// Returns the most similar of the known names, if one is similar enough.
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

/// Returns a hint: "; did you mean `x`?", or "; there are a, b, c" without a similar name.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    match similar(name, known.iter().copied()) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => format!("; there are {}", known.join(", ")),
    }
}

/// Returns a message of the deserializer in plain words: a hint takes the place of the list in
/// "unknown field `a`, expected one of `b`, `c`", and names of Rust types become words. Other
/// messages stay as they are.
pub(crate) fn with_hint(message: &str) -> String {
    let message = message.trim();
    let Some((what, known)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    if let Some(found) = what.strip_prefix("invalid type: ") {
        return format!("this is {}, and it must be {}", given(found), needed(known));
    }
    if let Some(found) = what.strip_prefix("invalid value: ") {
        return format!(
            "{} is not a possible value: it must be {}",
            given(found),
            needed(known)
        );
    }
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

/// Translates the deserializer's name for the value that it found.
fn given(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let kind = match kind {
        "string" => "the text",
        "integer" | "floating" => "the number",
        "boolean" => "the word",
        "map" => "a table",
        "sequence" => "a list",
        _ => return found.to_owned(),
    };
    let value = value.strip_prefix("point ").unwrap_or(value);
    format!("{kind} {value}").trim_end().to_owned()
}

/// Translates the deserializer's name for the value that it expected.
fn needed(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ if expected.contains("enum ") => "a text in quotes, or a table",
        _ => expected,
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
        for (message, plain) in [
            (
                "invalid type: string \"one\", expected u32",
                "this is the text \"one\", and it must be a whole number, 0 or more",
            ),
            (
                "invalid type: floating point `1.5`, expected u64",
                "this is the number `1.5`, and it must be a whole number, 0 or more",
            ),
            (
                "invalid type: string \"a, expected b\", expected struct Traffic",
                "this is the text \"a, expected b\", and it must be a table",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "the number `-1` is not a possible value: it must be a whole number, 0 or more",
            ),
            ("missing field `window`", "missing field `window`"),
            ("a sentence of our own\n", "a sentence of our own"),
        ] {
            assert_eq!(with_hint(message), plain);
        }
    }
}
