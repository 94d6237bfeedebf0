//! The forms of setting values: how each is read, and how it is written into a file.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time;

use toml::Value;
use trunkline_gateway::auth::TokenAlgorithm;

use super::LogFormat;
use super::origins::AllowedOrigins;
use super::suggest;
use super::units::{ByteSize, Durability, Duration, Life};
use super::weights::NamespaceWeights;
use super::written::{Written, quoted};

/// A form of setting values, such as a size or an address.
pub(super) trait Form: Sized + Clone {
    /// The placeholder of the value in the help, such as `SIZE` in `--flag SIZE`.
    const VALUE: &'static str;
    /// The description of a value in an error, with an example.
    const WORDS: &'static str;
    /// The description of a value in a file, if a file needs another form than a flag.
    const IN_FILE: &'static str = Self::WORDS;

    /// Reads text that is not empty.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads a value; `folder` is where relative paths begin.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        read_text(written, Self::IN_FILE)
    }

    /// Returns the value as a file has it.
    fn to_value(&self) -> Value;

    /// Returns the number that is compared with the range of a setting; `None` if the form has no
    /// ranges.
    fn measure(&self) -> Option<u128> {
        None
    }
}

/// Reads a value that is text; `words` describe it for an error.
fn read_text<T: Form>(written: &Written, words: &str) -> Result<T, String> {
    match written {
        Written::Word(word) => match word.to_str() {
            Some(text) => filled(text).and_then(T::parse),
            None => Err(format!("{} is not UTF-8", written.shown())),
        },
        Written::Text(text) => filled(text).and_then(T::parse),
        other => Err(must_be(other, words)),
    }
}

/// Refuses an empty text.
pub(super) fn filled(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("the value is empty: give one, or leave the setting out".to_owned());
    }
    Ok(text)
}

/// Returns the error for a value that is of another form.
pub(super) fn must_be(written: &Written, words: &str) -> String {
    format!("{} is not {words}", written.shown())
}

/// Whole numbers: without quotes in a file.
macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Form for $number {
            const VALUE: &'static str = "N";
            const WORDS: &'static str = "a whole number, such as 4";
            const IN_FILE: &'static str = "a whole number without quotes, such as 4";

            fn parse(text: &str) -> Result<Self, String> {
                let digits = text.replace('_', "");
                let number: i128 = digits
                    .parse()
                    .map_err(|_| format!("{} is not {}", quoted(text), Self::WORDS))?;
                Self::try_from(number).map_err(|_| {
                    if number < 0 {
                        format!("{number} is negative: the least is 0")
                    } else {
                        format!("{number} is too large: at most {}", Self::MAX)
                    }
                })
            }

            fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
                match written {
                    Written::Word(word) => {
                        let text = word.to_str().ok_or_else(|| must_be(written, Self::WORDS))?;
                        filled(text).and_then(Self::parse)
                    }
                    Written::Whole(digits) => Self::parse(digits),
                    other => Err(must_be(other, Self::IN_FILE)),
                }
            }

            fn to_value(&self) -> Value {
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn measure(&self) -> Option<u128> {
                u128::try_from(*self).ok()
            }
        }
    )*};
}
whole_numbers!(usize, u32, u16, u8);

impl Form for bool {
    const VALUE: &'static str = "BOOL";
    const WORDS: &'static str = "true or false";
    const IN_FILE: &'static str = "true or false without quotes";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{} is not {}", quoted(text), Self::WORDS))
    }

    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        match written {
            Written::Word(word) => {
                let text = word.to_str().ok_or_else(|| must_be(written, Self::WORDS))?;
                filled(text).and_then(Self::parse)
            }
            Written::Switch(switch) => Ok(*switch),
            other => Err(must_be(other, Self::IN_FILE)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }
}

/// Implements [`Form`] for types that are written as text.
macro_rules! texts {
    ($($form:ty, $value:literal, $words:literal, $measure:expr;)*) => {$(
        impl Form for $form {
            const VALUE: &'static str = $value;
            const WORDS: &'static str = $words;
            const IN_FILE: &'static str = concat!($words, ", in quotes");

            fn parse(text: &str) -> Result<Self, String> {
                text.parse()
            }

            fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
                match written {
                    // It lacks what a flag would lack, and the quotes.
                    Written::Whole(digits) => Err(match Self::parse(digits) {
                        Ok(_) => must_be(written, Self::IN_FILE),
                        Err(problem) => format!("{problem}, in quotes"),
                    }),
                    written => read_text(written, Self::IN_FILE),
                }
            }

            fn to_value(&self) -> Value {
                Value::String(self.to_string())
            }

            fn measure(&self) -> Option<u128> {
                let measure: fn(&Self) -> Option<u128> = $measure;
                measure(self)
            }
        }
    )*};
}
texts! {
    ByteSize, "SIZE", "a size with its unit, such as 64KiB", |size| Some(size.0.into());
    Duration, "TIME", "a time with its unit, such as 10s", |time| Some(time.0.as_millis());
    Life, "TIME|keep", "a time with its unit, such as 30d, or keep",
        |life| Some(life.0.unwrap_or(time::Duration::MAX).as_millis());
    Durability, "LEVEL", "sync, os or interval:<ms>", |_| None;
}

