//! "Did you mean": the known name that is most like an unknown one.

/// The least likeness (Jaro-Winkler, 0 to 1) of a name that is suggested.
const ALIKE: f64 = 0.75;

/// Returns the text `; did you mean NAME?` for the known name that is most like `name`, or an empty
/// text where none is like it.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    similar(name, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// Returns the known name that is most like `name`, if one is like it. Capitals, `-` and `_` make
/// no difference.
pub(super) fn similar<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wanted = plain(name);
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&wanted, &plain(known)), *known));
    let most = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    most.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested() {
        let known = ["shards", "listen", "max_connections"];
        assert_eq!(hint("shard", &known), "; did you mean shards?");
        assert_eq!(
            hint("Max-Conections", &known),
            "; did you mean max_connections?"
        );
        assert_eq!(hint("zzz", &known), "");
    }
}
