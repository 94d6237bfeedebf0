//! Errors and their causes as one text for people.

/// Returns an error with its causes as one text. Leaves out a cause whose words the text has
/// already, because many errors name their cause themselves.
pub(crate) fn said_once(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::other("no such file");
        let names_it = trunkline_storage::OpenError::Io {
            file: "data".into(),
            action: "open the folder",
            source: cause(),
        };
        let error = anyhow::Error::new(names_it).context("cannot open the store");
        let text = "cannot open the store: data: cannot open the folder: no such file";
        assert_eq!(said_once(&error), text);
        let error = anyhow::Error::new(cause()).context("cannot open data");
        assert_eq!(said_once(&error), "cannot open data: no such file");
    }
}
