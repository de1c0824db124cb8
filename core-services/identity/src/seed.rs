//! People for a development database: accounts, handles, roles, preferences, relationships.
//! Invariant: they come to be by the rules that calls go through, without a message to
//! anybody; who is there as registration left them is finished, who was finished is not
//! touched again.
//! Refuses a database with accounts of others: everyone knows this password.

use core_platform::{clock::UnixMicros, db, token::Caller};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    Error, Rules, StartError,
    accounts::NewAccount,
    contacts::{Contact, Kind as ContactKind},
    facts::{About, Fact},
    origin::Origin,
    profiles::ProfileChange,
    relationships::Kind,
    sessions::NewSession,
    store::{contacts, users},
};

/// Everybody's.
pub const SEED_PASSWORD: &str = "development-only";
/// Reserved for this (RFC 2606 section 2).
const DOMAIN: &str = "palisade.test";
/// Of a profile that was never changed.
const FIRST_VERSION: i64 = 1;

struct Person {
    handle: &'static str,
    name: &'static str,
    role: Option<&'static str>,
    theme: &'static str,
    language: &'static str,
    /// To whom they are what, by handle.
    relationships: &'static [(Kind, &'static str)],
}

const PEOPLE: [Person; 6] = [
    Person {
        handle: "ada",
        name: "Ada Lovelace",
        role: Some("admin"),
        theme: "dark",
        language: "en",
        relationships: &[(Kind::Follow, "grace"), (Kind::Follow, "emmy")],
    },
    Person {
        handle: "grace",
        name: "Grace Hopper",
        role: Some("operator"),
        theme: "light",
        language: "en",
        relationships: &[(Kind::Follow, "ada"), (Kind::Follow, "alan")],
    },
    Person {
        handle: "konrad",
        name: "Konrad Zuse",
        role: Some("support"),
        theme: "light",
        language: "de",
        relationships: &[(Kind::Follow, "emmy"), (Kind::Mute, "grace")],
    },
    Person {
        handle: "emmy",
        name: "Emmy Noether",
        role: None,
        theme: "dark",
        language: "de",
        relationships: &[(Kind::Follow, "ada"), (Kind::Follow, "konrad")],
    },
    Person {
        handle: "alan",
        name: "Alan Turing",
        role: None,
        theme: "system",
        language: "en",
        relationships: &[(Kind::Follow, "ada"), (Kind::Follow, "grace")],
    },
    Person {
        handle: "blaise",
        name: "Blaise Pascal",
        role: None,
        theme: "system",
        language: "fr",
        relationships: &[(Kind::Follow, "ada"), (Kind::Block, "alan")],
    },
];

/// One of them, to sign in as.
pub struct Seeded {
    pub email: String,
    pub role: &'static str,
    /// Whether it was made or finished just now.
    pub changed: bool,
}

/// Why there are no such people now.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(
        "the database holds {0} accounts of others\nhint: --force adds people whose password everyone knows, one of them an administrator"
    )]
    Others(i64),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Rules(#[from] Error),
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// The roles they are given.
pub fn seed_roles() -> impl Iterator<Item = &'static str> {
    PEOPLE.iter().filter_map(|person| person.role)
}

impl Person {
    fn email(&self) -> Contact {
        Contact::email(&format!("{}@{DOMAIN}", self.handle))
    }

