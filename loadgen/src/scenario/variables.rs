//! Values of the command line in the text of a scenario: `${NAME}`, or `${NAME:-default}`.
//!
//! They are put into the text before it is read as TOML, so a value can stand for a number, for a word
//! in quotes, or for a part of one. `$${` is the text `${`. Comments stay as they are.

use std::str::FromStr;

use crate::suggest::similar;

/// A variable of the command line: `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    value: String,
}

impl FromStr for Variable {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a variable: write NAME=VALUE, such as RATE=500/s");
        let (name, value) = text.split_once('=').ok_or_else(form)?;
        if !is_name(name) {
            return Err(format!(
                "{}; a name has letters, digits and _, and does not begin with a digit",
                form()
            ));
        }
        if let Some(bad) = value.chars().find(|&it| is_special(it)) {
            return Err(format!(
                "the value of {name} has {bad:?}, which could end the text around it: write a value without quotes, backslashes and control characters"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

fn is_name(text: &str) -> bool {
    let word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    text.chars().all(word) && text.starts_with(|it: char| !it.is_ascii_digit())
}

fn is_special(it: char) -> bool {
    it.is_control() || matches!(it, '"' | '\'' | '\\')
}

/// A mistake: its place in the text in bytes, if it has one, and a sentence.
pub(super) type Mistake = (Option<usize>, String);

/// Returns the text with the values of its variables.
///
/// # Errors
/// Returns all mistakes: a variable without a value, a value without its variable, or another form.
pub(super) fn fill(text: &str, variables: &[Variable]) -> Result<String, Vec<Mistake>> {
    let mut filled = String::with_capacity(text.len());
    let (mut mistakes, mut used) = (Vec::new(), vec![false; variables.len()]);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (values, comment) = line.split_at(comment_of(line));
        let mut rest = values;
        while let Some(found) = rest.find("${") {
            let (before, behind) = (&rest[..found], &rest[found + 2..]);
            let offset = at + (values.len() - rest.len()) + found;
            if let Some(before) = before.strip_suffix('$') {
                filled += before;
                filled += "${";
                rest = behind;
                continue;
            }
            filled += before;
            let (value, left) = match value_of(behind, variables, &mut used) {
                Ok(found) => found,
                Err(why) => {
                    mistakes.push((Some(offset), why));
                    ("", behind)
                }
            };
            filled += value;
            rest = left;
        }
        filled += rest;
        filled += comment;
        at += line.len();
    }
    let unused = variables.iter().zip(used).filter(|(_, used)| !used);
    mistakes.extend(unused.map(|(variable, _)| {
        let name = &variable.name;
        let why =
            format!("-e {name}: the scenario has no ${{{name}}}: write it there, or leave -e out");
        (None, why)
    }));
    match mistakes.is_empty() {
        true => Ok(filled),
        false => Err(mistakes),
    }
}

/// Returns the value of the variable at the start of `text`, which is behind `${`, and the text behind it.
fn value_of<'a>(
    text: &'a str,
    variables: &'a [Variable],
    used: &mut [bool],
) -> Result<(&'a str, &'a str), String> {
    const FORM: &str = "write ${NAME} or ${NAME:-default}, or $${ for the text itself";
    let (inner, left) = text
        .split_once('}')
        .ok_or_else(|| format!("no }} ends this variable: {FORM}"))?;
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(format!("`{name}` is not the name of a variable: {FORM}"));
    }
    // The last one counts, as with other options that are given twice.
    let last = variables.iter().rposition(|it| it.name == name);
    for (variable, used) in variables.iter().zip(used) {
        *used |= variable.name == name;
    }
    let given = last.map(|last| &*variables[last].value);
    let value = given.or(default).ok_or_else(|| {
        let near = similar(name, variables.iter().map(|it| &*it.name));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!("`{name}` has no value: add -e {name}=VALUE{near}")
    })?;
    Ok((value, left))
}

/// Returns where the comment of a line begins; its length if there is none.
fn comment_of(line: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, it) in line.char_indices() {
        match (quote, it) {
            (None, '#') => return at,
            (None, '"' | '\'') => quote = Some(it),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), it) if it == open && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[&str]) -> Vec<Variable> {
        all.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn values_come_into_the_text() {
        let given = variables(&["RATE=500/s", "N=12", "N=13", "E="]);
        for (text, expected) in [
            ("rate = \"${RATE}\"", "rate = \"500/s\""),
            ("users = ${N}\n", "users = 13\n"),
            ("a = \"x${N}y${N}\"", "a = \"x13y13\""),
            ("a = \"${M:-7s}\"", "a = \"7s\""),
            ("a = \"${N:-7s}\"", "a = \"13\""),
            ("a = \"$${N}\"", "a = \"${N}\""),
            ("# ${UNKNOWN}\na = 1 # ${", "# ${UNKNOWN}\na = 1 # ${"),
            ("a = \"# \\\" ${N}\"", "a = \"# \\\" 13\""),
            ("a = '# \\' # ${X}", "a = '# \\' # ${X}"),
            ("a = \"$5\"", "a = \"$5\""),
            ("a = \"${M:-}\"", "a = \"\""),
        ] {
            let text = format!("{text}\nused = \"${{RATE}}${{N}}${{E}}\"");
            let expected = format!("{expected}\nused = \"500/s13\"");
            assert_eq!(fill(&text, &given), Ok(expected));
        }
    }

    #[test]
    fn mistakes_have_their_places_all_at_once() {
        let text = "a = ${RAT}\nb = \"${1}\"\nc = \"${RATE\"";
        let found = fill(text, &variables(&["RATE=1/s"])).unwrap_err();
        let places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [Some(4), Some(16), Some(27), None]);
        for ((_, why), words) in found.iter().zip([
            "`RAT` has no value: add -e RAT=VALUE; did you mean `RATE`?",
            "`1` is not the name of a variable",
            "no } ends this variable",
            "-e RATE: the scenario has no ${RATE}",
        ]) {
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        for (text, words) in [
            ("RATE", "write NAME=VALUE"),
            ("=1", "does not begin with a digit"),
            ("1N=1", "does not begin with a digit"),
            ("N-M=1", "letters, digits"),
            ("N=a\"b", "could end the text"),
            ("N=a\\", "could end the text"),
            ("N=a\nb", "could end the text"),
        ] {
            let why = text.parse::<Variable>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
