//! A file as it is served. A page has its styles and its first script in it: it is seen with the first answer.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, Bytes};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::bundle::bundle;
use super::{File, HTML, SCRIPT};

/// A file, made ready once for all requests.
pub(crate) struct Served {
    kind: &'static str,
    body: Bytes,
    tag: HeaderValue,
    /// The sources of scripts and of styles that the page may have besides those of this port: hashes of its own ones.
    scripts: String,
    styles: String,
}

impl Served {
    /// Makes a file ready. `files` are those of the port, from which a page takes its styles and scripts. `about` is what the
    /// page is told of the gateway, as JSON.
    pub(crate) fn new(file: &File, files: &[File], about: &str) -> Self {
        let (text, styles, scripts) = match file.kind {
            HTML => {
                let (text, styles) = inline(file.text, LINK, "style", files);
                let (text, scripts) = inline(&text, FIRST, "script", files);
                let about = format!(
                    "{ABOUT}content=\"{}\"",
                    about.replace('&', "&amp;").replace('"', "&quot;")
                );
                let text = text.replacen(&format!("{ABOUT}content=\"\""), &about, 1);
                let text = text.replacen(APP, WHOLE, 1);
                (text, styles, scripts)
            }
            _ => (file.text.to_owned(), String::new(), String::new()),
        };
        Self::ready(file.kind, text, styles, scripts)
    }

    /// Makes the whole program of a page ready, whose first module is at `path`.
    pub(crate) fn program(path: &str, files: &[File]) -> Self {
        Self::ready(SCRIPT, bundle(path, files), String::new(), String::new())
    }

    fn ready(kind: &'static str, text: String, styles: String, scripts: String) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let hex = hash.as_ref().iter().take(16);
        let hex: String = hex.map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::try_from(format!("\"{hex}\""));
        Self {
            kind,
            body: Bytes::from(text),
            tag: tag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
            scripts,
            styles,
        }
    }

    /// Returns the answer to a request. `places` are those that the page may connect to besides this port.
    pub(crate) fn answer(&self, asked: &HeaderMap, places: &str) -> Response {
        let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| {
            let known = known.to_str().unwrap_or_default().split(',');
            { known }
                .any(|one| one.trim().trim_start_matches("W/").as_bytes() == self.tag.as_bytes())
        });
        let mut response = match is_known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(self.body.clone())),
        };
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let fixed = |value: &'static str| HeaderValue::from_static(value);
        let headers: [(HeaderName, HeaderValue); 7] = [
            (header::CONTENT_TYPE, fixed(self.kind)),
            (header::ETAG, self.tag.clone()),
            // The next version of the gateway has other files.
            (header::CACHE_CONTROL, fixed("no-cache")),
            (header::CONTENT_SECURITY_POLICY, self.policy(places)),
            (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (header::REFERRER_POLICY, fixed("no-referrer")),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                fixed("same-origin"),
            ),
        ];
        response.headers_mut().extend(headers);
        response
    }

    /// Returns what the page may load and do.
    fn policy(&self, places: &str) -> HeaderValue {
        let Self {
            scripts, styles, ..
        } = self;
        let policy = format!(
            "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; \
             img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; connect-src 'self'{places}"
        );
        // Hashes, and a host that was parsed, are always valid in a header.
        let strict = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        HeaderValue::try_from(policy).unwrap_or(strict)
    }
}

/// Where a page says that it has a style, a first script, and what it is told of the gateway.
const LINK: [&str; 2] = ["<link rel=\"stylesheet\" href=\"", "\">"];
const FIRST: [&str; 2] = ["<script src=\"", "\"></script>"];
/// Where a page names the first module of its program, and what it names in its place: all of them.
const APP: &str = "/app.js\"></script>";
const WHOLE: &str = "/all.js\"></script>";
const ABOUT: &str = "<meta name=\"gateway\" ";

/// Puts files into the places that name them, as elements of a kind. Returns the page, and the hashes of what it has now.
fn inline(page: &str, [begin, end]: [&str; 2], element: &str, files: &[File]) -> (String, String) {
    let mut parts = page.split(begin);
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut hashes = String::new();
    for part in parts {
        let found = part.split_once(end).and_then(|(path, rest)| {
            let file = files.iter().find(|file| file.path == path)?;
            Some((file.text, rest))
        });
        match found {
            Some((source, rest)) => {
                text += &format!("<{element}>{source}</{element}>{rest}");
                let hash = STANDARD.encode(digest(&SHA256, source.as_bytes()));
                hashes += &format!(" 'sha256-{hash}'");
            }
            None => {
                text += begin;
                text += part;
            }
        }
    }
    (text, hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{CHAT, CONSOLE};

    fn served(path: &str, about: &str) -> Served {
        let file = CHAT.iter().find(|file| file.path == path).unwrap();
        Served::new(file, CHAT, about)
    }

    /// Returns the text of each element of a kind without attributes.
    fn elements<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
        let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
        let parts = page.split(&*begin).skip(1);
        parts
            .map(|part| part.split(&*end).next().unwrap())
            .collect()
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        for path in ["/", "/chat/app.js"] {
            let file = served(path, "{}");
            let first = file.answer(&HeaderMap::new(), "");
            assert_eq!(first.status(), StatusCode::OK);
            let mut asked = HeaderMap::new();
            asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
            assert_eq!(file.answer(&asked, "").status(), StatusCode::NOT_MODIFIED);
            asked.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
            assert_eq!(file.answer(&asked, "").status(), StatusCode::OK);
        }
    }

    #[test]
    fn a_page_has_its_styles_and_first_scripts_and_may_have_no_others() {
        for files in [CHAT, CONSOLE] {
            let page = Served::new(&files[0], files, "{}");
            let text = std::str::from_utf8(&page.body).unwrap();
            assert!(!text.contains("rel=\"stylesheet\""), "{}", files[0].path);
            assert!(!text.contains("<script src="), "{}", files[0].path);
            let policy = page.policy("");
            let policy = policy.to_str().unwrap();
            let mut count = 0;
            for (name, rule) in [("style", "style-src"), ("script", "script-src")] {
                let sources = policy
                    .split("; ")
                    .find(|part| part.starts_with(rule))
                    .unwrap();
                let wanted = elements(text, name);
                for element in &wanted {
                    let hash = STANDARD.encode(digest(&SHA256, element.as_bytes()));
                    assert!(sources.contains(&format!("'sha256-{hash}'")), "{sources}");
                }
                assert_eq!(sources.matches("sha256-").count(), wanted.len());
                count += wanted.len();
            }
            assert!(count >= 2, "{}", files[0].path);
        }
    }

    #[test]
    fn a_page_is_told_of_the_gateway() {
        let page = served("/", r#"{"port":7700,"version":"1 & 2"}"#);
        let text = std::str::from_utf8(&page.body).unwrap();
        let told = r#"<meta name="gateway" content="{&quot;port&quot;:7700,&quot;version&quot;:&quot;1 &amp; 2&quot;}">"#;
        assert!(text.contains(told));
        assert_ne!(page.tag, served("/", "{}").tag);
    }
}
