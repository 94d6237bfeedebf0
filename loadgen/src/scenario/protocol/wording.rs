//! The keys of a template, compiled.

use super::pattern::Pattern;
use super::words::{Filling, OF_MESSAGE, OF_USER, Place, Words};
use super::{Mistake, Ping, Protocol, Sign};
use crate::clock::{Nanos, to_nanos};

/// The most messages that open a session.
const OPEN_MAX: usize = 64;

/// The most headers of an upgrade.
const HEADERS_MAX: usize = 32;

/// The headers that the upgrade has anyway.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

/// The upgrade of a connection.
#[derive(Debug, Clone)]
pub(crate) struct UpgradeWords {
    /// The path; `None` for that of the target.
    pub(crate) path: Option<Words>,
    pub(crate) headers: Vec<(String, Words)>,
    pub(crate) subprotocol: Option<String>,
}

/// A compiled template: everything that a client says and hears.
#[derive(Debug, Clone)]
pub(crate) struct Wording {
    pub(crate) upgrade: UpgradeWords,
    pub(crate) open: Vec<Words>,
    /// What says that the session is open; without it, it is open at once.
    pub(crate) opened: Option<Pattern>,
    pub(crate) send: Words,
    pub(crate) acked: Option<Pattern>,
    pub(crate) refused: Option<Pattern>,
    pub(crate) pushed: Pattern,
    /// The client's ping and the time between two.
    pub(crate) ping: Option<(Words, Nanos)>,
    /// The server's ping and the answer.
    pub(crate) pong: Option<(Vec<u8>, Words)>,
}

impl Wording {
    /// Returns all mistakes of a template.
    pub(super) fn mistakes(of: &Protocol) -> Vec<Mistake> {
        match Self::compile(of) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes,
        }
    }

    /// Compiles the table of a template.
    ///
    /// # Errors
    /// All mistakes.
    pub(crate) fn compile(of: &Protocol) -> Result<Self, Vec<Mistake>> {
        let mut wrong = of_upgrade(of);
        let upgrade = UpgradeWords::compile(of);
        let open = openings(of, &mut wrong);
        let sign = |sign: &Option<Sign>, wants| sign.as_ref().map(|it| pattern(it, wants));
        let keep = |key, found: Option<Result<Pattern, String>>, wrong: &mut Vec<Mistake>| {
            let found = found.transpose();
            found.map_err(|why| wrong.push((key, why))).ok().flatten()
        };
        let opened = keep("opened", sign(&of.opened, Wants::Nothing), &mut wrong);
        let acked = keep("acked", sign(&of.acked, Wants::Id), &mut wrong);
        let refused = keep("refused", sign(&of.refused, Wants::Id), &mut wrong);
        let pushed = keep("pushed", sign(&of.pushed, Wants::Text), &mut wrong);
        if of.pushed.is_none() {
            let why = "is missing: it says how a message comes to its recipient, such as pushed = { contains = '\"push\"', text = '/push/text' }";
            wrong.push(("pushed", why.into()));
        }
        let send = sends(of, &mut wrong);
        let (ping, pong) = pings(of.ping.as_ref(), &mut wrong);
        match (send, pushed, upgrade, wrong.is_empty()) {
            (Some(send), Some(pushed), Some(upgrade), true) => Ok(Self {
                upgrade,
                open,
                opened,
                send,
                acked,
                refused,
                pushed,
                ping,
                pong,
            }),
            _ => Err(wrong),
        }
    }
}

impl UpgradeWords {
    /// Compiles the keys of the upgrade; `None` if one has a mistake.
    pub(crate) fn compile(of: &Protocol) -> Option<Self> {
        let path = of.path.as_deref().map(|it| Words::parse(it, OF_USER));
        let headers = of.headers.iter().flatten();
        let headers = headers.map(|(name, value)| {
            let words = Words::parse(value, OF_USER).ok()?;
            Some((name.clone(), words))
        });
        Some(Self {
            path: path.transpose().ok()?,
            headers: headers.collect::<Option<_>>()?,
            subprotocol: of.subprotocol.clone(),
        })
    }
}

/// Returns the mistakes in the keys of the upgrade.
pub(super) fn of_upgrade(of: &Protocol) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    if let Some(path) = &of.path {
        let why = match Words::parse(path, OF_USER) {
            Err(why) => Some(why),
            Ok(_) if !path.starts_with('/') => Some(format!(
                "`{path}` begins with /: write a path such as /ws?u={{user}}"
            )),
            Ok(_) if !is_visible(path) || path.contains(' ') => Some(format!(
                "`{path}` has a space or a control character: write %20"
            )),
            Ok(_) => None,
        };
        wrong.extend(why.map(|why| ("path", why)));
    }
    let headers = of.headers.iter().flatten();
    for (name, value) in headers.clone() {
        let is_name = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
        let why = match Words::parse(value, OF_USER) {
            Err(why) => Some(why),
            Ok(_) if name.is_empty() || !name.bytes().all(is_name) => {
                Some(format!("`{name}` is no name of a header"))
            }
            Ok(_) if OWN_HEADERS.contains(&&*name.to_ascii_lowercase()) => {
                Some(format!("the upgrade has its own `{name}`: leave it out"))
            }
            Ok(_) if !is_visible(value) => {
                Some(format!("the value of `{name}` has a control character"))
            }
            Ok(_) => None,
        };
        wrong.extend(why.map(|why| ("headers", why)));
    }
    if headers.count() > HEADERS_MAX {
        wrong.push(("headers", format!("there are more than {HEADERS_MAX}")));
    }
    if let Some(name) = of.subprotocol.as_deref()
        && (name.is_empty() || !is_visible(name) || name.contains([' ', ',']))
    {
        let why = format!("`{name}` is no name of one sub-protocol");
        wrong.push(("subprotocol", why));
    }
    wrong
}

