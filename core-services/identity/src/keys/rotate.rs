//! Keeping the signing keys: in the database, in this process, and not for ever.
//! Invariant: a generation is made once, whichever replicas try; every replica has read
//! the next key long before it signs, unless the ones before are compromised.

use std::time::Duration;

use core_platform::{
    audit::Actor,
    clock::UnixMicros,
    crypto::{Field, Vault},
    db::{self, Db, On},
    jobs::{Failure, Job, JobContext},
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

use super::{
    Signer, TokenSettings,
    set::{KeySet, PUBLISHED_AHEAD, StoredKey},
};
use crate::{
    error::Error,
    facts::{About, Fact, Facts},
    store::{
        keys::{self, KeyRow},
        revocations::has_dead_key,
    },
};

/// A key signs for so long, unless it is replaced before.
const ROTATED_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);
/// Replicas look for keys that others made; many times while a new one waits.
const READ_EVERY: Duration = Duration::from_secs(10);

/// Of a replacement that meets a rotation; one of the two is done by then.
const TRIES_MAX: u32 = 3;

const PRIVATE: Field = Field::new("signing_keys.private");

/// The signing keys of this service; clones share them.
#[derive(Clone)]
pub(crate) struct SigningKeys {
    db: Db,
    vault: Vault,
    facts: Facts,
    pub(crate) signer: Signer,
}

/// A key that signs, or soon will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotated {
    pub(crate) kid: String,
    pub(crate) signs_from: UnixMicros,
}

impl SigningKeys {
    /// On a migrated database; makes the first key if there is none.
    pub(crate) async fn open(
        (db, vault, facts): (&Db, &Vault, &Facts),
        settings: &TokenSettings,
        now: UnixMicros,
    ) -> Result<Self, Error> {
        let mut stored = read(db, vault).await?;
        if stored.is_empty() {
            let first = StoredKey::generate(1, now)?;
            let mut tx = db.begin().await?;
            match keys::insert(&mut tx, &sealed(&first, vault)?, now).await {
                // Another replica was a moment earlier.
                Err(db::Error::Taken(_)) => drop(tx),
                made => {
                    made?;
                    tx.commit().await?;
                }
            }
            stored = read(db, vault).await?;
        }
        Ok(Self {
            db: db.clone(),
            vault: vault.clone(),
            facts: facts.clone(),
            signer: Signer::new(settings, KeySet::new(&stored)?)?,
        })
    }

