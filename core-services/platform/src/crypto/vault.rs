//! Where data keys live: wrapped in the table `data_keys`, unwrapped in a small
//! cache, destroyed when a subject is forgotten.
//! Invariant: only keys that a commit acknowledged are cached, so nothing is
//! ever sealed under a key that was rolled back; a destroyed key is never
//! replaced by a new one.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, Prk},
    hmac,
};
use uuid::Uuid;

use super::{
    Error, KeyRing, SubjectKey,
    envelope::{self, RawKey, Sealer},
};
use crate::{
    clock::UnixMicros,
    db::{Db, On, Row, Tx, query},
};

/// Whose data key seals what belongs to no user: signing keys, client secrets.
/// The keys for blind indexes, cursors, the audit log and the cache are derived from it.
pub const SERVICE_SUBJECT: Uuid = Uuid::nil();
/// Unwrapped keys at a time; some 700 bytes each.
const CACHED_MAX: u64 = 10_000;
/// How long another replica may go on reading what was destroyed here.
const CACHED_FOR: Duration = Duration::from_secs(60);
/// Data keys that are wrapped anew in one transaction.
const REWRAP_BATCH: i64 = 200;
/// Data keys that may be asked for at once: a page of any list is shorter.
const KEYS_MAX: usize = 1_000;

/// One service's data keys; clones share the cache.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    ring: KeyRing,
    cached: moka::sync::Cache<Uuid, SubjectKey>,
    service: SubjectKey,
    root: Prk,
    index: hmac::Key,
}

impl Vault {
    /// As [`Vault::start`], with the ring in `named`; without a name the one in `data_dir`,
    /// made if it is missing and the database needs none yet.
    ///
    /// # Errors
    /// No usable ring, or one that does not open this database's keys.
    pub async fn open(
        db: &Db,
        (named, data_dir): (Option<&Path>, &Path),
        now: UnixMicros,
    ) -> Result<Self, Error> {
        let (path, exists) = KeyRing::own(data_dir);
        if named.is_none() && !exists {
            let keys = wrapped(db).await?;
            if keys > 0 {
                return Err(Error::RingLost { path, keys });
            }
        }
        Self::start(db, KeyRing::open(named, data_dir)?, now).await
    }

    /// Opens the vault of a migrated database; makes the service's own data key if
    /// there is none.
    ///
    /// # Errors
    /// A ring that does not open this database's keys.
    pub async fn start(db: &Db, ring: KeyRing, now: UnixMicros) -> Result<Self, Error> {
        if row_of(db, SERVICE_SUBJECT).await?.is_none() {
            let mut tx = db.begin().await?;
            insert(&mut tx, &ring, SERVICE_SUBJECT, now).await?;
            tx.commit().await?;
        }
        let row = row_of(db, SERVICE_SUBJECT).await?.ok_or(Error::NoKey)?;
        let raw = unwrap_row(&ring, SERVICE_SUBJECT, &row)?;
        let root = Prk::new_less_safe(HKDF_SHA256, raw.as_ref());
        Ok(Self(Arc::new(Inner {
            ring,
            cached: moka::sync::Cache::builder()
                .max_capacity(CACHED_MAX)
                .time_to_live(CACHED_FOR)
                .build(),
            service: SubjectKey::new(SERVICE_SUBJECT, &raw)?,
            index: hmac_key(&root, "blind-index")?,
            root,
        })))
    }

    /// Seals what belongs to no user.
    pub fn service_key(&self) -> &SubjectKey {
        &self.0.service
    }

    /// Makes the subject's data key; one that is there already is returned.
    ///
    /// # Errors
    /// [`Error::Shredded`] for a subject that was forgotten.
    pub async fn create(
        &self,
        tx: &mut Tx,
        subject: Uuid,
        now: UnixMicros,
    ) -> Result<SubjectKey, Error> {
        match insert(tx, &self.0.ring, subject, now).await? {
            Some(raw) => SubjectKey::new(subject, &raw),
            None => self.key(tx, subject).await,
        }
    }

