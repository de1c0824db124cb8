//! The signing keys at one moment, and which of them signs when.
//! Invariant: the time alone decides, so replicas agree without a word; whatever signs
//! was published `PUBLISHED_AHEAD` before, and stays so until its last token is dead.
//! Refuses to show a private key: no `Debug`, no accessor.

use std::{iter, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{clock::UnixMicros, token::TYPE};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::{ACCESS_LIFETIME, Error};

/// Edges read the keys again every ten minutes, services sooner, and what lies between may
/// keep an answer for five; then there is time for one failure.
pub(crate) const PUBLISHED_AHEAD: Duration = Duration::from_secs(20 * 60);
/// So long after it was signed nobody believes an access token any more: its lifetime, and
/// five minutes for clocks that differ.
pub(crate) const BELIEVED_FOR: Duration = Duration::from_secs(ACCESS_LIFETIME.as_secs() + 300);

/// So long after it died somebody may have a copy of the keys with a dead one in it: edges and
/// services use what they saved for a week, and who forges a token says himself when it ends.
pub(crate) const KEYS_BELIEVED_FOR: Duration = Duration::from_secs(8 * 24 * 3600);

/// A key pair, opened.
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    /// Counted from 1.
    pub(crate) generation: i64,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) public: Vec<u8>,
    pub(crate) signs_from: UnixMicros,
}

impl StoredKey {
    pub(crate) fn generate(generation: i64, signs_from: UnixMicros) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Error::Generate)?;
        let public = pair.public_key().as_ref().to_vec();
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| Error::Generate)?;
        Ok(Self {
            kid: thumbprint(&public),
            generation,
            pkcs8: pkcs8.as_ref().to_vec(),
            public,
            signs_from,
        })
    }
}

/// RFC 7638: the same key has the same name everywhere.
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// A key, ready to sign.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) generation: i64,
    pub(super) public: [u8; 32],
    pub(super) header: Header,
    pub(super) private: EncodingKey,
    signs_from: UnixMicros,
}

impl Key {
    fn new(stored: &StoredKey) -> Result<Self, Error> {
        let damaged = || Error::Damaged(stored.kid.clone());
        let pair = Ed25519KeyPair::from_pkcs8(&stored.pkcs8).map_err(|_| damaged())?;
        let public: [u8; 32] = stored.public.as_slice().try_into().map_err(|_| damaged())?;
        // A pair whose halves differ would sign tokens that nobody accepts.
        if pair.public_key().as_ref() != public || thumbprint(&public) != stored.kid {
            return Err(damaged());
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(stored.kid.clone());
        Ok(Self {
            kid: stored.kid.clone(),
            generation: stored.generation,
            public,
            header,
            private: EncodingKey::from_ed_der(&stored.pkcs8),
            signs_from: stored.signs_from,
        })
    }
}

/// The keys there are, the oldest first; at least one.
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// `stored`: by generation, the oldest first.
    pub(super) fn new(stored: &[StoredKey]) -> Result<Self, Error> {
        if stored.is_empty() {
            return Err(Error::None);
        }
        let keys = stored.iter().map(Key::new);
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// The newest whose time has come. Under a clock that was set back, the oldest.
    pub(super) fn signing(&self, now: UnixMicros) -> Result<&Key, Error> {
        let come = self.0.iter().rev().find(|key| key.signs_from <= now);
        come.or(self.0.first()).ok_or(Error::None)
    }

    /// The next, the current, and those whose tokens may be alive.
    pub(super) fn published(&self, now: UnixMicros) -> impl Iterator<Item = &Key> {
        let successors = self.0.iter().skip(1).map(|key| Some(key.signs_from));
        let with_successors = self.0.iter().zip(successors.chain(iter::once(None)));
        with_successors
            .filter(move |(_, next)| next.is_none_or(|from| from + BELIEVED_FOR > now))
            .map(|(key, _)| key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: UnixMicros = UnixMicros(1_800_000_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn thumbprints_follow_rfc_8037_appendix_a3() {
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&public),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn a_damaged_key_stops_the_start() {
        let key = || StoredKey::generate(1, START).unwrap();
        let mixed = StoredKey {
            public: key().public,
            ..key()
        };
        assert!(matches!(KeySet::new(&[mixed]), Err(Error::Damaged(_))));
        assert!(matches!(KeySet::new(&[]), Err(Error::None)));
    }

    /// Keys that are rotated every half hour, far more often than any: at each minute the
    /// keys there are then, made when the rotation asked for them.
    fn known(keys: &[StoredKey], now: UnixMicros) -> KeySet {
        let made =
            |key: &&StoredKey| key.generation == 1 || key.signs_from <= now + PUBLISHED_AHEAD;
        let known = keys.iter().filter(made).map(Key::new);
        KeySet(known.collect::<Result<_, _>>().unwrap())
    }

    #[test]
    fn a_token_is_believed_whoever_read_the_keys_whenever_they_were_allowed_to() {
        let every = 30 * MINUTE;
        let keys: Vec<_> = (0..6)
            .map(|n| StoredKey::generate(i64::from(n) + 1, START + every * n).unwrap())
            .collect();
        let minutes = |n: u32| START + MINUTE * n;
        let published: Vec<BTreeSet<String>> = (0..180)
            .map(|n| {
                let set = known(&keys, minutes(n));
                set.published(minutes(n))
                    .map(|key| key.kid.clone())
                    .collect()
            })
            .collect();
        let (mut checked, mut signers) = (0, BTreeSet::new());
        for signed in 0..150_u32 {
            let set = known(&keys, minutes(signed));
            let kid = set.signing(minutes(signed)).unwrap().kid.clone();
            signers.insert(kid.clone());
            // It is shown until it expires, to who read the keys up to 20 minutes before.
            for shown in signed..=signed + 10 {
                for read in shown.saturating_sub(20)..=shown {
                    let at = usize::try_from(read).unwrap();
                    assert!(published[at].contains(&kid), "{signed} {shown} {read}");
                    checked += 1;
                }
            }
        }
        assert_eq!(signers.len(), 5, "several rotations were seen");
        assert!(checked > 30_000);
        // And in the end the old ones are gone.
        assert_eq!(published[179].len(), 1);
    }

    #[test]
    fn a_clock_that_was_set_back_still_signs() {
        let set = KeySet::new(&[StoredKey::generate(1, START).unwrap()]).unwrap();
        assert!(set.signing(UnixMicros(0)).is_ok());
    }
}