/// Returns whether a text has no line breaks and no other control characters.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn openings(of: &Protocol, wrong: &mut Vec<Mistake>) -> Vec<Words> {
    let texts = of.open.iter().flatten();
    if texts.clone().count() > OPEN_MAX {
        wrong.push(("open", format!("has more than {OPEN_MAX} messages")));
    }
    let words = texts.filter_map(|text| {
        let words = Words::parse(text, OF_USER);
        words.map_err(|why| wrong.push(("open", why))).ok()
    });
    words.collect()
}

fn sends(of: &Protocol, wrong: &mut Vec<Mistake>) -> Option<Words> {
    let Some(send) = of.send.as_deref() else {
        let why = "is missing: it is a message from {user} to {peer}, such as send = '{\"to\":\"{peer}\",\"text\":\"{text}\"}'";
        wrong.push(("send", why.into()));
        return None;
    };
    let words = match Words::parse(send, OF_MESSAGE) {
        Ok(words) => words,
        Err(why) => {
            wrong.push(("send", why));
            return None;
        }
    };
    let named = of.acked.is_some() || of.refused.is_some();
    for (place, needed, why) in [
        (
            Place::Text,
            true,
            "has no {text}, which says who sent which message and when",
        ),
        (
            Place::Peer,
            true,
            "has no {peer}, the user that the message goes to",
        ),
        (
            Place::Id,
            named,
            "has no {id}, the number that `acked` and `refused` name",
        ),
    ] {
        if needed && !words.has(place) {
            wrong.push(("send", why.into()));
        }
    }
    Some(words)
}

/// The value that a sign gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Nothing,
    Id,
    Text,
}

fn pattern(sign: &Sign, wants: Wants) -> Result<Pattern, String> {
    let (at, other) = match wants {
        Wants::Id => (
            sign.id.as_deref().map(|at| ("id", at)),
            ("text", &sign.text),
        ),
        Wants::Text => (
            sign.text.as_deref().map(|at| ("text", at)),
            ("id", &sign.id),
        ),
        Wants::Nothing => (None, ("id", &sign.id)),
    };
    let needless = other.1.is_some() || (wants == Wants::Nothing && sign.text.is_some());
    if needless {
        let key = other.0;
        return Err(format!("takes no `{key}`: leave it out"));
    }
    let pattern = Pattern::new(sign.contains.as_deref(), at, sign.regex.as_deref())?;
    match wants {
        Wants::Id if !pattern.has_value() => Err(
            "does not say which message it is about: add id = '/id', the JSON pointer to the number in {id}, or a regex with a group".into(),
        ),
        Wants::Text if !pattern.has_value() => Err(
            "does not say where the text is: add text = '/text', the JSON pointer to {text}, or a regex with a group".into(),
        ),
        _ => Ok(pattern),
    }
}

/// The client's ping with its interval, and the server's ping with its answer.
type Pings = (Option<(Words, Nanos)>, Option<(Vec<u8>, Words)>);

fn pings(ping: Option<&Ping>, wrong: &mut Vec<Mistake>) -> Pings {
    let Some(ping) = ping else {
        return (None, None);
    };
    let mut words = |text: &str| {
        let words = Words::parse(text, OF_USER);
        words.map_err(|why| wrong.push(("ping", why))).ok()
    };
    let sent = ping.send.as_deref().map(&mut words);
    let answer = ping.pong.as_deref().map(&mut words);
    let mut say = |why: &str| wrong.push(("ping", why.to_owned()));
    match (&ping.send, ping.every) {
        (Some(_), None) => {
            say("`send` needs `every`, the time between two pings, such as every = \"20s\"")
        }
        (None, Some(_)) => say("`every` needs `send`, the message"),
        (Some(_), Some(every)) if every.0.is_zero() => say("`every` is above 0s"),
        (None, None) if ping.pong.is_none() && ping.when.is_none() => say("is empty: leave it out"),
        _ => {}
    }
    match (&ping.pong, &ping.when) {
        (Some(_), None) => say("`pong` needs `when`, the server's ping that it answers"),
        (None, Some(_)) => say("`when` needs `pong`, the answer"),
        (Some(_), Some(when)) if when.trim().is_empty() => say("`when` is empty"),
        _ => {}
    }
    let every = ping.every.map(|it| to_nanos(it.0));
    let when = ping.when.as_deref().map(|it| it.trim().as_bytes().to_vec());
    (sent.flatten().zip(every), when.zip(answer.flatten()))
}

