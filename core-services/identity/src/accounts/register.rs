//! Opening an account.

use core_platform::{
    clock::UnixMicros,
    db::{self, Tx},
};
use uuid::Uuid;

use super::{Accounts, Receiver};
use crate::{
    contacts::{Contact, Kind, Purpose, random},
    counters::Event,
    error::Error,
    facts::{About, Fact},
    messages::Template,
    origin::Origin,
    profiles::{CONTACT, NAME},
    store::{contacts, passwords, preferences, users},
};

/// With the letter before it: made handles are no one's name, and don't run out.
const HANDLE_CHARS: usize = 12;

/// What a registration says.
pub(crate) struct Registration<'a> {
    pub(crate) email: &'a str,
    pub(crate) name: &'a str,
}

/// An account to be made.
pub(crate) struct NewAccount<'a> {
    pub(crate) email: &'a Contact,
    pub(crate) name: &'a str,
    /// `None`: its owner signs in at a provider.
    pub(crate) phc: Option<&'a str>,
    pub(crate) verified_at: Option<UnixMicros>,
}

impl Accounts {
    /// Opens an account, unless the address has one: the caller can't tell.
    ///
    /// # Errors
    /// [`Error::Breached`], a full queue, or the database.
    pub(crate) async fn register(
        &self,
        new: &Registration<'_>,
        password: String,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<(), Error> {
        if self.policy.breached.has(&password) {
            return Err(Error::Breached);
        }
        let phc = self.hasher.hash(password).await?;
        let email = Contact::email(new.email);
        let made = match self.open_account(new, &email, &phc, origin, now).await {
            // Another registration of this address was a moment earlier.
            Err(Error::Db(db::Error::Taken(_))) => false,
            made => made?,
        };
        if !made {
            self.tell_owner(&email, now).await?;
        }
        self.counters.count(if made {
            Event::Registered
        } else {
            Event::RegisteredAgain
        });
        Ok(())
    }

    /// False if the address has an account; nothing was written then.
    async fn open_account(
        &self,
        new: &Registration<'_>,
        email: &Contact,
        phc: &str,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<bool, Error> {
        let index = self.codes.index(email);
        let mut tx = self.db.begin().await?;
        if contacts::owner(&mut tx, Kind::Email, &index)
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let account = NewAccount {
            email,
            name: new.name,
            phc: Some(phc),
            verified_at: None,
        };
        let (user, registered) = self.insert(&mut tx, &account, now).await?;
        let to = Receiver {
            user: Some(user),
            contact: email,
        };
        self.send_code(&mut tx, &to, Purpose::Verify, Template::VerifyContact, now)
            .await?;
        let about = About::to(user).at(origin);
        self.facts.tell(&mut tx, &[registered], &about, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The rows of an account, and what is to be told of it; `Taken` if another one has the
    /// address.
    pub(crate) async fn insert(
        &self,
        tx: &mut Tx,
        new: &NewAccount<'_>,
        now: UnixMicros,
    ) -> Result<(Uuid, Fact), Error> {
        let user = Uuid::now_v7();
        let key = self.vault.create(&mut *tx, user, now).await?;
        let handle = format!(
            "u{}",
            random(HANDLE_CHARS, b"abcdefghjkmnpqrstvwxyz23456789")?
        );
        let name = key.seal(NAME, new.name.as_bytes())?;
        users::insert(tx, user, &handle, &name, now).await?;
        let contact = contacts::NewContact {
            user,
            kind: Kind::Email,
            value: &key.seal(CONTACT, new.email.value.as_bytes())?,
            index: &self.codes.index(new.email),
            verified_at: new.verified_at,
        };
        contacts::put(tx, &contact).await?;
        if let Some(phc) = new.phc {
            passwords::put(tx, user, phc, now).await?;
        }
        preferences::insert(tx, user, now).await?;
        Ok((user, Fact::Registered { handle }))
    }

    /// The owner learns that somebody tried; the one who tried learns nothing.
    async fn tell_owner(&self, email: &Contact, now: UnixMicros) -> Result<(), Error> {
        let index = self.codes.index(email);
        let mut tx = self.db.begin().await?;
        let owner = contacts::owner(&mut tx, Kind::Email, &index).await?;
        let to = Receiver {
            user: owner.map(|row| row.user),
            contact: email,
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
        Ok(())
    }
}
