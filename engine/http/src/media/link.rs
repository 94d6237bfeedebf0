//! Signed links: whoever has one may read the file until the link expires.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Signs links, and checks signatures.
pub(crate) struct Links(hmac::Key);

impl Links {
    /// Makes links with a secret of the store: they are good after a restart too.
    pub(crate) fn new(secret: u128) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret.to_le_bytes()))
    }

    fn text(id: &str, expires: u64) -> String {
        format!("media:{id}:{expires}")
    }

    /// Returns the query of a link that expires at this second since 1970.
    pub(crate) fn query(&self, id: &str, expires: u64) -> String {
        let tag = hmac::sign(&self.0, Self::text(id, expires).as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(tag.as_ref());
        format!("expires={expires}&signature={signature}")
    }

    /// Returns whether a query is that of a link to this file which has not expired. `None`: the query
    /// has no signature.
    pub(crate) fn check(&self, id: &str, query: &str, now: u64) -> Option<bool> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let signature = value("signature")?;
        let expires = value("expires").and_then(|text| text.parse::<u64>().ok());
        let signature = URL_SAFE_NO_PAD.decode(signature).ok();
        let (Some(expires), Some(signature)) = (expires, signature) else {
            return Some(false);
        };
        let text = Self::text(id, expires);
        let is_ours = hmac::verify(&self.0, text.as_bytes(), &signature).is_ok();
        Some(is_ours && now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_one_file_until_it_expires() {
        let links = Links::new(7);
        let query = links.query("a", 1_000);
        assert_eq!(links.check("a", &query, 999), Some(true));
        assert_eq!(links.check("a", &query, 1_000), Some(false));
        assert_eq!(links.check("b", &query, 999), Some(false));
        let longer = query.replace("=1000", "=2000");
        assert_eq!(links.check("a", &longer, 999), Some(false));
        assert_eq!(Links::new(8).check("a", &query, 999), Some(false));
        for (query, expected) in [
            ("", None),
            ("expires=1", None),
            ("signature=", Some(false)),
            ("signature=AAAA&expires=2000", Some(false)),
            ("signature=%&expires=x", Some(false)),
        ] {
            assert_eq!(links.check("a", query, 0), expected, "{query}");
        }
    }
}