    fn preferences(&self) -> Map<String, Value> {
        [
            ("theme", json!(self.theme)),
            ("language", json!(self.language)),
            ("notifications", json!({"email": true, "sms": false})),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
    }
}

/// All of them, in the order of [`PEOPLE`].
pub(crate) async fn seed(
    rules: &Rules,
    force: bool,
    now: UnixMicros,
) -> Result<Vec<Seeded>, SeedError> {
    let mut known = 0;
    for person in &PEOPLE {
        known += i64::from(rules.user_of(person).await?.is_some());
    }
    let others = users::count(&rules.accounts.db).await? - known;
    if others > 0 && !force {
        return Err(SeedError::Others(others));
    }
    // All of them first: they are each other's relationships.
    for person in &PEOPLE {
        rules.register(person, now).await?;
    }
    let mut seeded = Vec::new();
    for person in &PEOPLE {
        seeded.push(Seeded {
            email: person.email().value,
            role: person.role.unwrap_or(crate::roles::USER),
            changed: rules.finish(person, now).await?,
        });
    }
    Ok(seeded)
}

impl Rules {
    async fn user_of(&self, person: &Person) -> Result<Option<Uuid>, Error> {
        let index = self.accounts.codes.index(&person.email());
        let owner = contacts::owner(&self.accounts.db, ContactKind::Email, &index).await?;
        Ok(owner.map(|row| row.user))
    }

    /// As somebody whom a provider vouches for: the address needs no code, so no mail goes
    /// to where nobody is.
    async fn register(&self, person: &Person, now: UnixMicros) -> Result<(), Error> {
        if self.user_of(person).await?.is_some() {
            return Ok(());
        }
        let accounts = &self.accounts;
        let phc = accounts.hasher.hash(SEED_PASSWORD.to_owned()).await?;
        let account = NewAccount {
            email: &person.email(),
            name: person.name,
            phc: Some(&phc),
            verified_at: Some(now),
        };
        let mut tx = accounts.db.begin().await?;
        let (user, registered) = accounts.insert(&mut tx, &account, now).await?;
        let verified = Fact::ContactVerified {
            kind: ContactKind::Email,
            changed: false,
        };
        let about = About::to(user);
        let facts = [registered, verified];
        accounts.facts.tell(&mut tx, &facts, &about, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The profile comes last: by its version it shows that all was done. False if it was.
    async fn finish(&self, person: &Person, now: UnixMicros) -> Result<bool, Error> {
        let user = self.user_of(person).await?.ok_or(Error::NoSuchUser)?;
        let row = users::by_id(&self.accounts.db, user).await?;
        let row = row.ok_or(Error::NoSuchUser)?;
        if row.version != FIRST_VERSION {
            return Ok(false);
        }
        if let Some(role) = person.role {
            let email = person.email().value;
            self.administration.appoint(&email, role, now).await?;
        }
        let caller = self.caller(user, now).await?;
        let preferences = person.preferences();
        let kept = self.profiles.preferences(&caller, now).await?;
        if kept.version == FIRST_VERSION {
            let updated = self
                .profiles
                .update_preferences(&caller, preferences, None, now);
            updated.await?;
        }
        for (kind, handle) in person.relationships {
            let other = PEOPLE.iter().find(|other| other.handle == *handle);
            let other = other.ok_or(Error::NoSuchUser)?;
            let target = self.user_of(other).await?.ok_or(Error::NoSuchUser)?;
            self.relationships.put(&caller, target, *kind, now).await?;
        }
        let mut change = ProfileChange {
            handle: Some(person.handle.to_owned()),
            display_name: Some(person.name.to_owned()),
            ..ProfileChange::default()
        };
        let update = self.profiles.update(&caller, &change, None, now).await;
        if let Err(Error::HandleTaken) = update {
            // By somebody else, before `--force`.
            change.handle = None;
            self.profiles.update(&caller, &change, None, now).await?;
        } else {
            update?;
        }
        self.sessions.logout(&caller, now).await?;
        Ok(true)
    }

    /// Signed in, as every call is made by somebody who is.
    async fn caller(&self, user: Uuid, now: UnixMicros) -> Result<Caller, Error> {
        let session = NewSession {
            user,
            amr: &["pwd"],
            auth_time: now,
            origin: &Origin::default(),
        };
        let mut tx = self.accounts.db.begin().await?;
        let tokens = self.sessions.open(&mut tx, &session, now).await?;
        tx.commit().await?;
        let verified = self.sessions.signer.verifier().verify(&tokens.access, now);
        verified.map_err(|_| Error::SessionEnded)
    }
}
