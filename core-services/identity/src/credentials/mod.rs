//! What a user can prove themselves with besides the password: an authenticator and its
//! recovery codes, a phone, passkeys, accounts at other providers.
//! Invariant: whoever adds, removes or uses one up is told so by mail; a sign-in with one
//! factor ends in `sign_in`, which asks for the second one where the account has one.
//! Refuses to take the last thing away that opens an account.

mod links;
mod passkeys;
mod recovery;
mod second_factor;
mod totp;

use std::sync::Arc;

use core_platform::{
    clock::UnixMicros,
    crypto::{Field, SubjectKey, Vault},
    db::{Db, Tx},
    token::Caller,
};
use uuid::Uuid;
use webauthn_rs::Webauthn;

use crate::{
    Policy,
    contacts::{Codes, Contact, Kind as ContactKind},
    counters::Counters,
    error::Error,
    facts::{About, Fact, Facts},
    messages::{self, Message, NEWS_LIFETIME, Template},
    profiles::CONTACT,
    sessions::Sessions,
    site,
    store::{
        contacts,
        credentials::{self as rows, CredentialRow},
        passwords, recovery_codes, users,
    },
    tickets::Tickets,
};

pub(crate) use links::Link;
#[cfg(test)]
pub(crate) use passkeys::Ceremony;
pub(crate) use second_factor::{FirstFactor, Proof, SecondFactor, SignIn};

const NAME: Field = Field::new("credentials.name");
const SECRET: Field = Field::new("credentials.secret");

/// What sort of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Passkey,
    Totp,
    /// Codes to the verified phone; only beside an authenticator.
    Sms,
    Oidc,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Passkey, Self::Totp, Self::Sms, Self::Oidc];

    /// As the database and events write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Sms => "sms",
            Self::Oidc => "oidc",
        }
    }
}

/// What happened to a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Removed,
    UsedUp,
}

impl Change {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::UsedUp => "used_up",
        }
    }
}

/// A credential, for its owner. No `Debug`: its name is personal.
pub(crate) struct Credential {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) created_at: UnixMicros,
    pub(crate) last_used_at: Option<UnixMicros>,
    pub(crate) confirmed: bool,
}

/// The credentials of all users.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) codes: Codes,
    pub(crate) tickets: Tickets,
    pub(crate) sessions: Sessions,
    pub(crate) facts: Facts,
    pub(crate) counters: Counters,
    pub(crate) webauthn: Arc<Webauthn>,
    /// What authenticators call this site.
    pub(crate) site_name: Arc<str>,
    pub(crate) require_verified: bool,
}

impl Credentials {
    /// On the ground of the sessions.
    ///
    /// # Errors
    /// A site that browsers allow no passkeys at.
    pub(crate) fn new(
        sessions: &Sessions,
        codes: &Codes,
        policy: &Policy,
    ) -> Result<Self, site::Error> {
        Ok(Self {
            db: sessions.db.clone(),
            vault: sessions.vault.clone(),
            codes: codes.clone(),
            tickets: Tickets::new(sessions.vault.clone()),
            sessions: sessions.clone(),
            facts: sessions.facts.clone(),
            counters: sessions.counters.clone(),
            webauthn: Arc::new(policy.site.relying_party()?),
            site_name: policy.site.name.as_str().into(),
            require_verified: policy.require_verified,
        })
    }

