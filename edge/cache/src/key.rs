//! Cache keys: what names a stored response before `Vary` is looked at.
//!
//! Invariant: two different (scheme, host, path and query) never give the same key bytes.
//! Does not normalise anything: the request was made canonical before it came here.

use pingora_cache::CacheKey;
use pingora_cache::key::{CacheHashKey, CompactCacheKey, HashBinary, hash_key};

/// The key of a GET or HEAD for this target; both methods share one entry.
///
/// Each part is preceded by its length as eight bytes, so no host can borrow bytes of a path
/// to reach another host's entry (CVE-2026-2836 was a default key without the host).
#[must_use]
pub fn key(scheme: &str, host: &str, path_and_query: &str) -> CacheKey {
    let parts = [scheme, host, path_and_query];
    let mut primary = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        primary.extend_from_slice(&(part.len() as u64).to_be_bytes());
        primary.extend_from_slice(part.as_bytes());
    }
    CacheKey::new(primary, "")
}

/// What the store indexes by: the 128-bit hash over primary key, variance and user tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EntryKey(HashBinary);

impl EntryKey {
    fn of(key: &impl CacheHashKey) -> Self {
        let combined = key.combined_bin();
        let tag = key.user_tag();
        if tag.is_empty() {
            return Self(combined);
        }
        // A tag is part of the logical key (`CompactCacheKey` compares it), so it must keep entries apart.
        Self(hash_key([combined.as_slice(), tag.as_bytes()].concat()))
    }

    /// A number that spreads keys evenly; the key is a hash already.
    pub(crate) fn shard(self) -> usize {
        usize::from(self.0.first().copied().unwrap_or_default())
    }
}

impl From<&CacheKey> for EntryKey {
    fn from(key: &CacheKey) -> Self {
        Self::of(key)
    }
}

impl From<&CompactCacheKey> for EntryKey {
    fn from(key: &CompactCacheKey) -> Self {
        Self::of(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_that_concatenate_alike_stay_apart() {
        let cases = [
            (("http", "a.example", "/b"), ("http", "a.example/", "b")),
            (("http", "sa.example", "/"), ("https", "a.example", "/")),
            (("http", "", "a/"), ("http", "a", "/")),
            (("", "", ""), ("", "", "\0")),
            (("http", "a", "/?x=1"), ("http", "a", "/?x=1&")),
        ];
        for (left, right) in cases {
            let (l, r) = (key(left.0, left.1, left.2), key(right.0, right.1, right.2));
            assert_ne!(l.primary_key(), r.primary_key(), "{left:?} {right:?}");
            assert_ne!(EntryKey::from(&l), EntryKey::from(&r), "{left:?} {right:?}");
        }
    }

    #[test]
    fn tag_and_variance_are_part_of_the_entry() {
        let plain = key("https", "a.example", "/");
        let mut tagged = plain.clone();
        tagged.user_tag = "t".into();
        let mut varied = plain.clone();
        varied.set_variance_key([7; 16]);
        let all = [&plain, &tagged, &varied].map(EntryKey::from);
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
        for key in [&plain, &tagged, &varied] {
            assert_eq!(EntryKey::from(key), EntryKey::from(&key.to_compact()));
        }
    }

    proptest! {
        // Short strings over few characters make equal concatenations likely.
        #[test]
        fn keys_are_equal_only_for_equal_tuples(
            left in ("[ab/\0]{0,3}", "[ab/\0]{0,3}", "[ab/\0]{0,3}"),
            right in ("[ab/\0]{0,3}", "[ab/\0]{0,3}", "[ab/\0]{0,3}"),
        ) {
            let same = left == right;
            let (l, r) = (key(&left.0, &left.1, &left.2), key(&right.0, &right.1, &right.2));
            prop_assert_eq!(l.primary_key() == r.primary_key(), same);
        }
    }
}