    /// The subject's data key.
    ///
    /// # Errors
    /// [`Error::Shredded`] and [`Error::NoKey`] are two things.
    pub async fn key<'a>(&self, on: impl Into<On<'a>>, subject: Uuid) -> Result<SubjectKey, Error> {
        if let Some(key) = self.0.cached.get(&subject) {
            return Ok(key);
        }
        let on = on.into();
        // A transaction also sees what it may yet take back.
        let committed = matches!(on, On::Reader(_));
        let row = row_of(on, subject).await?.ok_or(Error::NoKey)?;
        let raw = unwrap_row(&self.0.ring, subject, &row)?;
        let key = SubjectKey::new(subject, &raw)?;
        if committed {
            self.0.cached.insert(subject, key.clone());
        }
        Ok(key)
    }

    /// The data keys of many, by one statement; those that are not there or were
    /// destroyed are left out. More than 1,000 are cut off.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn keys(
        &self,
        db: &Db,
        subjects: &[Uuid],
    ) -> Result<HashMap<Uuid, SubjectKey>, Error> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for &subject in subjects.iter().take(KEYS_MAX) {
            match self.0.cached.get(&subject) {
                Some(key) => _ = found.insert(subject, key),
                None => missing.push(subject),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let rows = query(
            "SELECT wrapped, kek_id, subject FROM data_keys
             WHERE subject {any_uuid:$1} AND wrapped IS NOT NULL",
        )
        .bind(missing)
        .fetch_all(db)
        .await?;
        for row in &rows {
            let subject = row.get(2)?;
            let key = SubjectKey::new(subject, &unwrap_row(&self.0.ring, subject, row)?)?;
            self.0.cached.insert(subject, key.clone());
            found.insert(subject, key);
        }
        Ok(found)
    }

    /// Destroys the subject's data key when `tx` commits; call [`Vault::forget`] then.
    /// False if there was none to destroy. The row stays: a late `create` is refused.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn shred(&self, tx: &mut Tx, subject: Uuid, now: UnixMicros) -> Result<bool, Error> {
        let touched = query(
            "UPDATE data_keys SET wrapped = NULL, shredded_at = $2
             WHERE subject = $1 AND wrapped IS NOT NULL",
        )
        .bind(subject)
        .bind(now)
        .execute(tx)
        .await?;
        self.forget(subject);
        Ok(touched > 0)
    }

    /// Drops the unwrapped key from this process. Others drop it within a minute.
    pub fn forget(&self, subject: Uuid) {
        self.0.cached.invalidate(&subject);
    }

    /// What stands in an index in place of a value that must be found again but not
    /// read: HMAC-SHA-256 of the `kind` (such as `email`) and the value, which the
    /// caller has brought to its one spelling.
    pub fn blind_index(&self, kind: &str, value: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0.index);
        // With its length, else kind `ab` and value `c` would be kind `a` and value `bc`.
        context.update(&(kind.len() as u64).to_be_bytes());
        context.update(kind.as_bytes());
        context.update(value.as_bytes());
        context.sign().as_ref().to_vec()
    }

    /// A key for authenticating, of its own for each purpose; the same after a
    /// rotation of the ring and in every replica.
    ///
    /// # Errors
    /// Only if the library fails.
    pub(crate) fn hmac_key(&self, purpose: &str) -> Result<hmac::Key, Error> {
        hmac_key(&self.0.root, purpose)
    }

    /// A key for sealing what lives shortly and outside of the database, likewise.
    ///
    /// # Errors
    /// Only if the library fails.
    pub(crate) fn sealer(&self, purpose: &str) -> Result<Sealer, Error> {
        let mut raw = RawKey::default();
        let info = [b"cipher:", purpose.as_bytes()];
        let derived = self.0.root.expand(&info, HKDF_SHA256.hmac_algorithm())?;
        derived.fill(raw.as_mut())?;
        Sealer::new(&raw)
    }

    /// Wraps every data key that an older key of the ring wrapped by the newest, in
    /// batches, so that the older key's line can be taken out. Returns how many.
    /// Many replicas may do it at once, and it may be stopped at any point.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rewrap(&self, db: &Db) -> Result<u64, Error> {
        let older = self.0.ring.older();
        let (mut moved, mut after) = (0, None);
        if older.is_empty() {
            return Ok(0);
        }
        loop {
            let mut tx = db.begin().await?;
            let (last, count) = self.rewrap_batch(&mut tx, &older, after).await?;
            tx.commit().await?;
            moved += count;
            if last.is_none() {
                return Ok(moved);
            }
            after = last;
        }
    }

    async fn rewrap_batch(
        &self,
        tx: &mut Tx,
        older: &[String],
        after: Option<Uuid>,
    ) -> Result<(Option<Uuid>, u64), Error> {
        let newest = self.0.ring.newest();
        let rows = query(
            "SELECT wrapped, kek_id, subject FROM data_keys
             WHERE kek_id {any_text:$1} AND wrapped IS NOT NULL AND ($2 IS NULL OR subject > $2)
             ORDER BY subject LIMIT $3 {for_update}",
        )
        .bind(older.to_vec())
        .bind(after)
        .bind(REWRAP_BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let mut last = None;
        for row in &rows {
            let subject = row.get(2)?;
            let raw = unwrap_row(&self.0.ring, subject, row)?;
            query("UPDATE data_keys SET wrapped = $2, kek_id = $3 WHERE subject = $1")
                .bind(subject)
                .bind(envelope::wrap(newest, subject, &raw)?)
                .bind(newest.0)
                .execute(tx)
                .await?;
            last = Some(subject);
        }
        Ok((last, rows.len() as u64))
    }

    /// Data keys that still need another key than the ring's newest, by that key's id.
    /// Empty: only the first line is in use.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn wrapped_by_older(&self, db: &Db) -> Result<Vec<(String, i64)>, Error> {
        let rows = query(
            "SELECT kek_id, CAST(COUNT(*) AS BIGINT) FROM data_keys
             WHERE kek_id <> $1 AND wrapped IS NOT NULL GROUP BY kek_id ORDER BY kek_id",
        )
        .bind(self.0.ring.newest().0)
        .fetch_all(db)
        .await?;
        rows.iter()
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .collect()
    }
}