/// An address to listen on. A name stands for one of the addresses that it resolves to: the first of
/// IPv4, or else the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Default for Address {
    /// Returns loopback with any free port.
    fn default() -> Self {
        Self(([127, 0, 0, 1], 0).into())
    }
}

/// The address of a port that can be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionalAddress(pub(crate) Option<SocketAddr>);

impl Form for OptionalAddress {
    const VALUE: &'static str = "ADDR|off";
    const WORDS: &'static str = "an address with a port, such as 127.0.0.1:7702, or off";
    const IN_FILE: &'static str =
        "an address with a port, such as 127.0.0.1:7702, or off, in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            text => Address::parse(text).map(|address| Self(Some(address.0))),
        }
    }

    fn to_value(&self) -> Value {
        let text = self.0.map(|address| address.to_string());
        Value::String(text.unwrap_or_else(|| "off".to_owned()))
    }
}

impl Form for Address {
    const VALUE: &'static str = "ADDR";
    const WORDS: &'static str = "an address with a port, such as 127.0.0.1:7700 or localhost:7700";
    const IN_FILE: &'static str =
        "an address with a port, such as 127.0.0.1:7700 or localhost:7700, in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let host_and_port = text.rsplit_once(':').filter(|(host, port)| {
            // Colons in a name are of an IPv6 address without brackets.
            !host.is_empty() && !host.contains([':', '/', '[']) && port.parse::<u16>().is_ok()
        });
        if host_and_port.is_none() {
            return Err(format!("{} is not {}", quoted(text), Self::WORDS));
        }
        let unresolved = |why: String| {
            format!(
                "cannot resolve {}: {why}: check the name, or give an IP address such as 127.0.0.1:7700",
                quoted(text)
            )
        };
        let found = text
            .to_socket_addrs()
            .map_err(|error| unresolved(error.to_string()))?;
        let found: Vec<_> = found.collect();
        let chosen = found.iter().find(|address| address.is_ipv4());
        let chosen = chosen.or(found.first());
        chosen
            .map(|address| Self(*address))
            .ok_or_else(|| unresolved("the name has no address".to_owned()))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// The path of a file or a folder. A relative path in a file of settings begins at the folder of
/// that file. In a flag or an environment variable it begins at the working directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Form for FilePath {
    const VALUE: &'static str = "FILE";
    const WORDS: &'static str = "a path";
    const IN_FILE: &'static str = "a path in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.into()))
    }

    fn read(written: &Written, folder: &Path) -> Result<Self, String> {
        match written {
            Written::Word(word) if word.is_empty() => filled("").and_then(Self::parse),
            Written::Word(word) => Ok(Self(word.into())),
            Written::Text(text) => Ok(Self(folder.join(filled(text)?))),
            other => Err(must_be(other, Self::IN_FILE)),
        }
    }

    /// Returns the absolute path, so that the printed file of settings works in any folder.
    fn to_value(&self) -> Value {
        let path = std::path::absolute(&self.0);
        let path = path.as_ref().unwrap_or(&self.0);
        Value::String(path.to_string_lossy().into_owned())
    }
}

/// A text that is compared with a claim of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Form for Text {
    const VALUE: &'static str = "TEXT";
    const WORDS: &'static str = "text";
    const IN_FILE: &'static str = "text in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// A filter of log lines, in the syntax of `tracing_subscriber`'s `EnvFilter`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogFilter(pub(crate) String);

impl Form for LogFilter {
    const VALUE: &'static str = "FILTER";
    const WORDS: &'static str = "a filter, such as info or trunkline=debug,info";
    const IN_FILE: &'static str = "a filter in quotes, such as info or trunkline=debug,info";

    fn parse(text: &str) -> Result<Self, String> {
        if crate::log_filter::parse(text).is_err() {
            return Err(format!("{} is not {}", quoted(text), Self::WORDS));
        }
        Ok(Self(text.to_owned()))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Returns the value of a word. The error lists the known words.
pub(super) fn one_of<T: Copy>(text: &str, known: &[(&'static str, T)]) -> Result<T, String> {
    let chosen = known.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let hint = suggest::hint(text, &names);
        format!("{} is not one of {}{hint}", quoted(text), names.join(", "))
    })
}

impl Form for TokenAlgorithm {
    const VALUE: &'static str = "NAME";
    const WORDS: &'static str = "HS256, RS256, ES256 or EdDSA";
    const IN_FILE: &'static str = "HS256, RS256, ES256 or EdDSA in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        one_of(
            text,
            &Self::ALL.map(|algorithm| (algorithm.name(), algorithm)),
        )
    }

    fn to_value(&self) -> Value {
        Value::String(self.name().to_owned())
    }
}

impl Form for LogFormat {
    const VALUE: &'static str = "FORMAT";
    const WORDS: &'static str = "text or json";
    const IN_FILE: &'static str = "text or json in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, &[("text", Self::Text), ("json", Self::Json)])
    }

    fn to_value(&self) -> Value {
        let name = match self {
            Self::Text => "text",
            Self::Json => "json",
        };
        Value::String(name.to_owned())
    }
}

