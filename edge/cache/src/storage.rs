//! `MemoryStorage`: finished entries in a byte-weighed moka cache, and the table of running fills.
//!
//! Invariant: a purge is final. What was stored or filling when it ran is never served again
//! to a new reader, because commit and purge of a key take the same shard lock.
//! Refuses objects over the limit and fills over the budget; those responses pass uncached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;
use pingora_cache::CacheKey;

use crate::budget::{Budget, Purpose};
use crate::entry::{Body, Entry, StoredMeta};
use crate::fill::{Fill, Role, Unkept};
use crate::hit::PartialHit;
use crate::key::EntryKey;

/// Shards of the table of fills; look-ups of different keys rarely meet on one lock.
const SHARDS: usize = 16;
/// No object is larger, so that its weight fits moka's `u32`.
const OBJECT_BYTES_LIMIT: u64 = 1024 * 1024 * 1024;
/// Keys remembered as too large, so that a big download without a length isn't started over and over.
const TOO_LARGE_KEYS_MAX: u64 = 4096;
/// The object may shrink; then it is tried again.
const TOO_LARGE_KEEP: Duration = Duration::from_secs(300);

/// What the store holds and has done. Counters only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Weight of finished entries: body, header, key and book-keeping.
    pub bytes: u64,
    /// Finished entries.
    pub entries: u64,
    /// Bytes held by fills in flight.
    pub fill_bytes: u64,
    /// Fills in flight that may still be stored.
    pub fills_in_flight: u64,
    /// Fills begun.
    pub fills: u64,
    /// Fills whose writer went away, or whose body was not as long as announced.
    pub fill_aborts: u64,
    /// Fills that turned out larger than the object limit, or announced so.
    pub fills_too_large: u64,
    /// Fills refused or given up because the budget of fills was used up.
    pub fills_shed: u64,
    /// Entries removed for want of space.
    pub evictions: u64,
    /// Entries removed because their last stale window closed.
    pub expirations: u64,
    /// Purges that found something.
    pub purges: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fills: AtomicU64,
    pub(crate) fill_aborts: AtomicU64,
    pub(crate) fills_too_large: AtomicU64,
    pub(crate) fills_shed: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) expirations: AtomicU64,
    pub(crate) purges: AtomicU64,
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Entries time themselves; a replaced entry takes the time of the new one.
struct KeepFor;

impl Expiry<EntryKey, Arc<Entry>> for KeepFor {
    fn expire_after_create(
        &self,
        _: &EntryKey,
        entry: &Arc<Entry>,
        _: Instant,
    ) -> Option<Duration> {
        Some(entry.keep_for)
    }

    fn expire_after_update(
        &self,
        _: &EntryKey,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.keep_for)
    }
}

/// Fills of one shard by key, oldest first. More than one where no cache lock collapses misses.
type Fills = HashMap<EntryKey, Vec<Arc<Fill>>>;

/// In-memory response storage, bounded by bytes.
pub struct MemoryStorage {
    pub(crate) entries: Cache<EntryKey, Arc<Entry>>,
    too_large: Cache<EntryKey, ()>,
    // std's mutex: held for map operations only, never across an await.
    shards: [Mutex<Fills>; SHARDS],
    in_flight: AtomicUsize,
    pub(crate) next_id: AtomicU64,
    pub(crate) budget: Arc<Budget>,
    pub(crate) object_bytes_max: usize,
    pub(crate) counters: Arc<Counters>,
}

impl MemoryStorage {
    /// A store of at most `max_bytes`, a quarter of it for fills in flight.
    ///
    /// Bodies over `max_object_bytes` are not stored; the limit is lowered to what one fill may
    /// hold (3/16 of `max_bytes`) and to 1 GiB. See [`Self::max_object_bytes`].
    #[must_use]
    pub fn new(max_bytes: u64, max_object_bytes: usize) -> Self {
        let budget = Budget::of(max_bytes);
        let counters = Arc::new(Counters::default());
        let limit = budget.threshold(Purpose::Keep).min(OBJECT_BYTES_LIMIT);
        let removed = Arc::clone(&counters);
        let entries = Cache::builder()
            .max_capacity(max_bytes - budget.limit())
            .weigher(|_: &EntryKey, entry: &Arc<Entry>| entry.weight)
            .expire_after(KeepFor)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => bump(&removed.evictions),
                RemovalCause::Expired => bump(&removed.expirations),
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build();
        Self {
            entries,
            too_large: Cache::builder()
                .max_capacity(TOO_LARGE_KEYS_MAX)
                .time_to_live(TOO_LARGE_KEEP)
                .build(),
            shards: std::array::from_fn(|_| Mutex::default()),
            in_flight: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            budget: Arc::new(budget),
            object_bytes_max: max_object_bytes.min(usize::try_from(limit).unwrap_or(usize::MAX)),
            counters,
        }
    }

