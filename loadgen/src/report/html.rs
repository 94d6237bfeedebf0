//! The page around plots and tables: one file without scripts and external resources.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::foreign::shown;

/// The style sheet, for light and dark, narrow and wide. It sets the real colours of the names in
/// plots, such as `#0000NN`.
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60666d; --grid: #d9dce0; --page: #fff;
  --bad: #c62828; --good: #23793a;
  --c0: #1864ab; --c1: #c2410c; --c2: #2b7a3b; --c3: #8e24aa; --c4: #946200; --c5: #007a87; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --dim: #a0a7ae; --grid: #3a4046;
  --page: #15181b; --bad: #ff8a80; --good: #7bd88f;
  --c0: #6cb2ff; --c1: #ff9e5e; --c2: #7ddc8c; --c3: #d99bf0; --c4: #e6c04d; --c5: #5fd6e3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; background: var(--page); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 0 0 .3rem; }
p { margin: .3rem 0; color: var(--dim); } .bad { color: var(--bad); } .good { color: var(--good); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 2rem 1.5rem; }
section { min-width: 0; } figure { margin: 0; } svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .3rem 0; padding: 0; list-style: none; font-size: .85rem; }
.legend li { overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 1.6rem; border-top: 4px solid; vertical-align: middle; margin-right: .4rem; }
.legend i.thin { border-top-width: 1px; } .legend i.mark { border-top: 2px dashed; }
.why { margin: 0 0 .5rem; padding-left: 1.2rem; } .why li { overflow-wrap: anywhere; }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; } .tables .wide { max-width: 100%; }
.wide { overflow-x: auto; margin: .5rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg text { fill: var(--ink); } svg [stroke='#020202'] { stroke: var(--grid); } svg [stroke='#030303'] { stroke: var(--bad); stroke-dasharray: 6 4; }
pre { font-size: .85rem; } details { margin: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
.about td, .about th { white-space: normal; text-align: left; vertical-align: top; overflow-wrap: anywhere; min-width: 6rem; }
/* A shade at the right edge says that a plot or a table goes on there; it scrolls away at the end. */
.wide, figure { background: linear-gradient(to left, var(--page) 40%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--grid), transparent) right / 1.2rem 100% no-repeat scroll; }
@media (max-width: 40rem) { body { padding: .6rem; } figure { overflow-x: auto; } svg { min-width: 36rem; }
  td:first-child, th:first-child { position: sticky; left: 0; max-width: 11rem; white-space: normal; background: var(--page); } }
@media print { body { padding: 0; font-size: 12px; } .wide, figure { overflow: visible; background: none; } section, tr { break-inside: avoid; }
  td, th, pre { white-space: pre-wrap; overflow-wrap: anywhere; } details::details-content { content-visibility: visible; height: auto; } }
";

/// Escapes a text so that nothing in it is markup or controls the text around it.
pub(super) fn escape(text: &str) -> String {
    let text = shown(text);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The beginning of every report page.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <title>loadgen: ";

/// Returns whether a file is a report page of loadgen.
pub(super) fn is_ours(file: &Path) -> bool {
    let mut head = vec![0; HEAD.len()];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == HEAD.as_bytes()
}

/// Returns the whole page of some runs; `names` is text, `body` is markup.
pub(super) fn page(names: &str, body: &str) -> String {
    let names = escape(names);
    let mut colours = String::new();
    for n in 0..super::chart::COLOURS {
        colours += &format!(
            "svg [stroke='#0000{0:02X}'] {{ stroke: var(--c{n}); }} svg [fill='#0000{0:02X}'] {{ fill: var(--c{n}); }} svg [stroke='#0303{0:02X}'] {{ stroke: var(--c{n}); stroke-dasharray: 6 4; }} .c{n} {{ color: var(--c{n}); }}\n",
            16 + n
        );
    }
    format!(
        "{HEAD}{names}</title>\n<style>{STYLE}{colours}</style>\n</head>\n<body>\n\
         <h1>loadgen: {names}</h1>\n{body}</body>\n</html>\n"
    )
}

/// Returns a table of texts; the first row is its head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\"><table>\n");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        html += "<tr>";
        for cell in row {
            html += &format!("<{tag}>{}</{tag}>", escape(cell));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}
