//! All that is kept about somebody, for them to take away.
//! Invariant: an archive is sealed with its owner's data key and kept for seven days; it
//! is made once a day at most.
//! Refuses to hold secrets: hashes, keys and codes are no data about a person.

mod archive;

use std::{sync::Arc, time::Duration};

use core_platform::{
    audit::Audit,
    clock::UnixMicros,
    crypto::{Error as CryptoError, Field, Vault},
    db::Db,
    jobs::{self, Failure, Job, JobContext, NewJob},
    token::Caller,
};
use serde::{Deserialize, Serialize};
use tonic::async_trait;
use uuid::Uuid;

use crate::{
    api_keys::ApiKeys,
    credentials::Credentials,
    error::Error,
    facts::{About, Fact, Facts},
    sessions::Sessions,
    store::{
        exports::{self, ExportRow},
        users,
    },
};

/// Long enough to come back for it, short for a copy of everything.
pub(crate) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Another one may be asked for then.
const RENEWED_AFTER: Duration = Duration::from_secs(24 * 3600);

const ARCHIVE: Field = Field::new("account_exports.archive");

/// The exports of all users.
pub(crate) struct Exports {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) audit: Audit,
    pub(crate) sessions: Sessions,
    pub(crate) credentials: Credentials,
    pub(crate) api_keys: ApiKeys,
    pub(crate) facts: Facts,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    export: Uuid,
}

impl Exports {
    /// The export that is being made or was made lately, else a new one.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn request(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<ExportRow, Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        // Of two calls at once the second finds what the first began.
        if users::lock(&mut tx, caller.user).await?.is_none() {
            return Err(Error::SessionEnded);
        }
        let held = exports::of_user(&mut tx, caller.user).await?;
        if let Some(held) = held.filter(|held| held.created_at + RENEWED_AFTER > now) {
            return Ok(held);
        }
        let new = ExportRow {
            id: Uuid::now_v7(),
            created_at: now,
            expires_at: now + KEPT,
            ready: false,
        };
        exports::put(&mut tx, caller.user, &new).await?;
        let job = NewJob::new(Assembly::KIND, &Payload { export: new.id })?;
        jobs::enqueue(&mut tx, job, now).await?;
        let fact = Fact::ExportRequested { export: new.id };
        let about = About::by(caller.user);
        self.facts.tell(&mut tx, &[fact], &about, now).await?;
        tx.commit().await?;
        Ok(new)
    }

    /// A finished archive of the caller's.
    ///
    /// # Errors
    /// [`Error::NoSuchExport`] for another's as for one that is gone,
    /// [`Error::ExportNotReady`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn download(
        &self,
        caller: &Caller,
        id: Uuid,
        now: UnixMicros,
    ) -> Result<Vec<u8>, Error> {
        self.sessions.require_live(caller, now).await?;
        let found = exports::archive(&self.db, caller.user, id, now).await?;
        let sealed = found.ok_or(Error::NoSuchExport)?;
        let sealed = sealed.ok_or(Error::ExportNotReady)?;
        let key = self.vault.key(&self.db, caller.user).await?;
        let archive = key.open(ARCHIVE, &sealed)?;
        let mut tx = self.db.begin().await?;
        let fact = Fact::ExportDownloaded { export: id };
        let about = About::by(caller.user);
        self.facts.tell(&mut tx, &[fact], &about, now).await?;
        tx.commit().await?;
        Ok(archive)
    }

    async fn assemble(&self, context: &JobContext) -> Result<(), Failure> {
        let Payload { export } = context.payload()?;
        let Some(user) = exports::owner(&self.db, export).await? else {
            return Ok(());
        };
        let key = match self.vault.key(&self.db, user).await {
            Ok(key) => key,
            // The account went meanwhile.
            Err(CryptoError::Shredded | CryptoError::NoKey) => return Ok(()),
            Err(error) => return Err(Failure::retry(error)),
        };
        let documents = self.documents(&key, context.now).await?;
        let archive = archive::zip(&documents).map_err(Error::from)?;
        let sealed = key.seal(ARCHIVE, &archive).map_err(Error::from)?;
        let mut tx = context.begin().await?;
        exports::fill(&mut tx, export, &sealed).await?;
        context.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The job that makes archives.
pub(crate) struct Assembly(pub(crate) Arc<Exports>);

impl Assembly {
    pub(crate) const KIND: &'static str = "identity.export-account";
}

#[async_trait]
impl Job for Assembly {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        self.0.assemble(context).await
    }
}
