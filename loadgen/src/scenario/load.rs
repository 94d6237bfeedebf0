//! Reading a scenario: a preset's name or a file, strictly.

use std::path::Path;

use super::{Scenario, locate, presets, validate};
use crate::exit::{Failure, Outcome};

/// A scenario as read, with what its errors need.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// A preset's name or the file's stem: names the run.
    pub(crate) name: String,
    /// What to call the text in messages: the file's path, or `preset NAME`.
    pub(crate) origin: String,
    /// The text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) scenario: Scenario,
}

/// Keys of the language that this version does not have: refused by name, never ignored.
const NOT_BUILT: &[&str] = &["traffic.groups", "traffic.sender_skew"];

/// Reads a preset by name, or else a file.
///
/// # Errors
/// Exit 104, with file, line and how to mend it.
pub(crate) fn load(what: &str) -> Outcome<Loaded> {
    if let Some(preset) = presets::find(what) {
        return parse(
            what.to_owned(),
            format!("preset {what}"),
            preset.text.to_owned(),
        );
    }
    let path = Path::new(what);
    let text = std::fs::read_to_string(path).map_err(|why| {
        let names: Vec<_> = presets::PRESETS.iter().map(|preset| preset.name).collect();
        Failure::scenario(format!(
            "`{what}` is neither a preset ({}) nor a file that can be read: {why}",
            names.join(", ")
        ))
    })?;
    let name = path
        .file_stem()
        .map_or("scenario".into(), |stem| stem.to_string_lossy());
    parse(name.into_owned(), what.to_owned(), text)
}

/// Parses and validates a scenario's text. `name` names the run, `origin` the text in messages.
pub(crate) fn parse(name: String, origin: String, text: String) -> Outcome<Loaded> {
    let fail = |offset: Option<usize>, message: &str| {
        Failure::scenario(locate::describe(&origin, &text, offset, message))
    };
    for (path, offset) in locate::keys(&text) {
        if NOT_BUILT.contains(&path.as_str()) {
            let message = format!("`{path}` is not built in this version: remove it");
            return Err(fail(Some(offset), &message));
        }
    }
    let scenario: Scenario = toml::from_str(&text)
        .map_err(|why| fail(why.span().map(|span| span.start), why.message()))?;
    let loaded = Loaded {
        name,
        origin,
        text,
        scenario,
    };
    loaded.validate()?;
    Ok(loaded)
}

impl Loaded {
    /// Checks what the types cannot: ranges and contradictions. Again after overrides.
    pub(crate) fn validate(&self) -> Outcome<()> {
        validate::validate(&self.scenario).map_err(|fault| {
            let path: Vec<_> = fault.path.iter().map(String::as_str).collect();
            let offset = locate::offset_of(&self.text, &path);
            Failure::scenario(locate::describe(
                &self.origin,
                &self.text,
                offset,
                &fault.message,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smoke preset with one replacement: the message that refuses it.
    fn refused(from: &str, to: &str) -> String {
        let smoke = presets::find("smoke").unwrap().text;
        assert!(smoke.contains(from), "{from}");
        let failure = parse("t".into(), "t.toml".into(), smoke.replace(from, to)).unwrap_err();
        assert_eq!(failure.exit.code(), 104);
        failure.message
    }

    #[test]
    fn every_preset_is_right() {
        for preset in presets::PRESETS {
            load(preset.name).unwrap_or_else(|why| panic!("{}: {why}", preset.name));
        }
    }

    #[test]
    fn faults_name_line_and_remedy() {
        for (from, to, expected) in [
            ("schema = 1", "schema = 2", "t.toml:5"),
            ("online = 1.0", "onlin = 1.0", "onlin"),
            ("online = 1.0", "online = 1.5", "0 to 1"),
            ("window = \"24h\"\n", "", "window"),
            ("drain = \"30s\"", "drain = 30", "no unit"),
            ("120B", "20B", "64"),
            ("contacts = 8", "contacts = 7", "even"),
            ("contacts = 8", "groups = { share = 0.1 }", "not built"),
            ("ramping-connections", "reconnect-storm", "not built"),
            (
                "ramping-connections",
                "ramping-conections",
                "ramping-connections",
            ),
            (
                "start_after = \"connect\"",
                "start_after = \"conect\"",
                "conect",
            ),
            (
                "start_after = \"connect\"",
                "start_after = \"day\"",
                "itself",
            ),
            ("duration = \"20s\"", "duration = \"20\"", "no unit"),
            ("duration = \"20s\"\n", "", "duration"),
            ("target = \"100%\"", "target = 5000", "2,000"),
            ("lost = [\"count==0\"]", "lost = [\"p(99)<5ms\"]", "count"),
            ("lost = [\"count==0\"]", "lots = [\"count==0\"]", "lots"),
            ("\"count==0\"", "\"count=0\"", "count"),
            ("dist = \"const\"", "dist = \"empirical\"", "empirical"),
            (
                "share = \"1/250000\"",
                "share = \"1/500000000\"",
                "at least 3",
            ),
        ] {
            let message = refused(from, to);
            assert!(message.contains(expected), "{from} -> {to}: {message}");
            assert!(message.starts_with("t.toml:"), "{message}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_presets() {
        let failure = load("smok").unwrap_err();
        assert!(failure.message.contains("smoke"), "{failure}");
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let loaded = load("smoke").unwrap();
        let text = toml::to_string(&loaded.scenario).unwrap();
        let again = parse("t".into(), "t".into(), text).unwrap();
        assert_eq!(
            format!("{:?}", again.scenario),
            format!("{:?}", loaded.scenario)
        );
    }
}
