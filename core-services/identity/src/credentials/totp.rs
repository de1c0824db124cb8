//! Codes from an authenticator (RFC 6238): SHA-1, 30 s, six digits, as all of them can.
//! Invariant: a secret counts once a code of it was given back; a time step works once, and
//! no step before it works any more.
//! Refuses to show a secret twice.

use aws_lc_rs::rand;
use core_platform::{clock::UnixMicros, crypto::SubjectKey, db::Tx, token::Caller};
use totp_rs::{Builder, Totp};
use uuid::Uuid;

use super::{Change, ContactKind, Credentials, Kind, NAME, SECRET, active_totp};
use crate::{
    error::{Error, NoRandom},
    facts::About,
    origin::Origin,
    sessions::Reason,
    store::{
        credentials::{self as rows, CredentialRow, NewRow},
        users,
    },
};

/// As long as the hash (RFC 4226 section 4, requirement 6).
const SECRET_BYTES: usize = 20;

/// A secret for an authenticator. No `Debug`.
pub(crate) struct Enrolled {
    /// To be typed.
    pub(crate) secret: String,
    /// To be shown as a QR code.
    pub(crate) uri: String,
}

impl Credentials {
    /// A new secret, which does not count yet; the one before it is forgotten.
    ///
    /// # Errors
    /// [`Error::TotpActive`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn enroll_totp(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Enrolled, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        users::lock(&mut tx, user).await?;
        if active_totp(&rows::of_user(&mut tx, user).await?).is_some() {
            return Err(Error::TotpActive);
        }
        rows::delete_kind(&mut tx, user, Kind::Totp.name()).await?;
        let key = self.vault.key(&mut tx, user).await?;
        let mut secret = vec![0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| NoRandom)?;
        let row = NewRow {
            id: Uuid::now_v7(),
            user,
            kind: Kind::Totp.name(),
            name: &key.seal(NAME, b"")?,
            provider: "",
            secret: Some(key.seal(SECRET, &secret)?),
            lookup: None,
            confirmed_at: None,
        };
        rows::insert(&mut tx, &row, now).await?;
        let email = self.contact(&mut tx, &key, ContactKind::Email).await?;
        tx.commit().await?;

        let account = email.map_or_else(|| user.to_string(), |(email, _)| email.value);
        // A colon parts the site from the account.
        let account = account.replace(':', "");
        let totp = Builder::new()
            .with_secret(secret)
            .with_issuer(Some(&*self.site_name))
            .with_account_name(account)
            .build();
        // Its errors hold what was tried.
        let totp = totp.map_err(|_| Error::Library("totp"))?;
        Ok(Enrolled {
            secret: totp.secret().to_base32(),
            uri: totp.to_url().map_err(|_| Error::Library("totp"))?,
        })
    }

    /// Proves that the authenticator has the secret; from now on it is asked for. Returns
    /// the recovery codes.
    ///
    /// # Errors
    /// [`Error::NoTotp`], [`Error::TotpActive`], [`Error::BadCode`], [`Error::Invalid`] for
    /// a phone that was not verified, [`Error::SessionEnded`], or the database.
    pub(crate) async fn confirm_totp(
        &self,
        caller: &Caller,
        code: &str,
        allow_sms: bool,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Vec<String>, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        users::lock(&mut tx, user).await?;
        let key = self.vault.key(&mut tx, user).await?;
        let found = rows::of_user(&mut tx, user).await?;
        let row = found.iter().find(|row| row.kind == Kind::Totp.name());
        let row = row.ok_or(Error::NoTotp)?;
        if row.confirmed_at.is_some() {
            return Err(Error::TotpActive);
        }
        if !spend_code(&mut tx, &key, row, code, now).await? {
            return Err(Error::BadCode);
        }
        let about = About::by(user).at(origin);
        if allow_sms {
            self.allow_sms(&mut tx, &key, now).await?;
        }
        let codes = super::recovery::replace(&mut tx, user, now).await?;
        // They were opened with one factor, and would be renewed for months.
        let (keep, reason) = (Some(caller.session), Reason::SecondFactor);
        self.sessions
            .end_others(&mut tx, user, keep, reason, now)
            .await?;
        self.tell(&mut tx, Kind::Totp.name(), Change::Added, &about, now)
            .await?;
        tx.commit().await?;
        Ok(codes)
    }

    async fn allow_sms(&self, tx: &mut Tx, key: &SubjectKey, now: UnixMicros) -> Result<(), Error> {
        let phone = self.contact(tx, key, ContactKind::Phone).await?;
        let Some((phone, true)) = phone else {
            return Err(Error::Invalid("allow_sms", "needs a verified phone number"));
        };
        rows::delete_kind(tx, key.subject(), Kind::Sms.name()).await?;
        let row = NewRow {
            id: Uuid::now_v7(),
            user: key.subject(),
            kind: Kind::Sms.name(),
            name: &key.seal(NAME, b"")?,
            provider: "",
            // This number, and none that takes its place.
            secret: Some(key.seal(SECRET, &self.codes.index(&phone))?),
            lookup: None,
            confirmed_at: Some(now),
        };
        Ok(rows::insert(tx, &row, now).await?)
    }
}

/// Uses up the time step of a code. False for a wrong code, and for one of a step that was used.
pub(super) async fn spend_code(
    tx: &mut Tx,
    key: &SubjectKey,
    row: &CredentialRow,
    code: &str,
    now: UnixMicros,
) -> Result<bool, Error> {
    let Some(sealed) = &row.secret else {
        return Ok(false);
    };
    let totp = totp(key.open(SECRET, sealed)?)?;
    match step(&totp, code, now) {
        Some(step) => Ok(rows::spend_step(tx, row.id, step, now).await?),
        None => Ok(false),
    }
}

fn totp(secret: Vec<u8>) -> Result<Totp, Error> {
    let totp = Builder::new().with_secret(secret).build();
    totp.map_err(|_| Error::Library("totp"))
}

/// The time step whose code this is: now's, or one beside it, as clocks differ.
fn step(totp: &Totp, code: &str, now: UnixMicros) -> Option<i64> {
    let digits: String = code.chars().filter(char::is_ascii_digit).collect();
    let seconds = u64::try_from(now.seconds()).ok()?;
    totp.check(&digits, seconds)
        .and_then(|step| i64::try_from(step).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B, the last six digits.
    #[test]
    fn codes_are_the_published_ones() {
        let totp = totp(b"12345678901234567890".to_vec()).unwrap();
        let check = |seconds: i64, code: &str, expected: Option<i64>| {
            let now = UnixMicros(seconds * 1_000_000);
            assert_eq!(step(&totp, code, now), expected, "{seconds} {code}");
        };
        check(59, "287082", Some(1));
        check(59, " 287 082", Some(1));
        check(1_111_111_109, "081804", Some(37_037_036));
        // One step late and one early, not two.
        check(59 + 30, "287082", Some(1));
        check(29, "287082", Some(1));
        check(59 + 60, "287082", None);
        check(59, "287083", None);
        check(59, "+87082", None);
        check(59, "", None);
        check(-1, "287082", None);
    }
}
