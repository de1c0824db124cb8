//! The signing keys whose tokens are dead, and the issuers that must not believe them.
//!
//! Invariant: an issuer whose cluster has told of a key believes no token of it, whichever came
//! first, the word or the issuer. Refuses more than `KEYS_MAX`: to forget one would be to believe it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_token::Issuer;

/// Somebody replaces a leaked key by hand, a few times in the life of a service.
const KEYS_MAX: usize = 32;

/// Of one cluster.
#[derive(Default)]
pub(super) struct DeadKeys(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By `kid`, until when they matter.
    keys: HashMap<Box<str>, u64>,
    /// Whose tokens the cluster tells of.
    issuers: Vec<Arc<Issuer>>,
}

impl DeadKeys {
    /// These issuers from now on; they hear of what is known.
    pub(super) fn tell(&self, issuers: Vec<Arc<Issuer>>) {
        let mut known = self.known();
        known.issuers = issuers;
        known.withdraw(known.keys.keys());
    }

    /// Whether there is room for these.
    pub(super) fn have_room(&self, new: &[(Box<str>, u64)]) -> bool {
        let known = self.known();
        let unknown = new.iter().filter(|(kid, _)| !known.keys.contains_key(kid));
        known.keys.len() + unknown.count() <= KEYS_MAX
    }

    pub(super) fn put(&self, new: Vec<(Box<str>, u64)>) {
        let mut known = self.known();
        known.withdraw(new.iter().map(|(kid, _)| kid));
        known.keys.extend(new);
    }

    /// Forgets those that matter no longer.
    pub(super) fn sweep(&self, now_s: u64) {
        self.known().keys.retain(|_, until_s| *until_s > now_s);
    }

    pub(super) fn len(&self) -> usize {
        self.known().keys.len()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn withdraw<'a>(&self, kids: impl Iterator<Item = &'a Box<str>>) {
        for kid in kids {
            for issuer in &self.issuers {
                issuer.withdraw(kid);
            }
        }
    }
}