impl UpgradeWords {
    /// Appends the request for an upgrade of a user's connection.
    pub(crate) fn write(&self, host: &str, path: &str, key: &str, user: &str, out: &mut Vec<u8>) {
        let with = Filling {
            user,
            ..Filling::default()
        };
        let own = self.path.as_ref().map(|it| it.filled(&with));
        let values: Vec<_> = self
            .headers
            .iter()
            .map(|(_, it)| it.filled(&with))
            .collect();
        let names = self.headers.iter().map(|(name, _)| name.as_str());
        let headers: Vec<_> = names.zip(values.iter().map(String::as_str)).collect();
        let path = own.as_deref().unwrap_or(path);
        let offered = self.subprotocol.as_deref();
        trunkline_proto::handshake::write_request_for(out, host, path, key, offered, &headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"
        kind = "template"
        path = "/?u={user}"
        headers = { Cookie = "sid={user}" }
        open = ['{"id":1,"connect":{"user":"{user}"}}']
        opened = { contains = '"connect"' }
        send = '{"id":{id},"send":{"user":"{peer}","text":"{text}"}}'
        acked = { contains = '"send"', id = '/id' }
        refused = { contains = '"error"', id = '/id' }
        pushed = { contains = '"push"', text = '/push/message/text' }
        ping = { send = '{}', every = "20s", pong = '{}', when = '{}' }
        subprotocol = "chat.v1"
    "#;

    fn mistakes(text: &str) -> Vec<Mistake> {
        Wording::mistakes(&toml::from_str(text).unwrap())
    }

    #[test]
    fn a_right_template_is_compiled() {
        let protocol: Protocol = toml::from_str(RIGHT).unwrap();
        assert_eq!(protocol.mistakes(), []);
        let wording = Wording::compile(&protocol).unwrap();
        let mut request = Vec::new();
        let upgrade = &wording.upgrade;
        upgrade.write("h:1", "/other", "KEY", "ann", &mut request);
        let request = String::from_utf8(request).unwrap();
        assert!(
            request.starts_with("GET /?u=ann HTTP/1.1\r\nHost: h:1\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\nCookie: sid=ann\r\n"), "{request}");
        assert!(
            request.ends_with("Sec-WebSocket-Protocol: chat.v1\r\n\r\n"),
            "{request}"
        );
        assert_eq!(wording.ping.unwrap().1, 20_000_000_000);
        assert_eq!(wording.pong.unwrap().0, b"{}");
    }

    #[test]
    fn every_mistake_is_named_with_its_key() {
        for (from, to, key, words) in [
            ("/?u={user}", "?u={user}", "path", "begins with /"),
            ("/?u={user}", "/?u={usr}", "path", "did you mean `user`?"),
            ("/?u={user}", "/a b", "path", "a space"),
            ("Cookie", "Upgrade", "headers", "its own `Upgrade`"),
            ("Cookie", "\"a b\"", "headers", "no name of a header"),
            ("sid={user}", "sid={text}", "headers", "only in `send`"),
            ("sid={user}", "a\\r\\nb", "headers", "a control character"),
            (
                "\"connect\":{\"user\":\"{user}\"}",
                "{peer}",
                "open",
                "only in `send`",
            ),
            (
                "opened = { contains = '\"connect\"' }",
                "opened = {}",
                "opened",
                "is empty",
            ),
            (
                "opened = {",
                "opened = { id = '/x',",
                "opened",
                "takes no `id`",
            ),
            ("\"user\":\"{peer}\"", "", "send", "has no {peer}"),
            ("\"text\":\"{text}\"", "", "send", "has no {text}"),
            ("\"id\":{id},\"send\"", "\"send\"", "send", "has no {id}"),
            (
                ", id = '/id' }\n        refused",
                " }\n        refused",
                "acked",
                "add id = '/id'",
            ),
            (
                "text = '/push/message/text'",
                "text = 'text'",
                "pushed",
                "begins with /",
            ),
            (", text = '/push/message/text'", "", "pushed", "add text"),
            (
                "text = '/push/message/text'",
                "regex = '('",
                "pushed",
                "unclosed group",
            ),
            (", every = \"20s\"", "", "ping", "needs `every`"),
            ("every = \"20s\"", "every = \"0s\"", "ping", "above 0s"),
            (", when = '{}'", "", "ping", "needs `when`"),
            ("chat.v1", "a, b", "subprotocol", "one sub-protocol"),
        ] {
            assert!(RIGHT.contains(from), "{from}");
            let found = mistakes(&RIGHT.replacen(from, to, 1));
            assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
            assert_eq!(found[0].0, key, "{from} -> {to}: {found:?}");
            assert!(found[0].1.contains(words), "{from} -> {to}: {found:?}");
        }
        // All at once, and what is missing.
        let found = mistakes("kind = \"template\"\npath = \"x\"\nping = {}");
        let keys: Vec<_> = found.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["path", "pushed", "send", "ping"]);
    }
}
