//! The secret that signs requests to back ends, by the Standard Webhooks specification.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The beginning of a secret as text.
const PREFIX: &str = "whsec_";

/// The shortest and the longest secret in bytes, as the specification has it.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How to make a secret, for errors.
const HOW: &str = "make one with: printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\"";

/// A secret that signs requests. It is never shown.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads the file of a secret: `whsec_` and base64, on a line of its own.
    ///
    /// # Errors
    /// Says what is wrong with the file, without showing the secret.
    pub fn load(file: &Path) -> Result<Self, String> {
        /// More than the longest secret as text.
        const MOST: u64 = 4 << 10;
        let refused = |why: String| format!("the secret {}: {why}", file.display());
        let length = std::fs::metadata(file)
            .map_err(|error| refused(format!("{error}: {HOW} > {}", file.display())))?
            .len();
        if length > MOST {
            return Err(refused(format!("the file is too long: {HOW}")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        Self::parse(text.trim()).map_err(|why| refused(why.to_owned() + ": " + HOW))
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// Says what is wrong, without showing the secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or("it does not begin with whsec_")?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| "what follows whsec_ is not base64")?;
        if !BYTES.contains(&bytes.len()) {
            return Err("it has not from 24 to 64 bytes");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Returns the signature of a request, as the header has it. `seconds` is the time since 1970.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(id.as_bytes());
        context.update(b".");
        context.update(seconds.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn signs_as_the_specification_does() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_not_shown() {
        for (text, word) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_%%%", "base64"),
            ("whsec_c2hvcnQ=", "24"),
        ] {
            let said = Secret::parse(text).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let said = Secret::load(&file).unwrap_err();
        assert!(said.contains("openssl rand"), "{said}");
        std::fs::write(&file, "whsec_hunter2hunter2%\n").unwrap();
        let said = Secret::load(&file).unwrap_err();
        assert!(
            !said.contains("hunter2") && said.contains("base64"),
            "{said}"
        );
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let secret = Secret::load(&file).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