    /// Takes over what other replicas did.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let stored = read(&self.db, &self.vault).await?;
        Ok(self.signer.replace(KeySet::new(&stored)?)?)
    }

    /// Publishes the next key, unless one waits already.
    ///
    /// # Errors
    /// The library has no random bytes, or the database.
    pub(crate) async fn rotate(&self, by: Actor, now: UnixMicros) -> Result<Rotated, Error> {
        let mut tx = self.db.begin().await?;
        let newest = keys::all(&mut tx).await?.pop();
        let newest = newest.ok_or(super::Error::None)?;
        if newest.signs_from > now {
            return Ok(rotated(&newest));
        }
        let next = StoredKey::generate(newest.generation + 1, now + PUBLISHED_AHEAD)?;
        let next = sealed(&next, &self.vault)?;
        match keys::insert(&mut tx, &next, now).await {
            Err(db::Error::Taken(_)) => {
                drop(tx);
                let made = keys::all(&self.db).await?.pop();
                return Ok(rotated(&made.ok_or(super::Error::None)?));
            }
            made => made?,
        }
        let fact = Fact::SigningKeyMade {
            kid: next.kid.clone(),
            by,
        };
        self.facts
            .tell(&mut tx, &[fact], &About::nobody(), now)
            .await?;
        tx.commit().await?;
        self.reload().await?;
        tracing::info!(kid = %next.kid, "the next signing key is published");
        Ok(rotated(&next))
    }

    /// Because the keys may be in the wrong hands: a new one signs at once, and no token of
    /// the others is believed from now on. Sessions and API keys live on; whoever holds a
    /// refresh token trades it for an access token of the new key.
    ///
    /// # Errors
    /// The library has no random bytes, or the database.
    pub(crate) async fn replace(&self, by: Actor, now: UnixMicros) -> Result<Rotated, Error> {
        let mut tries = 1;
        let next = loop {
            match self.replaced(&by, now).await {
                // Somebody made a key of this generation, and may have revoked none.
                Err(Error::Db(db::Error::Taken(_))) if tries < TRIES_MAX => tries += 1,
                next => break next?,
            }
        };
        self.reload().await?;
        tracing::warn!(kid = %next.kid, "another signing key is in force, the ones before are revoked");
        Ok(rotated(&next))
    }

    async fn replaced(&self, by: &Actor, now: UnixMicros) -> Result<KeyRow, Error> {
        let mut tx = self.db.begin().await?;
        let dead = keys::all(&mut tx).await?;
        let newest = dead.last().ok_or(super::Error::None)?;
        let next = StoredKey::generate(newest.generation + 1, now)?;
        let next = sealed(&next, &self.vault)?;
        keys::insert(&mut tx, &next, now).await?;
        keys::forget_before(&mut tx, next.generation).await?;
        let revoked = dead.iter().map(|key| Fact::SigningKeyRevoked {
            kid: key.kid.clone(),
            by: by.clone(),
        });
        let made = Fact::SigningKeyMade {
            kid: next.kid.clone(),
            by: by.clone(),
        };
        let facts: Vec<_> = revoked.chain([made]).collect();
        self.facts
            .tell(&mut tx, &facts, &About::nobody(), now)
            .await?;
        tx.commit().await?;
        Ok(next)
    }

    /// Rotates if it is time, and forgets the keys whose last token is dead.
    async fn keep(&self, context: &JobContext) -> Result<(), Error> {
        let now = context.now;
        let newest = keys::all(&self.db).await?.pop();
        if newest.is_some_and(|newest| newest.signs_from + ROTATED_EVERY <= now) {
            self.rotate(Actor::System, now).await?;
        }
        self.reload().await?;
        let oldest = self
            .signer
            .keys
            .load()
            .published(now)
            .next()
            .map(|key| key.generation);
        let mut tx = self.db.begin().await?;
        let gone = keys::forget_before(&mut tx, oldest.unwrap_or(0)).await?;
        tx.commit().await?;
        if gone > 0 {
            self.reload().await?;
        }
        Ok(())
    }

    /// Reads the keys again and again, and when a revocation says that one is dead, until
    /// `stop`. `newest`: the number of the newest revocation.
    pub(crate) async fn follow(self, mut newest: watch::Receiver<i64>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        loop {
            let is_due = tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => true,
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let after = std::mem::replace(&mut seen, *newest.borrow_and_update());
                    // Where nobody can say, reading the keys will say why.
                    has_dead_key(&self.db, after).await.unwrap_or(true)
                }
            };
            if is_due && let Err(error) = self.reload().await {
                tracing::warn!(%error, "the signing keys cannot be read; the known ones stay");
            }
        }
    }
}

/// The job.
pub(crate) struct Rotation(pub(crate) SigningKeys);

impl Rotation {
    pub(crate) const KIND: &'static str = "identity.rotate-signing-keys";
    /// Each hour: a key that is compromised and was replaced goes soon.
    pub(crate) const SCHEDULE: &'static str = "7 * * * *";
}

#[async_trait]
impl Job for Rotation {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        Ok(self.0.keep(context).await?)
    }
}

fn rotated(row: &KeyRow) -> Rotated {
    Rotated {
        kid: row.kid.clone(),
        signs_from: row.signs_from,
    }
}

async fn read(on: impl Into<On<'_>>, vault: &Vault) -> Result<Vec<StoredKey>, Error> {
    let rows = keys::all(on).await?.into_iter();
    rows.map(|row| {
        Ok(StoredKey {
            pkcs8: vault.service_key().open(PRIVATE, &row.private)?,
            kid: row.kid,
            generation: row.generation,
            public: row.public,
            signs_from: row.signs_from,
        })
    })
    .collect()
}

fn sealed(key: &StoredKey, vault: &Vault) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        kid: key.kid.clone(),
        generation: key.generation,
        private: vault.service_key().seal(PRIVATE, &key.pkcs8)?,
        public: key.public.clone(),
        signs_from: key.signs_from,
    })
}
