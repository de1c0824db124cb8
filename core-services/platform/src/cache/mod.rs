//! What was read before: in this process (moka), then in Redis (fred), then from
//! the database, by one reader at a time.
//! Invariant: after a `delete` in this process no older value is read in it; in
//! others as soon as Redis tells them, at the latest after `LOCAL_TTL`.
//! Refuses to be needed: without Redis, or with one that is slow, paused or gone,
//! reads go to the database and nobody waits long.

mod breaker;
mod local;
mod shared;

use std::{future::Future, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use prometheus::IntCounterVec;
use tokio_util::sync::CancellationToken;

use crate::{
    crypto::{self, Vault},
    metrics::Metrics,
};

use local::{Entry, Local};
use shared::{Found, Shared};

/// How long a value stays in a process that Redis might have failed to tell of a change.
const LOCAL_TTL: Duration = Duration::from_secs(30);
/// Lifetimes differ by up to this part of them in either direction, so that what was read
/// together is not forgotten together.
const JITTER: f64 = 0.1;
/// A larger value is read each time: it would push out thousands of small ones.
const VALUE_BYTES_MAX: usize = 256 * 1024;
/// A value that was deleted while it was read is read again so often, then taken uncached.
const TRIES_MAX: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not shown: it may hold a password.
    #[error(
        "REDIS_URL: not usable ({0})\nhint: redis://host:6379 or rediss://user:password@host:6379"
    )]
    Url(String),
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
}

/// Where values of a kind may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// In Redis as they are: what anyone may see.
    Plain,
    /// In Redis, sealed: personal data.
    Sealed,
    /// In processes only.
    Local,
}

/// One kind of values.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// What their keys begin with, such as `user:profile`.
    pub prefix: &'static str,
    pub ttl: Duration,
    /// How long it is remembered that there is no such thing.
    pub absent_ttl: Duration,
    pub sharing: Sharing,
}

impl Space {
    fn key(&self, id: &str) -> String {
        format!("{}:{id}", self.prefix)
    }
}

/// What stands in a key in place of a secret, such as a token: SHA-256 in hexadecimal.
pub fn hashed(secret: &str) -> String {
    let digest = digest(&SHA256, secret.as_bytes());
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// One service's cache; clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    service: &'static str,
    local: Local,
    shared: Option<Shared>,
    lookups: IntCounterVec,
}

impl Cache {
    /// A cache in this process alone.
    pub fn local(service: &'static str, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            service,
            local: Local::new(),
            shared: None,
            lookups: metrics.cache_lookups.clone(),
        }))
    }

    /// A cache before the Redis at `url`, in its database of that number. Redis need not
    /// be there yet. [`Cache::run`] keeps it in step with other replicas.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn before_redis(
        service: &'static str,
        (url, database): (&str, u8),
        vault: &Vault,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let errors = metrics.cache_errors.clone();
        let sealer = vault.sealer("cache")?;
        let shared = Shared::connect(service, (url, database), sealer, errors)?;
        Ok(Self(Arc::new(Inner {
            service,
            local: Local::new(),
            shared: Some(shared),
            lookups: metrics.cache_lookups.clone(),
        })))
    }

    /// The value of `id`; `load` reads it where it is kept, once for all who ask at the
    /// same time.
    ///
    /// # Errors
    /// That of `load`, which is not remembered.
    pub async fn get<E, F>(
        &self,
        space: &Space,
        id: &str,
        load: impl Fn() -> F,
    ) -> Result<Option<Bytes>, Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let key = space.key(id);
        let local = &self.0.local;
        let deletes = local.deletes(&key);
        for _ in 0..TRIES_MAX {
            let (entry, is_fresh) = local.get(&key, self.fetch(space, &key, &load)).await?;
            if entry.deletes >= deletes {
                if !is_fresh {
                    self.count(space, "local");
                }
                return Ok(entry.value);
            }
            // Read before a delete that was over when this call began.
            local.drop_value(&key).await;
        }
        self.count(space, "miss");
        load().await.map_err(Arc::new)
    }

    /// Forgets the value of `id`, here, in Redis and in other replicas. Called after the
    /// change was committed.
    pub async fn delete(&self, space: &Space, id: &str) {
        let key = space.key(id);
        self.0.local.delete(&key).await;
        if let Some(shared) = &self.0.shared {
            shared.delete(&key, space.sharing).await;
            // Who read the old value from Redis in between must not keep it.
            self.0.local.delete(&key).await;
        }
    }

    /// Hears what other replicas delete, and repeats what Redis did not take, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Some(shared) = &self.0.shared else {
            return stop.cancelled().await;
        };
        let listening = shared.listen(&self.0.local);
        tokio::select! {
            () = stop.cancelled() => {}
            () = listening => {}
        }
        shared.close().await;
    }

    /// Does Redis answer? `Ok` without one.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping(&self) -> Result<(), String> {
        match &self.0.shared {
            Some(shared) => shared.ping().await,
            None => Ok(()),
        }
    }

    /// From Redis or by `load`, with the time to keep it.
    async fn fetch<E, F>(&self, space: &Space, key: &str, load: impl Fn() -> F) -> Result<Entry, E>
    where
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        // First of all: a delete from now on makes the entry too old.
        let deletes = self.0.local.deletes(key);
        let entry = |value: Option<Bytes>| Entry {
            lives: self.lives(space, value.as_ref()),
            value,
            deletes,
        };
        let shared = self
            .0
            .shared
            .as_ref()
            .filter(|_| space.sharing != Sharing::Local);
        let Some(shared) = shared else {
            self.count(space, "miss");
            return Ok(entry(load().await?));
        };
        let found = shared.read(key).await;
        if let Found::Value(value) = found {
            self.count(space, "shared");
            return Ok(entry(value));
        }
        self.count(space, "miss");
        let value = load().await?;
        if matches!(found, Found::Nothing) && fits(value.as_ref()) {
            let ttl = jittered(ttl(space, value.as_ref()));
            shared.fill(key, value.as_ref(), space.sharing, ttl).await;
        }
        Ok(entry(value))
    }

    fn lives(&self, space: &Space, value: Option<&Bytes>) -> Duration {
        if !fits(value) {
            return Duration::ZERO;
        }
        let ttl = ttl(space, value);
        jittered(match self.0.shared {
            Some(_) => ttl.min(LOCAL_TTL),
            None => ttl,
        })
    }

    fn count(&self, space: &Space, result: &str) {
        let labels = [self.0.service, space.prefix, result];
        self.0.lookups.with_label_values(&labels).inc();
    }
}

fn ttl(space: &Space, value: Option<&Bytes>) -> Duration {
    match value {
        Some(_) => space.ttl,
        None => space.absent_ttl,
    }
}

fn fits(value: Option<&Bytes>) -> bool {
    value.is_none_or(|value| value.len() <= VALUE_BYTES_MAX)
}

fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests;
