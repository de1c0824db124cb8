//! Proving contacts, and changing them.

use core_platform::{
    clock::UnixMicros,
    db::{self, Tx},
    token::Caller,
};
use uuid::Uuid;

use super::{Accounts, Receiver};
use crate::{
    contacts::{Contact, Issue, Purpose},
    counters::Event,
    error::Error,
    facts::{About, Fact},
    messages::{self, Message, NEWS_LIFETIME, Template},
    origin::Origin,
    profiles::CONTACT,
    store::{contacts, users},
};

impl Accounts {
    /// Marks the contact as its owner's. If the code was for a change, the new contact
    /// takes the place of the old one, which is told.
    ///
    /// # Errors
    /// [`Error::BadCode`], or the database.
    pub(crate) async fn verify_contact(
        &self,
        contact: &str,
        code: &str,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let contact = Contact::parse(contact);
        let mut tx = self.db.begin().await?;
        let purposes = [Purpose::Verify, Purpose::Change];
        let redeemed = self
            .codes
            .redeem(&mut tx, &contact, &purposes, code, now)
            .await?;
        let Some(redeemed) = redeemed else {
            tx.commit().await?;
            self.counters.count(Event::CodeWrong);
            return Err(Error::BadCode);
        };
        let user = redeemed.user;
        let changed = redeemed.change.is_some();
        users::touch(&mut tx, user, now).await?;
        let done = match redeemed.change {
            None => {
                let index = self.codes.index(&contact);
                let verified = contacts::verify(&mut tx, user, contact.kind, &index, now).await;
                verified.map_err(Error::from)
            }
            Some(sealed) => self.replace(&mut tx, user, &contact, &sealed, now).await,
        };
        match done {
            // It became another's before the code came back; the code is used up by that.
            Ok(false) | Err(Error::Db(db::Error::Taken(_))) => return Err(Error::BadCode),
            Ok(true) => {}
            Err(error) => return Err(error),
        }
        let about = About::by(user).at(origin);
        let fact = Fact::ContactVerified {
            kind: contact.kind,
            changed,
        };
        self.facts.tell(&mut tx, &[fact], &about, now).await?;
        tx.commit().await?;
        self.recent.forget(user).await;
        self.counters.count(Event::ContactVerified);
        Ok(())
    }

    /// Sends another code, if the contact is anyone's: the caller can't tell.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn resend(&self, contact: &str, now: UnixMicros) -> Result<(), Error> {
        let contact = Contact::parse(contact);
        let index = self.codes.index(&contact);
        let mut tx = self.db.begin().await?;
        let owner = contacts::owner(&mut tx, contact.kind, &index).await?;
        // What is verified needs no code.
        let owner = owner.filter(|row| row.verified_at.is_none());
        let to = Receiver {
            user: owner.map(|row| row.user),
            contact: &contact,
        };
        self.send_code(&mut tx, &to, Purpose::Verify, Template::VerifyContact, now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sends a code to a new contact, which replaces the old one when it is verified.
    /// Who may call this has signed in a moment ago: the contract says so.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn change_contact(
        &self,
        caller: &Caller,
        contact: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let contact = Contact::parse(contact);
        let index = self.codes.index(&contact);
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        let owner = contacts::owner(&mut tx, contact.kind, &index).await?;
        let other = owner.filter(|row| row.user != caller.user && row.verified_at.is_some());
        if let Some(other) = other {
            // The same answer; its owner learns of it instead.
            let to = Receiver {
                user: Some(other.user),
                contact: &contact,
            };
            self.send_code(
                &mut tx,
                &to,
                Purpose::Notice,
                Template::RegisteredAgain,
                now,
            )
            .await?;
            tx.commit().await?;
            return Ok(());
        }
        let key = self.vault.key(&mut tx, caller.user).await?;
        let issue = Issue {
            user: Some(caller.user),
            purpose: Purpose::Change,
            contact: &contact,
            value: Some(key.seal(CONTACT, contact.value.as_bytes())?),
        };
        let code = self.codes.issue(&mut tx, issue, now).await?;
        let to = Receiver {
            user: Some(caller.user),
            contact: &contact,
        };
        self.post_code(&mut tx, &to, code, Template::VerifyContact, now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn replace(
        &self,
        tx: &mut Tx,
        user: Uuid,
        contact: &Contact,
        sealed: &[u8],
        now: UnixMicros,
    ) -> Result<bool, Error> {
        let old = self.contact_of(tx, user, contact.kind).await?;
        let new = contacts::NewContact {
            user,
            kind: contact.kind,
            value: sealed,
            index: &self.codes.index(contact),
            verified_at: Some(now),
        };
        contacts::put(tx, &new).await?;
        if let Some(old) = old.filter(|old| old != contact) {
            let key = self.vault.key(&mut *tx, user).await?;
            let kind = contact.kind.name();
            let message = Message::new(Some(old), Template::ContactChanged, now + NEWS_LIFETIME);
            messages::post(tx, &key, &message.value("kind", kind), now).await?;
        }
        Ok(true)
    }
}
