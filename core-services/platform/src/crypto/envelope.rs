//! AES-256-GCM, as it is used here: a version, a random nonce, the ciphertext.
//! Invariant: what a value is bound to (column and subject, or key and subject)
//! is authenticated with it, each part with its length, so that no two bindings
//! read the same.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, keyring::KEY_BYTES};

/// The first byte of everything sealed. Random nonces of 96 bits are safe for
/// 2^32 values under one key (NIST SP 800-38D section 8.3); a subject has far fewer.
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// A data key in clear, for as long as it takes to make a cipher of it.
pub(super) type RawKey = Zeroizing<[u8; KEY_BYTES]>;

/// The column a value is sealed for, such as `contacts.value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(&'static str);

impl Field {
    /// `name`: `table.column`. It never changes: values are bound to it.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
}

/// Seals and opens what belongs to one subject; clones share the cipher, which
/// aws-lc wipes when the last one goes.
#[derive(Clone)]
pub struct SubjectKey {
    subject: Uuid,
    cipher: Arc<LessSafeKey>,
}

impl SubjectKey {
    pub(super) fn new(subject: Uuid, raw: &RawKey) -> Result<Self, Error> {
        Ok(Self {
            subject,
            cipher: Arc::new(cipher(raw.as_ref())?),
        })
    }

    pub fn subject(&self) -> Uuid {
        self.subject
    }

    /// # Errors
    /// Only if the library has no random bytes.
    pub fn seal(&self, field: Field, plain: &[u8]) -> Result<Vec<u8>, Error> {
        seal(&self.cipher, &self.bound(field), plain)
    }

    /// # Errors
    /// [`Error::Damaged`] for a value that was changed, or moved here from another
    /// column or subject.
    pub fn open(&self, field: Field, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        open(&self.cipher, &self.bound(field), sealed).ok_or(Error::Damaged(field.0))
    }

    /// [`SubjectKey::open`] of what was text.
    ///
    /// # Errors
    /// As there, and for bytes that are no text.
    pub fn open_text(&self, field: Field, sealed: &[u8]) -> Result<String, Error> {
        String::from_utf8(self.open(field, sealed)?).map_err(|_| Error::Damaged(field.0))
    }

    fn bound(&self, field: Field) -> Vec<u8> {
        binding("field", field.0, self.subject)
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubjectKey").field(&self.subject).finish()
    }
}

/// Seals what is bound to a name instead of a subject, such as a cache's key.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    pub(super) fn new(raw: &RawKey) -> Result<Self, Error> {
        Ok(Self(cipher(raw.as_ref())?))
    }

    pub(crate) fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        seal(&self.0, name.as_bytes(), plain)
    }

    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.0, name.as_bytes(), sealed)
    }
}

/// A new data key.
pub(super) fn generate() -> Result<RawKey, Error> {
    let mut raw = RawKey::default();
    rand::fill(raw.as_mut())?;
    Ok(raw)
}

pub(super) fn wrap(
    (kek_id, kek): (&str, &LessSafeKey),
    subject: Uuid,
    raw: &RawKey,
) -> Result<Vec<u8>, Error> {
    seal(kek, &binding("key", kek_id, subject), raw.as_ref())
}

pub(super) fn unwrap(
    (kek_id, kek): (&str, &LessSafeKey),
    subject: Uuid,
    wrapped: &[u8],
) -> Result<RawKey, Error> {
    let damaged = || Error::Damaged("data_keys.wrapped");
    let raw = open(kek, &binding("key", kek_id, subject), wrapped).ok_or_else(damaged)?;
    let raw = Zeroizing::new(raw);
    let raw = raw.as_slice().try_into().map_err(|_| damaged())?;
    Ok(Zeroizing::new(raw))
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, Error> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

/// Authenticated with the value, stored nowhere.
fn binding(kind: &str, name: &str, subject: Uuid) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(kind.len() + name.len() + 32);
    for part in [kind.as_bytes(), name.as_bytes(), subject.as_bytes()] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// version (1) | nonce (12) | ciphertext | tag (16)
fn seal(key: &LessSafeKey, bound: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce)?;
    let mut text = Vec::with_capacity(plain.len() + TAG_BYTES);
    text.extend(plain);
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_used, Aad::from(bound), &mut text)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
    sealed.push(VERSION);
    sealed.extend(nonce);
    sealed.extend(text);
    Ok(sealed)
}

fn open(key: &LessSafeKey, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (&VERSION, rest) = sealed.split_first()? else {
        return None;
    };
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut text = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key.open_in_place(nonce, Aad::from(bound), &mut text).ok()?;
    let length = plain.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: Field = Field::new("contacts.value");

    fn key(subject: Uuid) -> SubjectKey {
        SubjectKey::new(subject, &Zeroizing::new([7; KEY_BYTES])).unwrap()
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let key = key(Uuid::from_u128(1));
        let sealed = key.seal(MAIL, b"a@example.org").unwrap();
        assert_eq!(key.open_text(MAIL, &sealed).unwrap(), "a@example.org");
        assert_ne!(sealed, key.seal(MAIL, b"a@example.org").unwrap());
        let elsewhere = Field::new("profiles.name");
        assert!(matches!(
            key.open(elsewhere, &sealed),
            Err(Error::Damaged("profiles.name"))
        ));
        // The same data key for another subject: the binding alone keeps them apart.
        let other = super::tests::key(Uuid::from_u128(2));
        assert!(other.open(MAIL, &sealed).is_err());
    }

    #[test]
    fn bindings_do_not_run_into_each_other() {
        let subject = Uuid::nil();
        assert_ne!(
            binding("field", "a.b", subject),
            binding("fielda", ".b", subject)
        );
        assert_ne!(binding("field", "k", subject), binding("key", "k", subject));
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_found(plain: Vec<u8>, at: usize, bit in 0..8u8) {
            let key = key(Uuid::nil());
            let mut sealed = key.seal(MAIL, &plain).unwrap();
            proptest::prop_assert_eq!(&key.open(MAIL, &sealed).unwrap(), &plain);
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            proptest::prop_assert!(key.open(MAIL, &sealed).is_err());
            proptest::prop_assert!(key.open(MAIL, &sealed[..at]).is_err());
        }

        #[test]
        fn junk_does_not_panic(junk: Vec<u8>) {
            proptest::prop_assert!(key(Uuid::nil()).open(MAIL, &junk).is_err());
        }
    }
}
