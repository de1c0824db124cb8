//! What an account says about its owner: to the owner, and to everyone.
//! Invariant: a change that names a version is made to that version or not at all.
//! Refuses to show a name, an address or a number to anyone but the owner.

mod preferences;
mod recent;

use core_platform::{
    clock::UnixMicros,
    crypto::{Field, SubjectKey, Vault},
    db::{self, Db, Tx},
    token::Caller,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    contacts::{CODE_LIFETIME, Codes, Contact, Issue, Kind, Purpose},
    error::Error,
    facts::{About, Fact, Facts},
    messages::{self, Message, Template},
    sessions::Sessions,
    store::{contacts, users},
};

pub(crate) use preferences::Versioned;
pub(crate) use recent::Recent;

/// The columns that hold personal data.
pub(crate) const NAME: Field = Field::new("users.name");
pub(crate) const CONTACT: Field = Field::new("contacts.value");

/// A profile, for its owner. No `Debug`: it is personal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: Uuid,
    pub(crate) handle: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) email: Option<Verifiable>,
    pub(crate) phone: Option<Verifiable>,
    pub(crate) created_at: UnixMicros,
    pub(crate) updated_at: UnixMicros,
    pub(crate) version: i64,
}

/// An address or number, and whether its owner has proved it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verifiable {
    pub(crate) value: String,
    pub(crate) verified: bool,
}

/// What to change; `None` leaves it.
#[derive(Clone, Default)]
pub(crate) struct ProfileChange {
    pub(crate) handle: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) display_name: Option<String>,
    /// Empty: none any more.
    pub(crate) phone: Option<String>,
}

/// The profiles of all users.
pub(crate) struct Profiles {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) codes: Codes,
    pub(crate) sessions: Sessions,
    pub(crate) recent: Recent,
    pub(crate) facts: Facts,
}

impl Profiles {
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn get(&self, caller: &Caller, now: UnixMicros) -> Result<Profile, Error> {
        let version = self.sessions.profile_version(caller, now).await?;
        let read = || self.read(caller.user);
        match self.recent.get(caller.user, version, read).await {
            Some(profile) => Ok(profile),
            None => self.read(caller.user).await,
        }
    }

    /// The version comes first: a change in between makes it too old for what it stands for,
    /// never too new.
    async fn read(&self, user: Uuid) -> Result<Profile, Error> {
        let row = users::by_id(&self.db, user).await?;
        let contacts = contacts::of_user(&self.db, user).await?;
        let key = self.vault.key(&self.db, user).await?;
        profile(&key, row.ok_or(Error::SessionEnded)?, &contacts)
    }

    /// Makes the change, if the profile still has the version `only_if` names.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::HandleTaken`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        change: &ProfileChange,
        only_if: Option<i64>,
        now: UnixMicros,
    ) -> Result<Profile, Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        let version = users::lock(&mut tx, caller.user).await?;
        let version = version.ok_or(Error::SessionEnded)?;
        if only_if.is_some_and(|expected| expected != version) {
            return Err(Error::Changed);
        }
        let key = self.vault.key(&mut tx, caller.user).await?;
        let name = change.name.as_ref();
        let changed = users::UserChange {
            handle: change.handle.clone(),
            name: name
                .map(|name| key.seal(NAME, name.as_bytes()))
                .transpose()?,
            display_name: change.display_name.clone(),
        };
        match users::update(&mut tx, caller.user, &changed, now).await {
            Err(db::Error::Taken(_)) => return Err(Error::HandleTaken),
            done => done?,
        }
        if let Some(phone) = &change.phone {
            self.set_phone(&mut tx, &key, phone, now).await?;
        }
        let user = users::by_id(&mut tx, caller.user).await?;
        let contacts = contacts::of_user(&mut tx, caller.user).await?;
        let profile = profile(&key, user.ok_or(Error::SessionEnded)?, &contacts)?;
        let fact = Fact::ProfileUpdated {
            handle: profile.handle.clone(),
            display_name: profile.display_name.clone(),
            version: profile.version,
        };
        self.facts
            .tell(&mut tx, &[fact], &About::by(caller.user), now)
            .await?;
        tx.commit().await?;
        self.recent.forget(caller.user).await;
        Ok(profile)
    }

    /// A number is kept as it is told; a code goes there, so that it can be proved.
    async fn set_phone(
        &self,
        tx: &mut Tx,
        key: &SubjectKey,
        number: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let user = key.subject();
        if number.is_empty() {
            contacts::remove(tx, user, Kind::Phone).await?;
            return Ok(());
        }
        let old = contacts::of_user(&mut *tx, user).await?;
        let old = old.iter().find(|row| row.kind == Kind::Phone.name());
        let old = old
            .map(|row| key.open_text(CONTACT, &row.value))
            .transpose()?;
        if old.as_deref() == Some(number) {
            return Ok(());
        }
        let phone = Contact::phone(number);
        let new = contacts::NewContact {
            user,
            kind: Kind::Phone,
            value: &key.seal(CONTACT, number.as_bytes())?,
            index: &self.codes.index(&phone),
            verified_at: None,
        };
        contacts::put(tx, &new).await?;
        let issue = Issue {
            user: Some(user),
            purpose: Purpose::Verify,
            contact: &phone,
            value: None,
        };
        if let Some(code) = self.codes.issue(tx, issue, now).await? {
            let until = now + CODE_LIFETIME;
            let message = Message::new(Some(phone), Template::VerifyContact, until)
                .value("code", code)
                .value("minutes", (CODE_LIFETIME.as_secs() / 60).to_string());
            messages::post(tx, key, &message, now).await?;
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::NoSuchUser`], or the database.
    pub(crate) async fn public(&self, handle: &str) -> Result<users::PublicRow, Error> {
        let found = users::public(&self.db, &handle.to_ascii_lowercase()).await?;
        found.ok_or(Error::NoSuchUser)
    }

    /// Those that there are.
    pub(crate) async fn batch(&self, ids: Vec<Uuid>) -> Result<Vec<users::PublicRow>, Error> {
        Ok(users::batch(&self.db, ids).await?)
    }
}

fn profile(
    key: &SubjectKey,
    user: users::UserRow,
    contacts: &[contacts::ContactRow],
) -> Result<Profile, Error> {
    let contact = |kind: Kind| {
        let row = contacts.iter().find(|row| row.kind == kind.name());
        let opened = row.map(|row| {
            Ok::<_, Error>(Verifiable {
                value: key.open_text(CONTACT, &row.value)?,
                verified: row.verified_at.is_some(),
            })
        });
        opened.transpose()
    };
    Ok(Profile {
        id: user.id,
        handle: user.handle,
        name: key.open_text(NAME, &user.name)?,
        display_name: user.display_name,
        email: contact(Kind::Email)?,
        phone: contact(Kind::Phone)?,
        created_at: user.created_at,
        updated_at: user.updated_at,
        version: user.version,
    })
}
