//! The filter of the log: which lines are written.
//!
//! The syntax is that of `tracing_subscriber`'s `EnvFilter`. That type matches fields of spans with
//! regular expressions; the gateway has no spans, and without it no part of the program needs a
//! library for regular expressions.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Reports a text that is not a filter of the log.
#[derive(Debug, thiserror::Error)]
#[error("{directive:?} is not a directive of the log's filter; examples: info, trunkline=debug")]
pub(crate) struct NoFilter {
    directive: String,
}

/// Reads a filter: directives with commas between, such as `info` or `warn,trunkline::shard=debug`.
///
/// A directive is a level, a target (a module and those in it, with every level), `target=level` or
/// `target[{field}]=level` (lines that have the field). `target[span{field=value}]=level` is taken
/// and applies to no line. A filter without directives writes errors only.
///
/// # Errors
/// The text has a part that is not a directive; the error names the first one.
pub(crate) fn parse(text: &str) -> Result<Targets, NoFilter> {
    let mut directives = Vec::new();
    let mut has_spans = false;
    let parts = text.split(',').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        match read(part) {
            Some(Directive::OfLines(directive)) => directives.push(directive),
            Some(Directive::OfSpans) => has_spans = true,
            None => {
                let directive = part.to_owned();
                return Err(NoFilter { directive });
            }
        }
    }
    if directives.is_empty() {
        let nothing = Targets::new();
        return Ok(if has_spans {
            nothing
        } else {
            nothing.with_default(LevelFilter::ERROR)
        });
    }
    let directives = directives.join(",");
    directives.parse().map_err(|_| NoFilter {
        directive: directives,
    })
}

/// A part of a filter.
enum Directive {
    /// A directive that selects lines by level and target, in the form that [`Targets`] reads.
    OfLines(String),
    /// A directive that selects lines by their span. The gateway has no spans, so it selects none.
    OfSpans,
}

/// Reads a directive; `None` if the text is not one.
fn read(part: &str) -> Option<Directive> {
    let is_first = |c: char| c.is_alphanumeric() || matches!(c, '-' | ':' | '_' | '[');
    if !part.starts_with(is_first) {
        return None;
    }
    let Some((target, behind)) = part.split_once('[') else {
        let directive = match part.split_once('=') {
            Some((target, text)) => format!("{target}={}", level(text)?),
            None => part.to_owned(),
        };
        return Some(Directive::OfLines(directive));
    };
    let (inside, behind) = behind.split_once(']')?;
    let level = match behind {
        "" => LevelFilter::TRACE,
        _ => level(behind.strip_prefix('=')?)?,
    };
    let Some((span, fields)) = inside.split_once('{') else {
        return Some(Directive::OfSpans);
    };
    let field = fields.strip_suffix('}').filter(|field| !field.is_empty())?;
    if span.is_empty() && !field.contains('=') {
        let directive = format!("{target}[{{{field}}}]={level}");
        return Some(Directive::OfLines(directive));
    }
    Some(Directive::OfSpans)
}

/// Reads a level. An empty text is the most detailed level; `None` stands for an unknown level.
fn level(text: &str) -> Option<LevelFilter> {
    if text.is_empty() {
        return Some(LevelFilter::TRACE);
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_most_exact_directive_decides() {
        for (filter, target, most) in [
            ("info", "trunkline", Some(Level::INFO)),
            ("INFO", "trunkline", Some(Level::INFO)),
            ("4", "trunkline", Some(Level::DEBUG)),
            ("off", "trunkline", None),
            ("", "trunkline", Some(Level::ERROR)),
            (",,", "trunkline", Some(Level::ERROR)),
            ("trunkline", "trunkline::shard", Some(Level::TRACE)),
            ("trunkline=", "trunkline::shard", Some(Level::TRACE)),
            ("trunkline=warn", "trunkline::shard", Some(Level::WARN)),
            ("trunkline=warn", "rustls", None),
            ("trunkline=1,info", "rustls", Some(Level::INFO)),
            ("info,trunkline=off", "trunkline", None),
            (
                "warn, trunkline=debug",
                "trunkline::shard",
                Some(Level::DEBUG),
            ),
            (
                "debug,trunkline=warn,trunkline::shard=trace",
                "trunkline::shard::tls",
                Some(Level::TRACE),
            ),
            ("info,[span]=trace", "trunkline", Some(Level::INFO)),
            (
                "trunkline[span{user=alice}]=debug,warn",
                "trunkline",
                Some(Level::WARN),
            ),
            ("[span{user}]=debug", "trunkline", None),
        ] {
            let targets = parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
            for level in [
                Level::ERROR,
                Level::WARN,
                Level::INFO,
                Level::DEBUG,
                Level::TRACE,
            ] {
                let expected = most.is_some_and(|most| level <= most);
                let found = targets.would_enable(target, &level);
                assert_eq!(found, expected, "{filter:?}, {target}, {level}");
            }
        }
    }

    #[test]
    fn lines_with_a_field_have_a_directive_of_their_own() {
        let filter = parse("warn,trunkline[{user}]=debug").expect("a filter");
        assert_eq!(filter.to_string(), "trunkline[{user}]=debug,warn");
    }

    #[test]
    fn what_is_no_directive_is_named() {
        for filter in [
            "info,trunkline=loud",
            "trunkline=loud,info",
            "warn,trunkline=loud=info",
        ] {
            let error = parse(filter).expect_err(filter).to_string();
            assert!(error.contains("\"trunkline=loud"), "{filter}: {error}");
        }
        for filter in ["=info", "!", "a[b", "a[{}]=info", "a[{b]=info", "a[b]info"] {
            assert!(parse(filter).is_err(), "{filter}");
        }
    }
}
