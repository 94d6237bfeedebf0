//! Media of a message: inline bytes, or a URL.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::text::Str;

/// A picture, video or file: inline in `data`, or at `url`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media<'a> {
    /// The MIME type.
    #[serde(rename = "type", borrow)]
    pub mime: Str<'a>,
    /// The inline bytes; base64 in JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "to_base64",
        deserialize_with = "from_base64"
    )]
    pub data: Option<Cow<'a, [u8]>>,
    /// The URL of the bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Str<'a>>,
    /// The number of bytes at `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Media<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Media<'static> {
        Media {
            mime: self.mime.into_owned(),
            data: self.data.map(|data| data.into_owned().into()),
            url: self.url.map(Str::into_owned),
            size: self.size,
        }
    }
}

#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn to_base64<S: Serializer>(data: &Option<Cow<'_, [u8]>>, to: S) -> Result<S::Ok, S::Error> {
    use base64::{display::Base64Display, engine::general_purpose::STANDARD};
    to.collect_str(&Base64Display::new(
        data.as_deref().unwrap_or_default(),
        &STANDARD,
    ))
}

fn from_base64<'a, 'de: 'a, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Cow<'a, [u8]>>, D::Error> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Some(text) = Option::<Str<'_>>::deserialize(from)? else {
        return Ok(None);
    };
    match STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
        Err(error) => Err(D::Error::custom(format_args!(
            "media data is not base64: {error}"
        ))),
    }
}
