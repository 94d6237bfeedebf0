//! Completions and manual pages of the programs.

use std::io::Write;
use std::process::Command;

use trunkline_tests::process::{Process, program};

#[test]
fn bash_takes_the_completions() {
    let exit = Process::start(Command::new(program()).args(["completions", "bash"])).ended();
    assert!(exit.status.success(), "{exit:#?}");
    let script = exit.stdout + "complete -p trunkline\n";
    let (mut bash, mut input) = Process::start_with_input(Command::new("bash").arg("-s"));
    input.write_all(script.as_bytes()).expect("bash reads");
    drop(input);
    let exit = bash.ended();
    assert!(exit.stdout.contains("-F _trunkline"), "{exit:#?}");
    assert_eq!(exit.stderr, "");
}

#[test]
fn manual_pages_go_into_a_new_folder() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let man = |to: &str| {
        let to = folder.path().join(to);
        Process::start(Command::new(program()).arg("man").arg(to)).ended()
    };
    assert!(man("man/man1").status.success());
    let page = folder.path().join("man/man1/trunkline-store-dump.1");
    let page = std::fs::read_to_string(page).expect("a page of a command of a command");
    assert!(page.contains(".TH"), "{page}");

    std::fs::write(folder.path().join("file"), "").expect("a file can be made");
    let exit = man("file");
    assert_eq!(exit.status.code(), Some(1), "{exit:#?}");
    assert!(
        exit.stderr.contains("cannot write manual pages to "),
        "{exit:#?}"
    );
}
