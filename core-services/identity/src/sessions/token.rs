//! The refresh token: `<id>.<secret>`.
//! Invariant: the database holds SHA-256(secret) only; a copy of it opens no
//! session. The secret is 256 bits that look random, so a plain hash is enough.
//! Refuses a `Debug` that shows the secret.

use std::fmt;

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::crypto::Vault;
use uuid::Uuid;

use crate::error::NoRandom;

const SECRET_BYTES: usize = 32;

/// A refresh token as its holder has it.
pub(crate) struct RefreshToken {
    pub(crate) id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl RefreshToken {
    pub(crate) fn generate() -> Result<Self, NoRandom> {
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| NoRandom)?;
        Ok(Self {
            id: Uuid::now_v7(),
            secret,
        })
    }

    /// What this token is traded for: the same secret each time, so that an answer that
    /// was lost can be given again although it is stored nowhere. Without the vault's
    /// key neither the parent nor the database tells it.
    pub(crate) fn successor(&self, id: Uuid, vault: &Vault) -> Result<Self, NoRandom> {
        let derived = vault.blind_index("refresh_token", &format!("{}:{id}", self.text()));
        Ok(Self {
            id,
            secret: derived.try_into().map_err(|_| NoRandom)?,
        })
    }

    /// The one spelling that `text` writes; `None` for any other.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let parsed = Self {
            id: Uuid::try_parse(id).ok()?,
            secret: URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?,
        };
        (parsed.text() == text).then_some(parsed)
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "{}.{}",
            self.id.simple(),
            URL_SAFE_NO_PAD.encode(self.secret)
        )
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.secret).as_ref().to_vec()
    }

    /// Does a stored hash belong to this secret? In constant time.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.hash(), stored).is_ok()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_hides() {
        let token = RefreshToken::generate().unwrap();
        let parsed = RefreshToken::parse(&token.text()).unwrap();
        assert_eq!(parsed.id, token.id);
        assert!(parsed.matches(&token.hash()));
        assert!(!parsed.matches(&RefreshToken::generate().unwrap().hash()));
        assert!(!parsed.matches(&[]));
        let secret = token.text().split_once('.').unwrap().1.to_owned();
        assert!(!format!("{token:?}").contains(&secret));
    }

    #[test]
    fn only_the_canonical_spelling_parses() {
        let token = RefreshToken::generate().unwrap();
        let text = token.text();
        let (id, secret) = text.split_once('.').unwrap();
        for wrong in [
            String::new(),
            ".".to_owned(),
            id.to_owned(),
            format!("{id}."),
            format!(".{secret}"),
            format!("{}.{secret}", token.id.hyphenated()),
            format!("{}.{secret}", id.to_uppercase()),
            format!("{id}.{secret}="),
            format!("{id}.{secret}A"),
            format!("{id}.{}", &secret[1..]),
            format!("{text}.x"),
            format!(" {text}"),
        ] {
            assert!(
                RefreshToken::parse(&wrong).is_none() || wrong == text,
                "{wrong}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_is_what_was_written(text in "[0-9a-f]{30,34}\\.[A-Za-z0-9_-]{42,44}|\\PC{0,120}") {
            if let Some(token) = RefreshToken::parse(&text) {
                proptest::prop_assert_eq!(token.text(), text);
            }
        }
    }
}
