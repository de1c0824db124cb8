//! The rules of accounts: who may have one, who may sign in, who may change it.
//! Invariant: known and unknown addresses get the same answer after the same work;
//! a password is only ever compared by `password`.
//! Refuses a clock: `now` comes in.

mod close;
mod contacts;
mod login;
mod password;
mod register;

use core_platform::{
    clock::UnixMicros,
    crypto::Vault,
    db::{Db, Tx},
};
use uuid::Uuid;

use crate::{
    Policy,
    api_keys::ApiKeys,
    contacts::{CODE_LIFETIME, Codes, Contact, Issue, Kind, Purpose},
    counters::{Counters, Event},
    credentials::Credentials,
    error::Error,
    facts::Facts,
    messages::{self, Message, NEWS_LIFETIME, Template},
    password::Hasher,
    profiles::{CONTACT, Recent},
    sessions::Sessions,
    store::contacts as rows,
};

pub(crate) use close::Deletion;
pub(crate) use password::Reset;
pub(crate) use register::{NewAccount, Registration};

/// Accounts.
pub(crate) struct Accounts {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) hasher: Hasher,
    pub(crate) codes: Codes,
    pub(crate) sessions: Sessions,
    pub(crate) credentials: Credentials,
    pub(crate) api_keys: ApiKeys,
    pub(crate) recent: Recent,
    pub(crate) facts: Facts,
    pub(crate) counters: Counters,
    pub(crate) policy: Policy,
}

/// To whom a code or notice goes: a user's contact, or what nobody has.
struct Receiver<'a> {
    user: Option<Uuid>,
    contact: &'a Contact,
}

impl Accounts {
    /// Sends a code, unless the contact has had enough. The same rows are written for a
    /// contact that nobody has.
    async fn send_code(
        &self,
        tx: &mut Tx,
        to: &Receiver<'_>,
        purpose: Purpose,
        template: Template,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let issue = Issue {
            user: to.user,
            purpose,
            contact: to.contact,
            value: None,
        };
        let code = self.codes.issue(tx, issue, now).await?;
        self.post_code(tx, to, code, template, now).await
    }

    /// The message with a code that was issued; `None` says it was withheld.
    async fn post_code(
        &self,
        tx: &mut Tx,
        to: &Receiver<'_>,
        code: Option<String>,
        template: Template,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(code) = code else {
            self.counters.count(Event::CodeWithheld);
            return Ok(());
        };
        let known = to.user.map(|_| to.contact.clone());
        let message = Message::new(known, template, now + CODE_LIFETIME)
            .value("code", code)
            .value("minutes", (CODE_LIFETIME.as_secs() / 60).to_string());
        match to.user {
            Some(user) => {
                let key = self.vault.key(&mut *tx, user).await?;
                messages::post(tx, &key, &message, now).await?;
            }
            None => messages::post(tx, self.vault.service_key(), &message, now).await?,
        }
        self.counters.count(Event::CodeSent);
        Ok(())
    }

    /// Tells a user's address some news.
    async fn notify(
        &self,
        tx: &mut Tx,
        user: Uuid,
        template: Template,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(email) = self.contact_of(tx, user, Kind::Email).await? else {
            return Ok(());
        };
        let key = self.vault.key(&mut *tx, user).await?;
        let message = Message::new(Some(email), template, now + NEWS_LIFETIME);
        messages::post(tx, &key, &message, now).await
    }

    async fn contact_of(
        &self,
        tx: &mut Tx,
        user: Uuid,
        kind: Kind,
    ) -> Result<Option<Contact>, Error> {
        let found = rows::of_user(&mut *tx, user).await?;
        let Some(row) = found.into_iter().find(|row| row.kind == kind.name()) else {
            return Ok(None);
        };
        let key = self.vault.key(&mut *tx, user).await?;
        let value = key.open_text(CONTACT, &row.value)?;
        Ok(Some(Contact { kind, value }))
    }
}
