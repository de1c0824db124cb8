//! The key itself: `pk_<id>_<secret>`.
//! Invariant: the database holds SHA-256(secret) only; a copy of it opens nothing. The
//! secret is 256 random bits, so a plain hash is enough.
//! Refuses a `Debug` that shows the secret.

use std::fmt;

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::error::NoRandom;

/// By which scanners of public code know it.
const START: &str = "pk_";
const SECRET_BYTES: usize = 32;

/// An API key as its holder has it.
pub(crate) struct ApiKey {
    pub(crate) id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl ApiKey {
    pub(crate) fn generate() -> Result<Self, NoRandom> {
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| NoRandom)?;
        Ok(Self {
            id: Uuid::now_v7(),
            secret,
        })
    }

    /// Might this be one?
    pub(crate) fn is_like(text: &str) -> bool {
        text.starts_with(START)
    }

    /// The one spelling that `text` writes; `None` for any other.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(START)?.split_once('_')?;
        let parsed = Self {
            id: Uuid::try_parse(id).ok()?,
            secret: URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?,
        };
        (parsed.text() == text).then_some(parsed)
    }

    pub(crate) fn text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!("{}_{secret}", prefix(self.id))
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.secret).as_ref().to_vec()
    }

    /// Does a stored hash belong to this secret? In constant time.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.hash(), stored).is_ok()
    }
}

/// How the key with this id begins: enough to know it by, and nothing of its secret.
pub(crate) fn prefix(id: Uuid) -> String {
    format!("{START}{}", id.simple())
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_hides() {
        let key = ApiKey::generate().unwrap();
        let text = key.text();
        let parsed = ApiKey::parse(&text).unwrap();
        assert_eq!(parsed.id, key.id);
        assert!(parsed.matches(&key.hash()));
        assert!(!parsed.matches(&ApiKey::generate().unwrap().hash()));
        assert!(text.starts_with(&prefix(key.id)));
        let secret = text.splitn(3, '_').nth(2).unwrap();
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn only_its_own_spelling_is_read() {
        let text = ApiKey::generate().unwrap().text();
        for wrong in [
            String::new(),
            "pk_".to_owned(),
            text.replace("pk_", "sk_"),
            text.to_uppercase(),
            format!("{text}="),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(ApiKey::parse(&wrong).is_none(), "{wrong}");
        }
    }
}