    /// The same, for the life of the process: Pingora takes storages as `&'static`.
    #[must_use]
    pub fn leak(max_bytes: u64, max_object_bytes: usize) -> &'static Self {
        Box::leak(Box::new(Self::new(max_bytes, max_object_bytes)))
    }

    /// The largest body that can be stored, in bytes.
    #[must_use]
    pub fn max_object_bytes(&self) -> usize {
        self.object_bytes_max
    }

    /// Whether a response to this key was lately found too large while it was being filled.
    /// Ask before the cache is enabled: such a request better goes past it.
    #[must_use]
    pub fn known_too_large(&self, key: &CacheKey) -> bool {
        self.too_large.contains_key(&EntryKey::from(key))
    }

    /// Counts as of now; frees what has expired first, so call it now and then (a scrape does).
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.entries.run_pending_tasks();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            bytes: self.entries.weighted_size(),
            entries: self.entries.entry_count(),
            fill_bytes: self.budget.used(),
            fills_in_flight: self.in_flight.load(Ordering::Relaxed) as u64,
            fills: read(&self.counters.fills),
            fill_aborts: read(&self.counters.fill_aborts),
            fills_too_large: read(&self.counters.fills_too_large),
            fills_shed: read(&self.counters.fills_shed),
            evictions: read(&self.counters.evictions),
            expirations: read(&self.counters.expirations),
            purges: read(&self.counters.purges),
        }
    }

    /// Removes everything. Fills in flight reach their present readers and are not stored.
    pub fn purge_all(&self) {
        for shard in &self.shards {
            let fills = std::mem::take(&mut *lock(shard));
            self.in_flight
                .fetch_sub(fills.values().map(Vec::len).sum(), Ordering::Relaxed);
        }
        self.entries.invalidate_all();
        self.too_large.invalidate_all();
        self.entries.run_pending_tasks();
        bump(&self.counters.purges);
    }

    /// Removes one key, stored or filling; false where there was nothing.
    pub(crate) fn purge_key(&self, key: EntryKey) -> bool {
        let mut fills = self.shard(key);
        let filling = fills.remove(&key).unwrap_or_default();
        self.in_flight.fetch_sub(filling.len(), Ordering::Relaxed);
        let stored = self.entries.remove(&key);
        drop(fills);
        let found = stored.is_some() || !filling.is_empty();
        if found {
            bump(&self.counters.purges);
        }
        found
    }

    fn shard(&self, key: EntryKey) -> MutexGuard<'_, Fills> {
        lock(&self.shards[key.shard() % SHARDS])
    }

    pub(crate) fn enlist(&self, key: EntryKey, fill: &Arc<Fill>) {
        self.shard(key)
            .entry(key)
            .or_default()
            .push(Arc::clone(fill));
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a fill off the table: no new readers, no commit. False where it was off already.
    fn delist(&self, fills: &mut Fills, key: EntryKey, id: u64) -> bool {
        let Some(of_key) = fills.get_mut(&key) else {
            return false;
        };
        let before = of_key.len();
        of_key.retain(|fill| fill.id != id);
        let found = of_key.len() < before;
        if of_key.is_empty() {
            fills.remove(&key);
        }
        self.in_flight
            .fetch_sub(usize::from(found), Ordering::Relaxed);
        found
    }

    pub(crate) fn withdraw(&self, key: EntryKey, id: u64) {
        let mut fills = self.shard(key);
        self.delist(&mut fills, key, id);
    }

    /// Stores a whole body, unless a purge took its fill off the table meanwhile.
    pub(crate) fn commit(&self, key: EntryKey, fill: &Fill, body: Body) -> usize {
        let entry = Arc::new(Entry::new(Arc::clone(&fill.meta), body, wall_clock()));
        let weight = entry.weight as usize;
        {
            let mut fills = self.shard(key);
            if !self.delist(&mut fills, key, fill.id) {
                return weight;
            }
            if entry.keep_for.is_zero() {
                // Already past use; the older one it replaces is, too.
                self.entries.invalidate(&key);
            } else {
                self.entries.insert(key, entry);
            }
        }
        // Moka evicts in batches; without this, large entries could exceed the limit until the next one.
        self.entries.run_pending_tasks();
        fill.hand_over();
        weight
    }

    pub(crate) fn join(
        &self,
        key: EntryKey,
        id: Option<u64>,
    ) -> Option<(Arc<StoredMeta>, PartialHit)> {
        let role = if id.is_some() {
            Role::Owner
        } else {
            Role::Joined
        };
        let fills = self.shard(key);
        // The newest: a fill beside an older one is there because the older was too slow or stale.
        let fill = fills
            .get(&key)?
            .iter()
            .rev()
            .find(|fill| id.is_none_or(|id| id == fill.id))?;
        let hit = PartialHit::join(Arc::clone(fill), role)?;
        Some((Arc::clone(&fill.meta), hit))
    }

    pub(crate) fn unkept(&self, key: EntryKey, id: u64, why: Unkept) {
        self.withdraw(key, id);
        match why {
            Unkept::TooLarge => {
                self.too_large.insert(key, ());
                bump(&self.counters.fills_too_large);
            }
            Unkept::Shed => bump(&self.counters.fills_shed),
        }
    }

    /// Replaces an entry's metadata in one step, so that a purge in between is not undone.
    pub(crate) fn rewrite(
        &self,
        key: EntryKey,
        meta: impl FnOnce(&StoredMeta) -> StoredMeta,
    ) -> Rewritten {
        let result = self.entries.entry(key).and_compute_with(|found| {
            let Some(entry) = found.map(moka::Entry::into_value) else {
                return Op::Nop;
            };
            let entry = entry.with_meta(meta(&entry.meta), wall_clock());
            if entry.keep_for.is_zero() {
                Op::Remove
            } else {
                Op::Put(Arc::new(entry))
            }
        });
        match result {
            CompResult::ReplacedWith(_) | CompResult::Inserted(_) => Rewritten::Kept,
            CompResult::Removed(_) => Rewritten::Removed,
            CompResult::StillNone(_) | CompResult::Unchanged(_) => Rewritten::Absent,
        }
    }
}

/// What became of an entry under new metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewritten {
    Kept,
    /// With them it was of no more use.
    Removed,
    Absent,
}

fn lock(shard: &Mutex<Fills>) -> MutexGuard<'_, Fills> {
    // The map is whole between any two statements that change it.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the storage trait passes no time; only memory is timed by it"
)]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