    /// The caller's credentials, the oldest first, and how many recovery codes are left.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<(Vec<Credential>, i64), Error> {
        self.sessions.require_live(caller, now).await?;
        let key = self.vault.key(&self.db, caller.user).await?;
        let shown = self.of_user(&key).await?;
        let left = recovery_codes::left(&self.db, caller.user).await?;
        Ok((shown, left))
    }

    /// The credentials of a user, the oldest first.
    pub(crate) async fn of_user(&self, key: &SubjectKey) -> Result<Vec<Credential>, Error> {
        let found = rows::of_user(&self.db, key.subject()).await?;
        found.iter().map(|row| credential(key, row)).collect()
    }

    /// Takes one of the caller's away.
    ///
    /// # Errors
    /// [`Error::NoSuchCredential`], [`Error::LastCredential`], [`Error::SessionEnded`], or
    /// the database.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        id: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        // Two at once would each leave what the other takes.
        users::lock(&mut tx, user).await?;
        let found = rows::of_user(&mut tx, user).await?;
        let row = found.iter().find(|row| row.id == id);
        let row = row.ok_or(Error::NoSuchCredential)?;
        let opens = |row: &CredentialRow| {
            [Kind::Passkey, Kind::Oidc]
                .map(Kind::name)
                .contains(&row.kind.as_str())
        };
        let is_last = opens(row) && found.iter().filter(|row| opens(row)).count() == 1;
        if is_last && passwords::phc(&mut tx, user).await?.is_none() {
            return Err(Error::LastCredential);
        }
        rows::delete(&mut tx, user, id).await?;
        if row.kind == Kind::Totp.name() {
            // They only stand in for it.
            rows::delete_kind(&mut tx, user, Kind::Sms.name()).await?;
            recovery_codes::replace(&mut tx, user, &[], now).await?;
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == row.kind);
        let kind = kind.map_or("", Kind::name);
        self.tell(&mut tx, kind, Change::Removed, &About::by(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes all of a user's away: whoever added them had not proved the address, and may
    /// have waited for its owner. Almost the last thing before a commit.
    pub(crate) async fn forget(
        &self,
        tx: &mut Tx,
        about: &About<'_>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(user) = about.user else {
            return Ok(());
        };
        users::lock(&mut *tx, user).await?;
        let found = rows::of_user(&mut *tx, user).await?;
        recovery_codes::replace(&mut *tx, user, &[], now).await?;
        for kind in Kind::ALL.map(Kind::name) {
            if found.iter().any(|row| row.kind == kind) {
                rows::delete_kind(&mut *tx, user, kind).await?;
                self.tell(&mut *tx, kind, Change::Removed, about, now)
                    .await?;
            }
        }
        Ok(())
    }

    /// Mail, event and audit entry of a change; the last thing before a commit.
    pub(crate) async fn tell(
        &self,
        tx: &mut Tx,
        kind: &'static str,
        change: Change,
        about: &About<'_>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(user) = about.user else {
            return Ok(());
        };
        let key = self.vault.key(&mut *tx, user).await?;
        if let Some((to, _)) = self.contact(tx, &key, ContactKind::Email).await? {
            let message = Message::new(Some(to), Template::CredentialChanged, now + NEWS_LIFETIME)
                .value("what", in_words(kind, change));
            messages::post(tx, &key, &message, now).await?;
        }
        let fact = Fact::CredentialChanged { kind, change };
        self.facts.tell(tx, &[fact], about, now).await
    }

    /// The user's address or number, and whether it was verified.
    async fn contact(
        &self,
        tx: &mut Tx,
        key: &SubjectKey,
        kind: ContactKind,
    ) -> Result<Option<(Contact, bool)>, Error> {
        let found = contacts::of_user(&mut *tx, key.subject()).await?;
        let Some(row) = found.iter().find(|row| row.kind == kind.name()) else {
            return Ok(None);
        };
        let value = key.open_text(CONTACT, &row.value)?;
        Ok(Some((Contact { kind, value }, row.verified_at.is_some())))
    }
}

fn credential(key: &SubjectKey, row: &CredentialRow) -> Result<Credential, Error> {
    Ok(Credential {
        id: row.id,
        kind: row.kind.clone(),
        name: key.open_text(NAME, &row.name)?,
        provider: row.provider.clone(),
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        confirmed: row.confirmed_at.is_some(),
    })
}

/// The authenticator that counts.
fn active_totp(found: &[CredentialRow]) -> Option<&CredentialRow> {
    found
        .iter()
        .find(|row| row.kind == Kind::Totp.name() && row.confirmed_at.is_some())
}

/// As the mail says it.
fn in_words(kind: &str, change: Change) -> String {
    let thing = match kind {
        "passkey" => "A passkey",
        "totp" => "An authenticator",
        "sms" => "Codes to your phone",
        "oidc" => "A sign-in with another provider",
        _ => "Your recovery codes",
    };
    let change = match (kind, change) {
        ("recovery_codes", Change::Added) => "were made anew",
        ("recovery_codes", _) => "were used: one of them works no longer",
        (_, Change::Added) => "was added",
        (_, Change::Removed | Change::UsedUp) => "was removed",
    };
    format!("{thing} {change}")
}
