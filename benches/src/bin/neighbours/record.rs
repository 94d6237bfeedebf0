//! A file with the latencies of single messages, for judging them again: one line of JSON for each round.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::judge::Round;

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    attack: String,
    #[serde(flatten)]
    round: Round,
}

/// Adds the rounds of an attack to a file, which is made if there is none.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn append(file: &Path, attack: &str, rounds: &[Round]) -> anyhow::Result<()> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    let mut out = BufWriter::new(open.with_context(|| format!("cannot write {}", file.display()))?);
    for round in rounds {
        let line = Line {
            attack: attack.to_owned(),
            round: round.clone(),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Returns the rounds of an attack in a file.
///
/// # Errors
/// The file cannot be read, or has a line of another kind.
pub(crate) fn read(file: &Path, attack: &str) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for (at, line) in BufReader::new(std::fs::File::open(file)?)
        .lines()
        .enumerate()
    {
        let line: Line = serde_json::from_str(&line?)
            .with_context(|| format!("line {} has no round", at + 1))?;
        if line.attack == attack {
            rounds.push(line.round);
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latencies.jsonl");
        let round = |sink| Round {
            control: vec![1, 2],
            beside: vec![3],
            sink,
        };
        append(&file, "one", &[round(None)]).unwrap();
        append(&file, "other", &[round(None)]).unwrap();
        append(&file, "one", &[round(Some(vec![4]))]).unwrap();
        let rounds = read(&file, "one").unwrap();
        assert_eq!(rounds, [round(None), round(Some(vec![4]))]);
        std::fs::write(&file, "{}\n").unwrap();
        assert!(read(&file, "one").is_err());
    }
}
