//! A map that requests read without a lock, and one task writes.
//!
//! Cut into parts, each replaced whole: a write copies one part, and a reader sees the map before
//! or after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use arc_swap::ArcSwap;

/// With as many entries as there may be, a part has a thousand of them.
const SHARDS: usize = 256;

type Shard<V> = std::collections::HashMap<Box<str>, V, RandomState>;

pub(super) struct Shards<V> {
    shards: Box<[ArcSwap<Shard<V>>]>,
    /// Seeded per process: whoever chooses ids cannot have them all in one part.
    hasher: RandomState,
    entries: AtomicUsize,
}

impl<V: Copy> Shards<V> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::new(),
            entries: AtomicUsize::new(0),
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<V> {
        // Most of the time nobody has been put out.
        if self.len() == 0 {
            return None;
        }
        self.shards.get(self.place(id))?.load().get(id).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// Puts all of these in; `join` makes one value of that which is known and the new one.
    pub(super) fn put(&self, new: Vec<(Box<str>, V)>, join: impl Fn(V, V) -> V) {
        let mut by_shard: Vec<Vec<(Box<str>, V)>> = Vec::new();
        by_shard.resize_with(SHARDS, Vec::new);
        for (id, value) in new {
            if let Some(shard) = by_shard.get_mut(self.place(&id)) {
                shard.push((id, value));
            }
        }
        for (shard, new) in self.shards.iter().zip(by_shard) {
            if !new.is_empty() {
                self.replace(shard, |entries| {
                    for (id, value) in new {
                        let joined = entries.get(&id).map_or(value, |old| join(*old, value));
                        entries.insert(id, joined);
                    }
                });
            }
        }
    }

    /// Forgets the others.
    pub(super) fn keep(&self, matters: impl Fn(&V) -> bool) {
        for shard in &self.shards {
            if !shard.load().values().all(&matters) {
                self.replace(shard, |entries| entries.retain(|_, value| matters(value)));
            }
        }
    }

    fn replace(&self, shard: &ArcSwap<Shard<V>>, change: impl FnOnce(&mut Shard<V>)) {
        let mut entries = Shard::clone(&shard.load());
        let before = entries.len();
        change(&mut entries);
        let after = entries.len();
        // A reader that sees no entries must not have missed one: first the count, then the part.
        self.entries
            .fetch_add(after.saturating_sub(before), Ordering::AcqRel);
        shard.store(Arc::new(entries));
        self.entries
            .fetch_sub(before.saturating_sub(after), Ordering::AcqRel);
    }

    fn place(&self, id: &str) -> usize {
        usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_join_and_go() {
        let shards = Shards::new();
        assert_eq!(shards.get("1"), None);
        let ids = || (0..2_000_u32).map(|id| (id.to_string().into_boxed_str(), id));
        shards.put(ids().collect(), u32::max);
        assert_eq!(shards.len(), 2_000);
        assert!(ids().all(|(id, value)| shards.get(&id) == Some(value)));
        shards.put(vec![("7".into(), 3), ("8".into(), 9)], u32::max);
        assert_eq!((shards.get("7"), shards.get("8")), (Some(7), Some(9)));
        assert_eq!(shards.len(), 2_000);
        shards.keep(|value| *value >= 1_990);
        assert_eq!((shards.len(), shards.get("1989")), (10, None));
        assert_eq!(shards.get("1990"), Some(1_990));
    }

    /// One writer, one task that reads all the time: an entry once seen is seen from then on.
    #[test]
    fn readers_never_miss_an_entry() {
        let shards = Arc::new(Shards::new());
        let reading = {
            let shards = shards.clone();
            std::thread::spawn(move || {
                let mut seen = 0;
                while seen < 500 {
                    while shards.get(&seen.to_string()).is_some() {
                        seen += 1;
                    }
                    assert!(seen == 0 || shards.get("0").is_some());
                }
            })
        };
        for id in 0..500_u32 {
            shards.put(vec![(id.to_string().into_boxed_str(), id)], u32::max);
        }
        reading.join().unwrap();
    }
}
