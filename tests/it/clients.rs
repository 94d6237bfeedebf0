//! The clients in `clients/` pass their own tests, on gateways that they kill and start again.

use std::process::Command;

use trunkline_tests::process::{Process, program, workspace};
use trunkline_tests::scripts;

/// The oldest Node.js that the client in JavaScript is for.
const NODE: u32 = 20;

/// Runs the tests of a client, which find the gateway in `TRUNKLINE_BIN`. They print a line for each start of it, so that
/// waiting is bounded for each start, however busy the machine is.
fn check(tests: &mut Command) {
    let mut process = Process::start(tests.env("TRUNKLINE_BIN", program()));
    let mut said = String::new();
    while let Some(line) = process.line() {
        said += &line;
        said.push('\n');
    }
    let exit = process.ended();
    said += &exit.stderr;
    assert!(exit.status.success(), "{said}");
    assert!(
        !said.contains("# SKIP") && !said.contains("skipped="),
        "{said}"
    );
}

/// Returns the major version of Node.js.
fn version(mut node: Command) -> u32 {
    let exit = Process::start(node.arg("--version")).ended();
    let version = exit.stdout.trim().trim_start_matches('v').split('.').next();
    let major = version.and_then(|major| major.parse().ok());
    major.unwrap_or_else(|| panic!("no version: {exit:?}"))
}

#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn in_javascript() {
    let Some(node) = scripts::node() else {
        return;
    };
    let version = version(node);
    if version < NODE {
        println!("skipped: the client in JavaScript needs Node.js {NODE}, this is {version}");
        return;
    }
    let folder = workspace().join("clients/js");
    let tests = std::fs::read_dir(folder.join("test")).expect("the folder of the tests");
    let tests = tests.map(|entry| entry.expect("an entry").path());
    let tests = tests.filter(|path| path.to_string_lossy().ends_with(".test.js"));
    let mut count = 0;
    for test in tests {
        // The runner of `node --test` holds lines back until a file ends.
        let Some(mut node) = scripts::node() else {
            return;
        };
        check(node.current_dir(&folder).arg(test));
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn in_python() {
    let Some(mut python) = scripts::python() else {
        return;
    };
    python.current_dir(workspace().join("clients/python"));
    python.env("PYTHONPATH", "src");
    check(python.args(["-m", "unittest", "discover", "--start-directory", "tests"]));
}

#[test]
fn in_python_with_types() {
    let Some(mut mypy) = scripts::python() else {
        return;
    };
    let cache = tempfile::tempdir().expect("a folder can be made");
    mypy.current_dir(workspace().join("clients/python"));
    mypy.args(["-m", "mypy", "--cache-dir"]).arg(cache.path());
    check(&mut mypy);
}

/// The wheel has all modules, and the mark that says that they are typed.
#[test]
fn in_python_as_a_wheel() {
    let Some(mut pip) = scripts::python() else {
        return;
    };
    // Building writes into the folder of the sources.
    let folder = tempfile::tempdir().expect("a folder can be made");
    let copied = Process::start(
        Command::new("cp")
            .arg("-r")
            .arg(workspace().join("clients/python"))
            .arg(folder.path().join("sources")),
    )
    .ended();
    assert!(copied.status.success(), "{copied:?}");
    pip.current_dir(folder.path()).args(["-m", "pip", "wheel"]);
    pip.args(["--no-deps", "--no-build-isolation", "--no-index"]);
    check(pip.args(["--wheel-dir", "wheels", "./sources"]));

    let Some(mut list) = scripts::python() else {
        return;
    };
    let name = format!(
        "trunkline_client-{}-py3-none-any.whl",
        env!("CARGO_PKG_VERSION")
    );
    let wheel = folder.path().join("wheels").join(name);
    let exit = Process::start(list.args(["-m", "zipfile", "--list"]).arg(wheel)).ended();
    assert!(exit.status.success(), "{exit:?}");
    let modules = workspace().join("clients/python/src/trunkline_client");
    for entry in std::fs::read_dir(modules).expect("the modules") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let is_file = name.ends_with(".py") || name.ends_with(".typed");
        let file = format!("trunkline_client/{name}");
        assert!(!is_file || exit.stdout.contains(&file), "{file} is missing");
    }
}

/// `npm pack` takes the files that the package needs, and nothing else.
#[test]
fn the_package_has_what_its_files_import() {
    let folder = workspace().join("clients/js");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    let package: serde_json::Value =
        serde_json::from_str(&read("package.json")).expect("package.json is JSON");
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(package["dependencies"], serde_json::Value::Null);
    let mut imported = 0;
    let mut waiting = vec!["client.js".to_owned(), "client.d.ts".to_owned()];
    while let Some(name) = waiting.pop() {
        let is_packed = package["files"]
            .as_array()
            .expect("a list of files")
            .iter()
            .filter_map(|file| file.as_str())
            .any(|file| name == file || (file.ends_with('/') && name.starts_with(file)));
        assert!(is_packed, "{name} is in no package");
        let text = read(&name);
        for path in text.split(" from \"./").skip(1) {
            let path = path.split('"').next().expect("an end");
            imported += 1;
            if name == "client.js" {
                waiting.push(path.to_owned());
            }
        }
    }
    assert!(imported > 4, "only {imported} imports found");
}
