//! The clients in `clients/` pass their own tests, on gateways that they kill and start again, and have what the protocol has.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use trunkline_tests::gateway::Gateway;
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
    assert_eq!(count, 4);
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
    let exit = Process::start(list.args(["-m", "zipfile", "--list"]).arg(&wheel)).ended();
    assert!(exit.status.success(), "{exit:?}");
    let modules = workspace().join("clients/python/src/trunkline_client");
    for entry in std::fs::read_dir(modules).expect("the modules") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let is_file = name.ends_with(".py") || name.ends_with(".typed");
        let file = format!("trunkline_client/{name}");
        assert!(!is_file || exit.stdout.contains(&file), "{file} is missing");
    }
    use_wheel(folder.path(), &wheel);
}

/// Installs a wheel into an environment of its own, and chats with what is installed there.
fn use_wheel(folder: &Path, wheel: &Path) {
    let python = |arguments: &[&str]| {
        let mut python = scripts::python().expect("it was there before");
        python.current_dir(folder).args(arguments);
        python.env_remove("PYTHONPATH");
        python
    };
    check(&mut python(&["-m", "venv", "--without-pip", "fresh"]));
    let fresh = folder.join("fresh/bin/python");
    let fresh = fresh.to_str().expect("a path in UTF-8");
    let mut install = python(&["-m", "pip", "--python", fresh, "install", "--no-index"]);
    check(install.args(["--quiet", "--no-deps"]).arg(wheel));
    // What it depends on is in the environment of the tests.
    let sites = python(&["-c", "import websockets; print(websockets.__path__[0])"]);
    let sites = Process::start(&mut { sites }).ended();
    let sites = Path::new(sites.stdout.trim()).parent().expect("a folder");
    let script = r#"
import asyncio, sys, trunkline_client
from trunkline_client import Trunkline

async def main():
    assert trunkline_client.__file__.startswith(sys.prefix), trunkline_client.__file__
    async with Trunkline(sys.argv[1], user="alice") as alice, Trunkline(sys.argv[1], user="bob") as bob:
        came = asyncio.get_running_loop().create_future()
        bob.on("message", lambda message: came.set_result(message.text))
        await alice.send(user="bob", text="from a wheel")
        print(await came)

asyncio.run(main())
"#;
    let gateway = Gateway::start();
    let mut chat = Command::new(fresh);
    chat.current_dir(folder).args(["-c", script]);
    chat.arg(format!("ws://{}", gateway.ws()));
    let exit = Process::start(chat.env("PYTHONPATH", sites)).ended();
    assert_eq!(exit.stdout, "from a wheel\n", "{exit:?}");
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

/// What `npm pack` puts into the package: the client, its types, the README and examples, and no tests.
#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn npm_packs_the_client_and_nothing_else() {
    let is_there = Command::new("npm").arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: there is no npm");
        return;
    }
    let folder = workspace().join("clients/js");
    let mut npm = Command::new("npm");
    let exit = Process::start(
        npm.current_dir(&folder)
            .args(["pack", "--dry-run", "--json"]),
    )
    .ended();
    assert!(exit.status.success(), "{exit:?}");
    let said: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON");
    let files = said[0]["files"].as_array().expect("a list of files");
    let mut packed: Vec<_> = files
        .iter()
        .filter_map(|file| file["path"].as_str())
        .map(str::to_owned)
        .collect();
    let mut wanted: Vec<_> = ["README.md", "client.d.ts", "client.js", "package.json"]
        .map(str::to_owned)
        .into();
    for part in ["client", "examples"] {
        for entry in std::fs::read_dir(folder.join(part)).expect(part) {
            let name = entry.expect("an entry").file_name();
            wanted.push(format!("{part}/{}", name.to_string_lossy()));
        }
    }
    packed.sort();
    wanted.sort();
    assert_eq!(packed, wanted);
}