/// Reads a list of texts: one text with commas, or an array of texts.
///
/// # Errors
/// The value has another form, or `parse` or `of` refuses the texts.
pub(super) fn read_list<T: Form>(
    written: &Written,
    parse: impl Fn(&str) -> Result<T, String>,
    of: impl FnOnce(Vec<&str>) -> Result<T, String>,
) -> Result<T, String> {
    match written {
        Written::Word(word) => {
            let text = word.to_str().ok_or_else(|| must_be(written, T::WORDS))?;
            parse(text)
        }
        Written::Text(text) => parse(text),
        Written::List(list) => of(list.iter().map(String::as_str).collect()),
        other => Err(must_be(other, T::IN_FILE)),
    }
}

impl Form for AllowedOrigins {
    const VALUE: &'static str = "LIST";
    const WORDS: &'static str = "a list of origins, such as https://chat.example.com";
    const IN_FILE: &'static str =
        "a list of origins: text in quotes with commas between them, or an array of texts";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    /// Reads a list, which may be empty: then only pages of the gateway's own host may connect.
    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        read_list(written, Self::parse, |list| Self::of(list.into_iter()))
    }

    fn to_value(&self) -> Value {
        let list = Vec::<String>::from(self.clone());
        Value::Array(list.into_iter().map(Value::String).collect())
    }
}

impl Form for NamespaceWeights {
    const VALUE: &'static str = "WEIGHTS";
    const WORDS: &'static str = "a list of namespaces with weights, such as acme=4";
    const IN_FILE: &'static str = "a list of namespaces with weights, such as acme=4: text in quotes \
                                   with commas between them, or an array of texts";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        let parse = |text: &str| filled(text).and_then(Self::parse);
        read_list(written, parse, |list| Self::of(list.into_iter()))
    }

    fn to_value(&self) -> Value {
        let list = Vec::<String>::from(self.clone());
        Value::Array(list.into_iter().map(Value::String).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Form>(written: Written) -> Result<T, String> {
        T::read(&written, Path::new("/etc/trunkline"))
    }

    fn word(text: &str) -> Written {
        Written::Word(text.into())
    }

    #[test]
    fn addresses_may_be_names() {
        let local: Address = read(word("localhost:7700")).unwrap();
        assert!(local.0.ip().is_loopback() && local.0.port() == 7700);
        let address: Address = read(Written::Text("[::1]:0".into())).unwrap();
        assert_eq!(address.0.to_string(), "[::1]:0");
        for bad in [
            "localhost",
            "7700",
            ":7700",
            "localhost:http",
            "::1:7700",
            "localhost:70000",
        ] {
            let error = read::<Address>(word(bad)).unwrap_err();
            assert!(error.contains("such as 127.0.0.1:7700"), "{bad}: {error}");
        }
        let error = read::<Address>(word("no.such.name.invalid:1")).unwrap_err();
        assert!(
            error.contains("cannot resolve 'no.such.name.invalid:1'"),
            "{error}"
        );
    }

    #[test]
    fn relative_paths_of_a_file_begin_at_the_file() {
        let of_file = |text: &str| read::<FilePath>(Written::Text(text.into())).unwrap().0;
        assert_eq!(of_file("cert.pem"), Path::new("/etc/trunkline/cert.pem"));
        assert_eq!(of_file("/srv/cert.pem"), Path::new("/srv/cert.pem"));
        let of_flag: FilePath = read(word("cert.pem")).unwrap();
        assert_eq!(of_flag.0, Path::new("cert.pem"));
        let shown = of_flag.to_value();
        assert!(Path::new(shown.as_str().unwrap()).is_absolute());
    }

    #[test]
    fn errors_say_what_is_wanted_in_words() {
        fn check<T: Form + std::fmt::Debug>(written: Written, words: &str) {
            let error = read::<T>(written).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        check::<usize>(word("many"), "'many' is not a whole number");
        check::<usize>(Written::Text("4".into()), "without quotes");
        check::<usize>(word("-1"), "negative");
        check::<u16>(word("70000"), "at most 65535");
        check::<u8>(word(""), "empty");
        check::<bool>(word("yes"), "true or false");
        check::<bool>(Written::Text("true".into()), "without quotes");
        check::<ByteSize>(
            Written::Whole("4".into()),
            "'4' needs a unit, one of B, KB, KiB, MB, MiB, GB, GiB, TB, TiB, such as 4KiB, in quotes",
        );
        check::<Duration>(Written::Switch(true), "a time with its unit");
        check::<Duration>(word("10"), "unit");
        check::<TokenAlgorithm>(word("HS265"), "did you mean HS256?");
        check::<LogFormat>(word("jsn"), "did you mean json?");
        check::<LogFilter>(word("a=b=c"), "filter");
        check::<FilePath>(word(""), "empty");
        check::<FilePath>(Written::Text(String::new()), "empty");
        check::<Text>(Written::Text(String::new()), "empty");
        check::<AllowedOrigins>(Written::Whole("1".into()), "array of texts");
    }
}
