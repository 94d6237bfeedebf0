//! What the gateway has to know of a bucket: the variables of the environment, and those of a file.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, RetryConfig};

use super::remote::Remote;
use crate::dial::Trust;

/// How the names of all variables begin.
const START: &str = "AWS_";

/// The variable with the file of certificates that vouch for the store.
const CA: &str = "AWS_CA_BUNDLE";

/// The largest file of variables.
const FILE: u64 = 64 << 10;

/// The variables, by name.
type Variables = BTreeMap<String, String>;

/// Returns a bucket as the environment and a file describe it. The file wins.
///
/// # Errors
/// Says what is missing, or wrong.
pub(super) fn bucket(bucket: &str, file: Option<&FilePath>) -> Result<AmazonS3, String> {
    let known = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        name.starts_with(START).then_some((name, value))
    };
    let mut variables: Variables = std::env::vars_os().filter_map(known).collect();
    if let Some(file) = file {
        let wrong = |why: String| format!("{}: {why}", file.display());
        let bytes = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
        if bytes.len() > FILE {
            return Err(wrong(format!("the file has more than {FILE} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        variables.extend(read(&text).map_err(wrong)?);
    }
    build(bucket, &variables)
}

/// Reads the lines of a file of variables.
///
/// # Errors
/// Names the line, and what is wrong with it.
fn read(text: &str) -> Result<Variables, String> {
    let mut found = Variables::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = number + 1;
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {number} is not of the form AWS_NAME=value"));
        };
        let name = name.trim();
        if name != CA && key(name).is_none() {
            return Err(format!(
                "line {number}: {name:?} is no variable of S3 that the gateway knows, such as \
                 AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ));
        }
        let value = value.trim();
        let bare = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        found.insert(name.to_owned(), bare.unwrap_or(value).to_owned());
    }
    Ok(found)
}

/// Returns the key of a variable that has an effect here.
fn key(name: &str) -> Option<AmazonS3ConfigKey> {
    let lower = name
        .strip_prefix(START)
        .map(|_| name.to_ascii_lowercase())?;
    let key = lower.parse().ok()?;
    match key {
        // The address of the bucket has it.
        AmazonS3ConfigKey::Bucket => None,
        // Those of another client than the one of this program.
        AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp) => Some(key),
        AmazonS3ConfigKey::Client(_) => None,
        key => Some(key),
    }
}

fn build(bucket: &str, variables: &Variables) -> Result<AmazonS3, String> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables {
        if let Some(key) = key(name) {
            builder = builder.with_config(key, value);
        }
    }
    let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or(value(AmazonS3ConfigKey::Endpoint));
    let is_plain = endpoint
        .as_ref()
        .is_some_and(|url| url.starts_with("http://"));
    if endpoint
        .as_ref()
        .is_some_and(|url| !is_plain && !url.starts_with("https://"))
    {
        return Err("AWS_ENDPOINT_URL begins with https:// or http://".to_owned());
    }
    let allows = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    if is_plain && allows.as_deref() != Some("true") {
        return Err(
            "AWS_ENDPOINT_URL begins with http://, and everybody on the way could read \
                    along: use https://, or set AWS_ALLOW_HTTP=true"
                .to_owned(),
        );
    }
    let trust = match Trust::load(variables.get(CA).map(FilePath::new), CA) {
        // Nobody may have to vouch for anything.
        Err(_) if is_plain && !variables.contains_key(CA) => None,
        trust => Some(trust?),
    };
    // The client itself tries again: without lines in the log for each time.
    let once = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    };
    let builder = builder
        .with_bucket_name(bucket)
        .with_retry(once)
        .with_http_connector(Remote::new(trust));
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Result<AmazonS3, String> {
        build("chat", &read(lines)?)
    }

    const KEYS: &str = "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY='b'\n";

    #[test]
    fn variables_of_a_file_are_read() {
        let read =
            read("# Made for chat.\n\nexport AWS_REGION = \"eu-1\"\nAWS_TOKEN=a=b\n").unwrap();
        let read: Vec<_> = read.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(read, [("AWS_REGION", "eu-1"), ("AWS_TOKEN", "a=b")]);
    }

    #[test]
    fn a_bucket_needs_what_reaches_it() {
        let plain = format!("{KEYS}AWS_ENDPOINT_URL=http://127.0.0.1:8333\n");
        of(&format!("{plain}AWS_ALLOW_HTTP=true\n")).unwrap();
        of(&format!("{KEYS}AWS_CA_BUNDLE=/nowhere/ca.pem\n")).unwrap_err();
        for (lines, word) in [
            (&*plain, "AWS_ALLOW_HTTP=true"),
            ("AWS_REGION", "line 1"),
            ("\nAWS_REGIO=a", "line 2"),
            ("AWS_BUCKET=a", "line 1"),
            ("AWS_PROXY_URL=a", "line 1"),
            ("AWS_ENDPOINT_URL=127.0.0.1:8333", "https://"),
            (
                "AWS_ENDPOINT_URL=http://a\nAWS_ALLOW_HTTP=true\nAWS_ACCESS_KEY_ID=a",
                "SecretAccessKey",
            ),
            (
                "AWS_ENDPOINT_URL=http://a\nAWS_ALLOW_HTTP=true\nAWS_SKIP_SIGNATURE=perhaps",
                "perhaps",
            ),
        ] {
            let said = of(lines).unwrap_err();
            assert!(said.contains(word), "{lines}: {said}");
        }
    }
}
