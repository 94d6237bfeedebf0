//! Completions for shells and manual pages, both made from the declarations of a command line.
//!
//! The gateway and the load generator share this module: each command is generic over the command
//! line that it describes.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

/// The command `completions`: makes the script that completes a command line in a shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that the script is for
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Returns the script for the command line `C`.
    pub fn script<C: CommandFactory>(&self) -> Vec<u8> {
        completions(C::command(), self.shell)
    }
}

/// The command `man`: writes the manual pages into a folder.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder for the pages; a missing folder is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManArgs {
    /// Writes one page for the command line `C` and one for each of its commands.
    ///
    /// # Errors
    /// The folder or a page cannot be written. The text names the folder.
    pub fn write<C: CommandFactory>(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        pages(C::command(), &self.folder)
            .with_context(|| format!("cannot write manual pages to {folder}"))
    }
}

fn completions(mut command: clap::Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

fn pages(command: clap::Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    /// Returns the longest name of every visible flag of a command, without its dashes.
    fn flags(command: &clap::Command) -> Vec<&str> {
        let visible = command.get_arguments().filter(|flag| !flag.is_hide_set());
        visible.filter_map(clap::Arg::get_long).collect()
    }

    /// Returns the command itself and all commands below it, each with its full name:
    /// `trunkline-store-dump`.
    fn with_all_below(command: &clap::Command, above: &str) -> Vec<(String, clap::Command)> {
        let name = format!("{above}{}", command.get_name());
        let below = command.get_subcommands();
        let below = below.flat_map(|command| with_all_below(command, &format!("{name}-")));
        let mut all: Vec<_> = below.collect();
        all.push((name, command.clone()));
        all
    }

    #[test]
    fn completions_know_every_command_and_flag() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(Cli::command(), shell)).unwrap();
            for (name, command) in with_all_below(&Cli::command(), "") {
                assert!(script.contains(command.get_name()), "{shell}: {name}");
                for flag in flags(&command) {
                    assert!(script.contains(flag), "{shell}: {name} --{flag}");
                }
            }
        }
    }

    #[test]
    fn each_command_has_a_page_with_its_flags() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("man/man1");
        pages(Cli::command(), &folder).unwrap();
        for (name, command) in with_all_below(&Cli::command(), "") {
            let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
            let page = page.replace('\\', "");
            for flag in flags(&command) {
                assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
            }
            for below in command.get_subcommands() {
                assert!(
                    page.contains(&format!("{name}-{}", below.get_name())),
                    "{name}"
                );
            }
        }
    }
}
