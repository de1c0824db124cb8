//! The values in this process.
//! Invariant: an entry knows how many deletes there were when its reading began;
//! one that was overtaken by a delete is never taken for current.

use std::{
    array,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::{Expiry, future::Cache};

/// What all values of one service may take together.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What an entry takes beside its key and value, roughly.
const ENTRY_BYTES: usize = 200;
/// Deletes are counted for so many groups of keys; a delete also drops the group's other
/// members, which costs one more read of each.
const GROUPS: usize = 4096;

/// A value, or that there is none.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: Option<Bytes>,
    pub(super) lives: Duration,
    /// The group's deletes when the reading began.
    pub(super) deletes: u64,
}

pub(super) struct Local {
    entries: Cache<String, Entry>,
    deletes: Box<[AtomicU64; GROUPS]>,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            entries: Cache::builder()
                .max_capacity(BYTES_MAX)
                .weigher(|key: &String, entry| weight(key, entry))
                .expire_after(Lives)
                .build(),
            deletes: Box::new(array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// The entry of `key`; `fetch` makes it, once for all who wait. True if it did.
    pub(super) async fn get<E: Send + Sync + 'static>(
        &self,
        key: &str,
        fetch: impl Future<Output = Result<Entry, E>>,
    ) -> Result<(Entry, bool), Arc<E>> {
        let entry = self.entries.entry_by_ref(key);
        // Boxed: a loader's future can be large, and waits inside of moka's.
        let entry = entry.or_try_insert_with(Box::pin(fetch)).await?;
        let is_fresh = entry.is_fresh();
        Ok((entry.into_value(), is_fresh))
    }

    pub(super) fn deletes(&self, key: &str) -> u64 {
        self.group(key)
            .map_or(0, |count| count.load(Ordering::SeqCst))
    }

    pub(super) async fn delete(&self, key: &str) {
        if let Some(count) = self.group(key) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.drop_value(key).await;
    }

    pub(super) async fn drop_value(&self, key: &str) {
        self.entries.invalidate(key).await;
    }

    /// Everything may have changed.
    pub(super) fn delete_all(&self) {
        for count in self.deletes.iter() {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.entries.invalidate_all();
    }

    fn group(&self, key: &str) -> Option<&AtomicU64> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let group = usize::try_from(hasher.finish() % GROUPS as u64);
        self.deletes.get(group.unwrap_or(0))
    }
}

fn weight(key: &str, entry: &Entry) -> u32 {
    let value = entry.value.as_ref().map_or(0, Bytes::len);
    u32::try_from(key.len() + value + ENTRY_BYTES).unwrap_or(u32::MAX)
}

/// Each entry brings its own time.
struct Lives;

impl Expiry<String, Entry> for Lives {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.lives)
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.lives)
    }
}