fn hmac_key(root: &Prk, purpose: &str) -> Result<hmac::Key, Error> {
    let info = [b"hmac:".as_slice(), purpose.as_bytes()];
    Ok(root.expand(&info, HKDF_SHA256.hmac_algorithm())?.into())
}

/// How many data keys need a ring.
async fn wrapped(db: &Db) -> Result<i64, Error> {
    let row = query("SELECT COUNT(*) FROM data_keys WHERE wrapped IS NOT NULL")
        .fetch_one(db)
        .await?;
    Ok(row.get(0)?)
}

async fn row_of<'a>(on: impl Into<On<'a>>, subject: Uuid) -> Result<Option<Row>, Error> {
    Ok(
        query("SELECT wrapped, kek_id FROM data_keys WHERE subject = $1")
            .bind(subject)
            .fetch_optional(on)
            .await?,
    )
}

/// A new data key, or `None` if the subject has a row already.
async fn insert(
    tx: &mut Tx,
    ring: &KeyRing,
    subject: Uuid,
    now: UnixMicros,
) -> Result<Option<RawKey>, Error> {
    let newest = ring.newest();
    let raw = envelope::generate()?;
    let touched = query(
        "INSERT INTO data_keys (subject, wrapped, kek_id, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (subject) DO NOTHING",
    )
    .bind(subject)
    .bind(envelope::wrap(newest, subject, &raw)?)
    .bind(newest.0)
    .bind(now)
    .execute(tx)
    .await?;
    Ok((touched > 0).then_some(raw))
}

/// Of a row that begins with `wrapped` and `kek_id`.
fn unwrap_row(ring: &KeyRing, subject: Uuid, row: &Row) -> Result<RawKey, Error> {
    let wrapped: Option<Vec<u8>> = row.get(0)?;
    let wrapped = wrapped.ok_or(Error::Shredded)?;
    let id: String = row.get(1)?;
    match ring.find(&id) {
        Some(kek) => envelope::unwrap((&id, kek), subject, &wrapped),
        None => Err(Error::UnknownKek(id)),
    }
}
