//! The program as it is started, without a gateway behind it. Cargo builds the programs of a package
//! for tests in its folder `tests/`: the tests of the workspace start what is built for these.

use std::process::{Command, Output};

fn trunkline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(args)
        .output()
        .expect("the program can be started")
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = trunkline(&["--version"]);
    assert!(output.status.success(), "{output:?}");
    let expected = format!("trunkline {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn help_names_the_commands_and_a_command_that_is_none_is_refused() {
    let help = trunkline(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for command in ["serve", "store", "doctor", "check-config"] {
        assert!(text.contains(command), "{command} in {text}");
        let own = trunkline(&[command, "--help"]);
        assert!(own.status.success(), "{command}: {own:?}");
    }
    let refused = trunkline(&["sevre"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && text.contains("serve"),
        "{text}"
    );
}
