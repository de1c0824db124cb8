//! Who did what to whom, in a chain that shows when it was touched.
//! Invariant: an entry is written in the transaction of what it tells of, and is
//! authenticated together with the one before it, under a key that the database
//! does not hold: who can write the table still can't forge it.
//! Refuses personal data in clear: subjects are ids, addresses are prefixes,
//! details are for what may be read for years.

mod chain;
mod list;
mod verify;
mod watch;

use aws_lc_rs::hmac;
use tonic::Status;
use uuid::Uuid;

use crate::{
    clock::UnixMicros,
    crypto::{self, Vault},
    db::{self, Db, Tx, query},
    errors,
};

use chain::{GENESIS, Hash};

pub use list::{Filter, LIST_MAX};
pub use verify::{Anchor, Fault, NoAnchor, Report};
pub use watch::register;

/// An entry is a line, not a document.
const DETAIL_BYTES_MAX: usize = 4 * 1024;
/// Ids, names of actions and of services; address prefixes are shorter still.
const TEXT_BYTES_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The values are not shown: what is too long may be what should not be here.
    #[error("an audit entry's `{0}` is too long\nhint: ids and short facts only")]
    TooLong(&'static str),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            other @ Error::TooLong(_) => errors::internal(&other),
        }
    }
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    User(Uuid),
    /// Another service, by the name in its certificate.
    Service(String),
    /// A person at the command line.
    Operator,
    /// A job or a rule of this service.
    System,
    /// A caller who was not (yet) known, such as one who failed to log in.
    Anonymous,
}

impl Actor {
    fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Service(_) => "service",
            Self::Operator => "operator",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }

    fn name(&self) -> String {
        match self {
            Self::User(id) => id.to_string(),
            Self::Service(name) => name.clone(),
            Self::Operator | Self::System | Self::Anonymous => String::new(),
        }
    }
}

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub actor: Actor,
    /// Such as `role.granted`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: Option<String>,
    /// Facts, without personal data.
    pub detail: serde_json::Value,
    /// Such as `192.0.2.0/24`: enough to see an attack, too little to find a person.
    pub address_prefix: Option<String>,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub seq: i64,
    pub id: Uuid,
    pub at: UnixMicros,
    pub actor_kind: String,
    pub actor: String,
    pub action: String,
    pub subject: Option<String>,
    /// JSON.
    pub detail: String,
    pub address_prefix: Option<String>,
}

/// One service's audit log.
#[derive(Clone)]
pub struct Audit {
    key: hmac::Key,
}

impl Audit {
    /// # Errors
    /// Only if the library fails.
    pub fn new(vault: &Vault) -> Result<Self, crypto::Error> {
        Ok(Self {
            key: vault.hmac_key("audit")?,
        })
    }

    /// Appends an entry; it is there if `tx` commits. Everyone who records waits for
    /// `tx` to end, so this is the last statement but the commit.
    ///
    /// # Errors
    /// An entry that is too long, or the database's.
    pub async fn record(
        &self,
        tx: &mut Tx,
        entry: NewEntry,
        now: UnixMicros,
    ) -> Result<Uuid, Error> {
        let detail = entry.detail.to_string();
        let actor = entry.actor.name();
        let short = [
            ("actor", actor.as_str()),
            ("subject", entry.subject.as_deref().unwrap_or_default()),
            (
                "address_prefix",
                entry.address_prefix.as_deref().unwrap_or_default(),
            ),
        ];
        if let Some((name, _)) = short.iter().find(|(_, text)| text.len() > TEXT_BYTES_MAX) {
            return Err(Error::TooLong(name));
        }
        if detail.len() > DETAIL_BYTES_MAX {
            return Err(Error::TooLong("detail"));
        }
        let (seq, before) = lock_head(tx).await?;
        let entry = Entry {
            seq: seq + 1,
            id: Uuid::now_v7(),
            at: now,
            actor_kind: entry.actor.kind().to_owned(),
            actor,
            action: entry.action.to_owned(),
            subject: entry.subject,
            detail,
            address_prefix: entry.address_prefix,
        };
        let hash = chain::link(&self.key, &before, &entry);
        insert(tx, &entry, &before, &hash).await?;
        query("UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1")
            .bind(entry.seq)
            .bind(hash.as_slice())
            .execute(tx)
            .await?;
        Ok(entry.id)
    }

    /// Entries, newest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, db: &Db, filter: &Filter) -> Result<Vec<Entry>, Error> {
        Ok(list::list(db, filter).await?)
    }

    /// Walks the whole log. `since`: an [`Anchor`] that an earlier report gave and that
    /// was kept elsewhere, which a log restored to an older state does not have.
    ///
    /// # Errors
    /// The database's; what is wrong with the log stands in the report.
    pub async fn verify(&self, db: &Db, since: Option<&Anchor>) -> Result<Report, Error> {
        Ok(verify::verify(&self.key, db, since).await?)
    }
}

/// Locks the newest entry's row, made when the first entry is.
async fn lock_head(tx: &mut Tx) -> Result<(i64, Hash), db::Error> {
    let row = query(
        "INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, $1)
         ON CONFLICT (id) DO UPDATE SET seq = audit_head.seq
         RETURNING seq, hash",
    )
    .bind(GENESIS.as_slice())
    .fetch_one(tx)
    .await?;
    let hash: Vec<u8> = row.get(1)?;
    let hash = hash.try_into();
    Ok((
        row.get(0)?,
        hash.map_err(|_| db::Error::Corrupt("audit_head.hash"))?,
    ))
}

async fn insert(tx: &mut Tx, entry: &Entry, before: &Hash, hash: &Hash) -> Result<(), db::Error> {
    query(
        "INSERT INTO audit_log (seq, id, at, actor_kind, actor, action, subject, detail,
                                address_prefix, prev_hash, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(entry.seq)
    .bind(entry.id)
    .bind(entry.at)
    .bind(&entry.actor_kind)
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(entry.subject.clone())
    .bind(&entry.detail)
    .bind(entry.address_prefix.clone())
    .bind(before.as_slice())
    .bind(hash.as_slice())
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
