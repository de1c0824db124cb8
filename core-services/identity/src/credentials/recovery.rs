//! Recovery codes: what opens an account whose authenticator is lost.
//! Invariant: ten codes of 80 random bits; the database holds SHA-256 of each, which nobody
//! can turn back; each works once and is shown once.

use aws_lc_rs::digest::{SHA256, digest};
use core_platform::{clock::UnixMicros, db::Tx, token::Caller};
use uuid::Uuid;

use super::{Change, Credentials, active_totp};
use crate::{
    contacts::{ALPHABET, plain, random},
    error::Error,
    facts::About,
    origin::Origin,
    store::{credentials as rows, recovery_codes, users},
};

const CODES: usize = 10;
/// Of 32 letters: 80 bits.
const CODE_CHARS: usize = 16;
/// As people read them aloud.
const GROUP_CHARS: usize = 4;

/// As events and mails call them.
pub(super) const NAME: &str = "recovery_codes";

impl Credentials {
    /// New codes in the place of the old ones.
    ///
    /// # Errors
    /// [`Error::NoTotp`] where there is nothing to recover from, [`Error::SessionEnded`],
    /// or the database.
    pub(crate) async fn regenerate_recovery_codes(
        &self,
        caller: &Caller,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Vec<String>, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        users::lock(&mut tx, user).await?;
        let found = rows::of_user(&mut tx, user).await?;
        if active_totp(&found).is_none() {
            return Err(Error::NoTotp);
        }
        let codes = replace(&mut tx, user, now).await?;
        let about = About::by(user).at(origin);
        self.tell(&mut tx, NAME, Change::Added, &about, now).await?;
        tx.commit().await?;
        Ok(codes)
    }
}

/// Makes codes; returns them as they are shown.
pub(super) async fn replace(
    tx: &mut Tx,
    user: Uuid,
    now: UnixMicros,
) -> Result<Vec<String>, Error> {
    let mut codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        codes.push(random(CODE_CHARS, ALPHABET)?);
    }
    let hashes: Vec<_> = codes.iter().map(|code| hash(code)).collect();
    recovery_codes::replace(tx, user, &hashes, now).await?;
    Ok(codes.iter().map(|code| shown(code)).collect())
}

/// Uses a code up. False if it is none, or was used.
pub(super) async fn spend(
    tx: &mut Tx,
    user: Uuid,
    code: &str,
    now: UnixMicros,
) -> Result<bool, Error> {
    Ok(recovery_codes::spend(tx, user, &hash(code), now).await?)
}

fn hash(code: &str) -> Vec<u8> {
    digest(&SHA256, plain(code).as_bytes()).as_ref().to_vec()
}

fn shown(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let groups = letters.chunks(GROUP_CHARS).map(String::from_iter);
    groups.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_shown() {
        let code = random(CODE_CHARS, ALPHABET).unwrap();
        let shown = shown(&code);
        assert_eq!(shown.len(), CODE_CHARS + 3);
        assert_eq!(hash(&shown), hash(&code));
        assert_eq!(hash(&shown.to_lowercase()), hash(&code));
        assert_ne!(hash(&random(CODE_CHARS, ALPHABET).unwrap()), hash(&code));
    }
}
