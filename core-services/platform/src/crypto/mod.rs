//! Personal data and secrets at rest: sealed under one data key per subject,
//! which the key ring wraps.
//! Invariant: a sealed value opens only in the column and for the subject it was
//! sealed for; when a subject's data key is destroyed, so is all of it.
//! Refuses to show a key: no `Debug`, no accessor, no error holds one.

mod envelope;
mod keyring;
mod vault;
mod rewrap;

use std::path::PathBuf;

use tonic::Status;

use crate::{db, errors};

pub(crate) use envelope::Sealer;
pub use envelope::{Field, SubjectKey};
pub use keyring::{Error as KeyRingError, KeyRing};
pub use rewrap::register;
pub use vault::{SERVICE_SUBJECT, Vault};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The subject was forgotten: what was sealed for it can't be read again.
    #[error("the subject's data key was destroyed")]
    Shredded,
    /// The subject never had a data key.
    #[error("the subject has no data key")]
    NoKey,
    #[error(
        "a data key is wrapped by `{0}`, which the key ring does not have\n\
         hint: put its line back, or name the right file in CORE_KEYRING_FILE"
    )]
    UnknownKek(String),
    /// Changed, moved from another column or subject, or sealed by another key.
    #[error("the sealed value in `{0}` does not open")]
    Damaged(&'static str),
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    /// A new one would open nothing.
    #[error(
        "the key ring is gone: there is no `{}`, and the database holds {keys} data keys that it wrapped\n\
         hint: put the file back, mode 0600, or name another place with CORE_KEYRING_FILE; without it \
         what is sealed stays sealed",
        path.display()
    )]
    RingLost { path: PathBuf, keys: i64 },
    #[error("the cryptographic library failed")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            other => errors::internal(&other),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
