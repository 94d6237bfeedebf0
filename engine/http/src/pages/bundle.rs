//! All modules of a page in one file, so that a page asks once for its program and not once for each module.
//!
//! It knows the forms of `import` and `export` that the modules of the repository have, each on a line of its own. A test
//! holds them to that.

use super::File;

/// Modules in the order in which they can begin: each one behind those that it imports.
struct Bundle<'a> {
    files: &'a [File],
    begun: Vec<&'a str>,
    text: String,
}

/// Returns one module with everything that the module at `path` imports, and that module itself.
pub(super) fn bundle(path: &str, files: &[File]) -> String {
    let begun = Vec::new();
    let text = String::new();
    let mut bundle = Bundle { files, begun, text };
    bundle.add(path);
    bundle.text
}

impl Bundle<'_> {
    /// Adds a module behind those that it imports.
    fn add(&mut self, path: &str) {
        let found = self.files.iter().find(|file| file.path == path);
        let Some(file) = found.filter(|_| !self.begun.contains(&path)) else {
            return;
        };
        self.begun.push(file.path);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut exports = Vec::new();
        let mut body = String::new();
        for line in file.text.lines() {
            if let Some((what, source)) = import(line, folder) {
                self.add(&source);
                let name = variable(&source);
                match what {
                    Names::All(own) => body += &format!("const {own} = {name};\n"),
                    Names::Some(list) => body += &format!("const {{ {list} }} = {name};\n"),
                    Names::Passed(list) => {
                        let passed = list.split(", ").map(|one| format!("{one}: {name}.{one}"));
                        exports.extend(passed);
                    }
                }
                continue;
            }
            let own = line.strip_prefix("export ");
            exports.extend(own.and_then(declared).map(str::to_owned));
            body += own.unwrap_or(line);
            body.push('\n');
        }
        self.text += &format!(
            "// {path}\nconst {} = (() => {{\n{body}return {{ {} }};\n}})();\n",
            variable(path),
            exports.join(", ")
        );
    }
}

/// What a line takes from another module.
enum Names {
    /// Everything, under this name.
    All(String),
    /// These, as a pattern of JavaScript.
    Some(String),
    /// These, for those who import this module.
    Passed(String),
}

/// Reads a line that imports. Returns the names, and the path of the module.
fn import(line: &str, folder: &str) -> Option<(Names, String)> {
    let (what, source) = line.strip_suffix("\";")?.split_once(" from \"")?;
    let path = match source.strip_prefix("./") {
        Some(name) => format!("{folder}/{name}"),
        None => source.to_owned(),
    };
    let list = |what: &str| Some(what.strip_prefix("{ ")?.strip_suffix(" }")?.to_owned());
    let names = match what.strip_prefix("import ") {
        Some(what) => match what.strip_prefix("* as ") {
            Some(own) => Names::All(own.to_owned()),
            None => Names::Some(list(what)?.replace(" as ", ": ")),
        },
        None => Names::Passed(list(what.strip_prefix("export ")?)?),
    };
    Some((names, path))
}

/// Returns the name that a declaration declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let kinds = ["const ", "class ", "function "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split([' ', '(']).next()
}

/// Returns the name of a module in the bundle.
fn variable(path: &str) -> String {
    path.replace(['/', '.', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{CHAT, CONSOLE};

    #[test]
    fn modules_are_behind_those_that_they_import() {
        const SCRIPT: &str = "text/javascript";
        let file = |path, text| File {
            path,
            kind: SCRIPT,
            text,
        };
        let files = [
            file(
                "/a/app.js",
                "import * as b from \"./b.js\";\nimport { c, d as e } from \"/c.js\";\nb.go(c, e);\n",
            ),
            file(
                "/a/b.js",
                "import { c } from \"/c.js\";\nexport function go(one) {}\nexport { d } from \"/c.js\";\n",
            ),
            file(
                "/c.js",
                "export const c = 1;\nexport async function d() {}\nexport class F extends Map {}\n",
            ),
        ];
        let wanted = "// /c.js\nconst _c_js = (() => {\nconst c = 1;\nasync function d() {}\nclass F extends Map {}\n\
                      return { c, d, F };\n})();\n\
                      // /a/b.js\nconst _a_b_js = (() => {\nconst { c } = _c_js;\nfunction go(one) {}\n\
                      return { go, d: _c_js.d };\n})();\n\
                      // /a/app.js\nconst _a_app_js = (() => {\nconst b = _a_b_js;\nconst { c, d: e } = _c_js;\nb.go(c, e);\n\
                      return {  };\n})();\n";
        assert_eq!(bundle("/a/app.js", &files), wanted);
    }

    /// A form that the bundle does not know would stay as it is, or be of a module that is not there.
    #[test]
    fn the_pages_have_no_other_forms_and_no_circles() {
        for (entry, files) in [("/chat/app.js", CHAT), ("/console/app.js", CONSOLE)] {
            let text = bundle(entry, files);
            let bad = ["import ", "import(", "export ", "export{", "export default"];
            for line in text.lines() {
                assert!(!bad.iter().any(|form| line.starts_with(form)), "{line}");
                let words = ["import(", "await import"];
                assert!(!words.iter().any(|word| line.contains(word)), "{line}");
            }
            // Each module stands before those that use it.
            for file in files.iter().filter(|file| file.path.ends_with(".js")) {
                let name = variable(file.path);
                let Some(place) = text.find(&format!("const {name} = (() =>")) else {
                    continue;
                };
                let used = text.find(&format!("= {name};")).unwrap_or(usize::MAX);
                assert!(place < used, "{} is in a circle", file.path);
            }
            assert!(text.len() > 10_000, "{entry}: {}", text.len());
        }
    }
}
