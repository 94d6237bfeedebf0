//! Reading a scenario: a preset's name or a file, strictly.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::variables::{self, Variable};
use super::{ExecutorKind, Scenario, locate, presets, strict, validate};
use crate::exit::{Failure, Outcome};
use crate::suggest::similar;
use crate::units::Compress;

/// A scenario as read, with the text that its errors quote.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The name of the run: that of the preset, or the stem of the file.
    pub(crate) name: String,
    /// The name of the text in messages: the path of the file, or `preset NAME`.
    pub(crate) origin: String,
    /// The text.
    pub(crate) text: String,
    /// The scenario.
    pub(crate) scenario: Scenario,
}

/// The longest text of a scenario, in bytes.
const TEXT_MAX: u64 = 1 << 20;

/// Reads a preset by name, standard input for `-`, or else a file.
///
/// # Errors
/// The scenario is wrong (exit 104): file, line and what to change.
pub(crate) fn load(what: &str) -> Outcome<Loaded> {
    load_with(what, &[])
}

/// Reads a scenario like [`load`], with the values of variables in its text.
///
/// # Errors
/// The scenario is wrong (exit 104): file, line and what to change.
pub(crate) fn load_with(what: &str, variables: &[Variable]) -> Outcome<Loaded> {
    if let Some(preset) = presets::find(what) {
        let origin = format!("preset {what}");
        let text = filled(&origin, preset.text.to_owned(), variables)?;
        return parse(what.to_owned(), origin, text);
    }
    if what == "-" {
        let fail = |why| Failure::scenario(format!("standard input cannot be read: {why}"));
        let text = read_whole(io::stdin().lock()).map_err(fail)?;
        let text = filled("standard input", text, variables)?;
        return parse("stdin".into(), "standard input".into(), text);
    }
    let path = Path::new(what);
    let text = File::open(path).and_then(read_whole).map_err(|why| {
        let names: Vec<_> = presets::PRESETS.iter().map(|preset| preset.name).collect();
        Failure::scenario(format!(
            "`{what}` is neither a preset ({}) nor a file that can be read: {why}{}",
            names.join(", "),
            similar(what, names.iter().copied())
                .map_or(String::new(), |name| format!("; did you mean `{name}`?"))
        ))
    })?;
    let name = path
        .file_stem()
        .map_or("scenario".into(), |stem| stem.to_string_lossy());
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = filled(what, text, variables)?;
    parse_in(folder, name.into_owned(), what.to_owned(), text)
}

/// Returns the text with the values of its variables.
fn filled(origin: &str, text: String, variables: &[Variable]) -> Outcome<String> {
    variables::fill(&text, variables).map_err(|mistakes| {
        let all = mistakes.iter();
        let all = all.map(|(offset, why)| locate::describe(origin, &text, *offset, why));
        Failure::scenario(all.collect::<Vec<_>>().join("\n"))
    })
}

