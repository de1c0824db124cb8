//! The policy in force, and what happened to the attempts to replace it.
//!
//! Invariant: there is always a policy in force; a failed reload changes the record, never the
//! policy. Refuses to decide when to reload: that is [`crate::watch`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::files::{FileFacts, rfc3339};

/// Longest error text kept: a hundred faults with their lines fit.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Holds what is in force: `T` is what the user makes of a loaded policy.
#[derive(Debug)]
pub struct PolicyStore<T> {
    current: ArcSwap<T>,
    status: Mutex<Status>,
}

/// What is in force since when, and what became of later files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// 1 for the first policy, one more with each that replaced it.
    pub generation: u64,
    /// SHA-256 over the names and contents of all files in force, hex.
    pub hash: String,
    #[serde(serialize_with = "rfc3339")]
    pub loaded_at: SystemTime,
    /// Policy files, then the files they refer to.
    pub files: Vec<FileFacts>,
    /// Why the newest files are not in force; none while they are.
    pub last_error: Option<Failure>,
    /// Times that changed files came into force.
    pub reloads_ok: u64,
    /// Times that changed files did not.
    pub reloads_failed: u64,
}

/// A reload that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    pub text: String,
}

/// What a policy was loaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub hash: String,
    pub files: Vec<FileFacts>,
}

impl<T> PolicyStore<T> {
    /// With a first policy in force.
    pub fn new(first: T, facts: Facts, now: SystemTime) -> Self {
        let status = Status {
            generation: 1,
            hash: facts.hash,
            loaded_at: now,
            files: facts.files,
            last_error: None,
            reloads_ok: 0,
            reloads_failed: 0,
        };
        Self {
            current: ArcSwap::from_pointee(first),
            status: Mutex::new(status),
        }
    }

    /// What is in force now. Take it once for each request.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// A copy of the record.
    pub fn status(&self) -> Status {
        self.record().clone()
    }

    /// Put another policy in force.
    pub fn replace(&self, next: T, facts: Facts, now: SystemTime) {
        let mut status = self.record();
        self.current.store(Arc::new(next));
        status.generation += 1;
        status.hash = facts.hash;
        status.files = facts.files;
        status.loaded_at = now;
        status.last_error = None;
        status.reloads_ok += 1;
    }

    /// Keep what is in force, and remember why.
    pub fn refuse(&self, error: &str, now: SystemTime) {
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        let text = error.get(..end).unwrap_or_default().to_owned();
        let mut status = self.record();
        status.last_error = Some(Failure { at: now, text });
        status.reloads_failed += 1;
    }

    /// The files are again what is in force: an edit was taken back.
    pub fn restore(&self, facts: Facts) {
        let mut status = self.record();
        status.last_error = None;
        status.files = facts.files;
    }

    fn record(&self) -> MutexGuard<'_, Status> {
        // The record is whole after every statement that could panic.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