/// What `npm pack` makes is installed in a folder that has nothing else, without a network. A program that imports it chats.
#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn what_npm_packs_can_be_installed_and_used() {
    let is_there = Command::new("npm").arg("--version").output().is_ok();
    let (Some(mut node), Some(other), true) = (scripts::node(), scripts::node(), is_there) else {
        println!("skipped: there is no npm, or no Node.js");
        return;
    };
    if version(other) < NODE {
        println!("skipped: the client in JavaScript needs Node.js {NODE}");
        return;
    }
    let fresh = tempfile::tempdir().expect("a folder can be made");
    let npm = |folder: &Path, arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.current_dir(folder).args(arguments);
        npm.env("npm_config_cache", fresh.path().join("cache"));
        let exit = Process::start(&mut npm).ended();
        assert!(exit.status.success(), "{exit:?}");
        exit.stdout
    };
    let target = fresh.path().to_str().expect("a path in UTF-8");
    let packed = npm(
        &workspace().join("clients/js"),
        &["pack", "--silent", "--pack-destination", target],
    );
    let packed = format!("./{}", packed.trim());
    let package = r#"{ "private": true, "type": "module" }"#;
    std::fs::write(fresh.path().join("package.json"), package).expect("a file can be written");
    npm(
        fresh.path(),
        &["install", "--offline", "--no-audit", "--no-fund", &packed],
    );
    let script = r#"
        import { createRequire } from "node:module";
        import { Trunkline } from "@trunkline/client";
        const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
        const [alice, bob] = ["alice", "bob"].map((user) => new Trunkline(process.argv[2], { user, WebSocket }));
        bob.on("message", ({ text }) => {
          console.log(text, import.meta.resolve("@trunkline/client").endsWith("/node_modules/@trunkline/client/client.js"));
          for (const client of [alice, bob]) client.close();
        });
        await bob.connected();
        await alice.send({ user: "bob", text: "from a package" });
    "#;
    std::fs::write(fresh.path().join("chat.js"), script).expect("a file can be written");
    let gateway = Gateway::start();
    node.current_dir(fresh.path()).arg("chat.js");
    node.arg(format!("ws://{}", gateway.ws()));
    let exit = Process::start(&mut node).ended();
    assert_eq!(exit.stdout, "from a package true\n", "{exit:?}");
}

fn read(path: &str) -> String {
    let path = workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the page of the protocol says that a client can ask and hear.
struct Protocol {
    /// The fields of each command. Those of `media` are left out.
    commands: BTreeMap<String, Vec<String>>,
    events: Vec<String>,
}

impl Protocol {
    fn read() -> Self {
        let page = read("docs/protocol.md");
        let (mut commands, mut events) = (BTreeMap::new(), Vec::new());
        let keys = |line: &str| -> Vec<String> {
            let value: serde_json::Value = serde_json::from_str(line).expect(line);
            let object = value.as_object().expect("an object");
            let names = object.keys().filter(|name| *name != "id" && *name != "pos");
            names.cloned().collect()
        };
        for line in page.lines() {
            if let Some(command) = line.strip_prefix("→ ") {
                for name in keys(command) {
                    commands.entry(name).or_insert_with(Vec::new);
                }
            } else if let Some(push) = line.strip_prefix("← {\"push\":") {
                events.extend(keys(push.strip_suffix('}').expect("an end")));
            }
        }
        for table in page
            .split("| type | default | limits |")
            .collect::<Vec<_>>()
            .windows(2)
        {
            let names = table[0].rsplit("\n|").next().unwrap_or_default();
            let rows = table[1]
                .lines()
                .skip(2)
                .take_while(|row| row.starts_with("| `"));
            let fields: Vec<_> = rows
                .filter_map(|row| row.split('`').nth(1))
                .filter(|field| !field.contains('.'))
                .map(str::to_owned)
                .collect();
            for name in names.split('`').skip(1).step_by(2) {
                let known = commands
                    .get_mut(name)
                    .unwrap_or_else(|| panic!("{name} has no example"));
                known.extend(fields.iter().cloned());
            }
        }
        events.sort();
        events.dedup();
        Self { commands, events }
    }
}

/// Returns a name as JavaScript has it.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        camel.push_str(&part[..1].to_uppercase());
        camel.push_str(&part[1..]);
    }
    camel
}