/// Reads a text of at most [`TEXT_MAX`] bytes.
pub(super) fn read_whole(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(TEXT_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > TEXT_MAX {
        true => Err(io::Error::other(format!(
            "it has more than {TEXT_MAX} bytes, the most that a scenario has"
        ))),
        false => Ok(text),
    }
}

/// Parses and validates a scenario's text. `name` names the run, `origin` the text in messages.
pub(crate) fn parse(name: String, origin: String, text: String) -> Outcome<Loaded> {
    parse_in(Path::new(""), name, origin, text)
}

/// Parses and validates a text from a folder, with the files that it names.
fn parse_in(folder: &Path, name: String, origin: String, text: String) -> Outcome<Loaded> {
    let fail = |offset: Option<usize>, message: &str| {
        Failure::scenario(locate::describe(&origin, &text, offset, message))
    };
    let mut scenario = strict::read(&text).map_err(|(mistakes, faults)| {
        let mistakes = mistakes.iter().map(|it| (it.offset, &it.message));
        let faults = faults.iter().map(|it| (place_of(&text, it), &it.message));
        let all: Vec<_> = mistakes
            .chain(faults)
            .map(|(offset, message)| locate::describe(&origin, &text, offset, message))
            .collect();
        Failure::scenario(all.join("\n"))
    })?;
    let sizes = scenario.traffic.payload.read_file(folder);
    sizes.map_err(|why| fail(locate::offset_of(&text, &["traffic", "payload"]), &why))?;
    let loaded = Loaded {
        name,
        origin,
        text,
        scenario,
    };
    loaded.validate()?;
    Ok(loaded)
}

/// Returns where in a text a mistake shows.
fn place_of(text: &str, fault: &validate::Fault) -> Option<usize> {
    let path: Vec<_> = fault.path.iter().map(String::as_str).collect();
    locate::offset_of(text, &path)
}

impl Loaded {
    /// Checks ranges and contradictions, which the types cannot. Options of the command line need
    /// another check.
    pub(crate) fn validate(&self) -> Outcome<()> {
        let faults = validate::validate(&self.scenario);
        if faults.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = faults
            .iter()
            .map(|fault| self.refuse(fault).message)
            .collect();
        Err(Failure::scenario(all.join("\n")))
    }

    /// Checks that this version can run the scenario, and not only plan it.
    pub(crate) fn runnable(&self) -> Outcome<()> {
        validate::runnable(&self.scenario).map_err(|fault| self.refuse(&fault))
    }

    /// Replays the day faster than real time, as the command line asks. The curve of a day lasts
    /// that long, unless a duration is given too.
    ///
    /// # Errors
    /// No rate would change (exit 104).
    pub(crate) fn compress(&mut self, compress: Compress, keeps_duration: bool) -> Outcome<()> {
        let executors = self.scenario.scenarios.values_mut();
        let mut derived = false;
        for executor in executors.filter(|it| it.rate.is_none()) {
            derived |= executor.executor == ExecutorKind::ConstantArrivalRate;
            if executor.executor == ExecutorKind::DiurnalArrivalRate {
                derived = true;
                executor.duration = executor.duration.filter(|_| keeps_duration);
                executor.duration = executor.duration.or(Some(compress.to));
            }
        }
        if !derived {
            return Err(Failure::scenario(format!(
                "--compress {compress}: no rate of {} follows from its population, because each executor has its own `rate`: leave out these rates, or --compress",
                self.origin
            )));
        }
        self.scenario.population.compress = Some(compress);
        Ok(())
    }

    /// Returns the failure of a mistake, with its line.
    fn refuse(&self, fault: &validate::Fault) -> Failure {
        let offset = place_of(&self.text, fault);
        Failure::scenario(locate::describe(
            &self.origin,
            &self.text,
            offset,
            &fault.message,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sizing::Sizing;

    /// Returns the smoke preset with one replacement: the message that refuses it.
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
    fn the_scenario_to_start_from_is_right_and_so_is_all_that_is_commented_out() {
        let own = parse("own".into(), "own".into(), presets::INIT.into()).unwrap();
        own.runnable().unwrap();
        // The defaults that it shows are the defaults.
        let uncommented = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.strip_prefix("# ").unwrap_or(line));
            lines.collect::<Vec<_>>().join("\n")
        };
        let (_, plan) = presets::INIT.split_once("[plan]\n").unwrap();
        let (plan, _) = plan.split_once("\n\n").unwrap();
        let shown: crate::scenario::plan::Assumptions = toml::from_str(&uncommented(plan)).unwrap();
        let expected = crate::scenario::plan::Assumptions {
            writes_per_message: Some(3.0),
            ..Default::default()
        };
        assert_eq!(format!("{shown:?}"), format!("{expected:?}"));
        // And so are the other executors.
        let (_, more) = presets::INIT.split_once("\n# [scenarios.steady]").unwrap();
        let (more, _) = more.split_once("\n\n").unwrap();
        let more = format!(
            "{}\n[scenarios.steady]{}",
            presets::INIT,
            uncommented(more).replace("\n#\n", "\n\n")
        );
        let all = parse("own".into(), "own".into(), more).unwrap();
        assert_eq!(all.scenario.scenarios.len(), 7);
        assert_eq!(all.scenario.chaos.actions.len(), 3);
        all.runnable().unwrap();
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
            ("contacts = 8", "groups = { share = 1.1 }", "0 to 1"),
            ("contacts = 8", "groups = { size = \"huge\" }", "exp(10)"),
            (
                "contacts = 8",
                "groups = { large = [{ size = 1, count = 1 }] }",
                "2 members",
            ),
            ("contacts = 8", "sender_skew = 1.0", "a text in quotes"),
            ("contacts = 8", "sender_skew = \"zipf(9)\"", "0 to 5"),
            ("ramping-connections", "reconnect-storm", "takes no stages"),
            ("window = \"24h\"", "window = \"25h\"", "up to 24h"),
            (
                "\"constant-arrival-rate\"",
                "\"diurnal-arrival-rate\"",
                "peak_factor above 1",
            ),
            (
                "\"constant-arrival-rate\"",
                "\"ramping-arrival-rate\"",
                "takes no duration, but stages, start_rate",
            ),
            (
                "executor = \"constant-arrival-rate\"\nstart_after = \"connect\"\nduration = \"20s\"",
                "executor = \"staircase\"\nstart_rate = \"10/s\"\nstep = \"5/s\"\nhold = \"5s\"",
                "needs steps = 8",
            ),
            (
                "executor = \"constant-arrival-rate\"\nstart_after = \"connect\"\nduration = \"20s\"",
                "executor = \"ramping-arrival-rate\"\nstages = [{ duration = \"5s\", target = 500 }]",
                "500/s",
            ),
            ("target = \"100%\"", "target = \"100/s\"", "100%"),
            ("[checks]", "[plan]\nheadroom = 1.0\n[checks]", "0 to 0.9"),
            ("[checks]", "[plan]\nreplication = 0\n[checks]", "above 0"),
            (
                "[checks]",
                "[plan]\nnetwork_per_server = 10\n[checks]",
                "no unit",
            ),
            ("[checks]", "[plan]\nserver = 10\n[checks]", "server"),
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
            ("dist = \"const\"", "dist = \"uniform\"", "uniform"),
            (
                "dist = \"const\", bytes = \"120B\"",
                "dist = \"empirical\"",
                "sizes.csv",
            ),
            (
                "dist = \"const\", bytes = \"120B\"",
                "dist = \"empirical\", file = \"nowhere.csv\"",
                "nowhere.csv cannot be read",
            ),
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
    fn every_part_names_its_fault_at_once() {
        let smoke = presets::find("smoke").unwrap().text;
        let text = smoke
            .replace("online = 1.0", "online = 1.5")
            .replace("contacts = 8", "contacts = 7")
            .replace("lost = [\"count==0\"]", "lots = [\"count==0\"]");
        let failure = parse("t".into(), "t.toml".into(), text).unwrap_err();
        let lines: Vec<_> = failure
            .message
            .lines()
            .filter(|it| it.starts_with("t.toml:"))
            .collect();
        assert_eq!(lines.len(), 3, "{failure}");
        for words in ["0 to 1", "even", "did you mean `lost`?"] {
            assert!(failure.message.contains(words), "no {words} in {failure}");
        }
    }

    #[test]
    fn every_preset_runs() {
        for preset in presets::PRESETS {
            load(preset.name).unwrap().runnable().unwrap();
        }
    }

    #[test]
    fn users_are_in_some_groups_and_not_in_thousands() {
        for (per_user, expected) in [("65", "up to 64"), ("0.0", "above 0"), ("nan", "above 0")] {
            let groups = format!("groups = {{ per_user = {per_user} }}");
            let message = refused("contacts = 8", &groups);
            assert!(message.starts_with("t.toml:21"), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn groups_need_as_many_users_as_members() {
        let smoke = presets::find("smoke").unwrap().text;
        for (groups, refused) in [
            ("share = 0.5", None),
            ("large = [{ size = 2000, count = 64 }]", None),
            (
                "large = [{ size = 2001, count = 1, optional = true }]",
                None,
            ),
            (
                "large = [{ size = 2001, count = 1 }]",
                Some("2,001 members needs as many users, and the share has 2,000"),
            ),
            (
                "large = [{ size = 2000, count = 65 }]",
                Some("in 65 large groups: 64 at most"),
            ),
        ] {
            let text = smoke.replace("contacts = 8", &format!("groups = {{ {groups} }}"));
            let loaded = parse("t".into(), "t.toml".into(), text).unwrap();
            let lines = Sizing::of(&loaded.scenario)
                .explain(&loaded.scenario)
                .join("\n");
            let left_out = lines.contains("left out: the group of 2,001 members");
            assert_eq!(left_out, groups.contains("optional"), "{lines}");
            match (loaded.runnable(), refused) {
                (Ok(()), None) => {}
                (Err(failure), Some(words)) => {
                    assert!(failure.message.contains(words), "{failure}");
                    assert!(failure.message.starts_with("t.toml:21"), "{failure}");
                }
                (other, _) => panic!("{groups}: {other:?}"),
            }
        }
    }

    #[test]
    fn counted_lengths_are_read_from_beside_the_scenario() {
        let folder = tempfile::tempdir().unwrap();
        let smoke = presets::find("smoke").unwrap().text;
        let text = smoke.replace(
            "dist = \"const\", bytes = \"120B\"",
            "dist = \"empirical\", file = \"sizes.csv\"",
        );
        let file = folder.path().join("own.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(
            folder.path().join("sizes.csv"),
            "bytes,weight\n100,3\n500,1\n",
        )
        .unwrap();
        let loaded = load(file.to_str().unwrap()).unwrap();
        assert_eq!(loaded.scenario.traffic.payload.mean(), 200.0);
        // What is written with the results needs no other file.
        let text = toml::to_string(&loaded.scenario).unwrap();
        let again = parse("t".into(), "t".into(), text).unwrap();
        assert_eq!(
            again.scenario.traffic.payload,
            loaded.scenario.traffic.payload
        );
        std::fs::write(folder.path().join("sizes.csv"), "100,3\n500\n").unwrap();
        let failure = load(file.to_str().unwrap()).unwrap_err();
        assert!(failure.message.contains("own.toml:20"), "{failure}");
        assert!(failure.message.contains("sizes.csv:2: `500`"), "{failure}");
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