/// Returns what stands between a mark and the next end.
fn between<'a>(text: &'a str, mark: &str, end: &str) -> Option<&'a str> {
    text.split_once(mark)?
        .1
        .split_once(end)
        .map(|(found, _)| found)
}

/// Every command of the protocol is a method with all of its fields, and every push is an event, in code, types and READMEs.
#[test]
fn they_have_what_the_protocol_has() {
    let Protocol { commands, events } = Protocol::read();
    assert!(
        commands.len() > 35 && events.len() > 12,
        "{commands:?} {events:?}"
    );
    let (script, types) = (read("clients/js/client.js"), read("clients/js/client.d.ts"));
    let python = ["client", "calls"]
        .map(|name| read(&format!("clients/python/src/trunkline_client/{name}.py")));
    let python = python.concat();
    let listening = read("clients/python/src/trunkline_client/listening.py");
    let readmes = [
        read("clients/js/README.md"),
        read("clients/python/README.md"),
    ];
    let mut missing = Vec::new();
    let mut need = |is_there: bool, what: String| {
        if !is_there {
            missing.push(what);
        }
    };
    for (name, fields) in &commands {
        let (js, method) = match &**name {
            // The clients send it themselves; its fields are options.
            "connect" => ("constructor".to_owned(), "__init__"),
            name => (camel(name), name),
        };
        need(
            script.contains(&format!("\n  {js}(")),
            format!("{js} in client.js"),
        );
        need(
            ['(', '<']
                .iter()
                .any(|next| types.contains(&format!("\n  {js}{next}"))),
            format!("{js} in client.d.ts"),
        );
        let signature = between(&python, &format!("def {method}("), ") ->");
        need(
            signature.is_some(),
            format!("{method} in the client in Python"),
        );
        for field in fields {
            // The clients always ask for batches.
            if field == "batch" {
                continue;
            }
            let in_types = [format!(" {field}:"), format!(" {field}?:")];
            need(
                in_types.iter().any(|form| types.contains(form)),
                format!("{name}.{field} in client.d.ts"),
            );
            let given = signature.unwrap_or_default();
            need(
                given.contains(&format!("{field}:")),
                format!("{name}.{field} in the client in Python"),
            );
        }
        if name != "connect" {
            need(
                readmes[0].contains(&format!("`{js}")),
                format!("{js} in the README of JavaScript"),
            );
            need(
                readmes[1].contains(&format!("`{method}`")),
                format!("{method} in the README of Python"),
            );
        }
    }
    for event in &events {
        // What a client does about them is told by events of its own.
        if ["gap", "caught_up", "disconnect"].contains(&&**event) {
            continue;
        }
        need(
            types.contains(&format!("\n  {event}: ")),
            format!("the event {event} in client.d.ts"),
        );
        need(
            listening.contains(&format!("Literal[\"{event}\"]")),
            format!("the event {event} in listening.py"),
        );
        for readme in &readmes {
            need(
                readme.contains(&format!("`{event}`")),
                format!("the event {event} in a README"),
            );
        }
    }
    assert!(missing.is_empty(), "missing: {missing:#?}");
}

/// The compiler of TypeScript accepts the types, and a program that uses them.
#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn in_typescript() {
    let Some(mut node) = scripts::node() else {
        return;
    };
    let modules = std::env::var("NODE_PATH").unwrap_or_default();
    let compiler = Path::new(&modules).join("typescript/lib/tsc.js");
    if !compiler.exists() {
        println!("skipped: npm could not install typescript");
        return;
    }
    node.arg(compiler).args([
        "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext",
    ]);
    node.arg(workspace().join("clients/js/test/types.ts"));
    let exit = Process::start(&mut node).ended();
    assert!(exit.status.success(), "{}", exit.stdout);
}
