//! The policy in force, and what happened to the attempts to replace it.
//!
//! Invariant: there is always a policy in force; a failed reload changes the record, never the
//! policy. Refuses to decide when to reload: that is [`crate::watch`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::files::{FileFacts, SourceFile, rfc3339};
use crate::history::{Changes, Entry, History, Origin};
use crate::salvage::{Held, LastGood, Salvaged, Tombstone};

/// Longest error text kept: a hundred faults with their lines fit.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Holds what is in force: `T` is what the user makes of a loaded policy.
#[derive(Debug)]
pub struct PolicyStore<T> {
    current: ArcSwap<T>,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    status: Status,
    history: History,
}

/// What is in force since when, and what became of later files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// One more with each policy that came into force; goes on where the history of an earlier
    /// process is known, else from 1.
    pub generation: u64,
    /// SHA-256 over the names and contents of all files in force, hex.
    pub hash: String,
    /// The same of what is on disk: the same hash, but where files are at fault or after a rollback.
    pub disk_hash: String,
    #[serde(with = "rfc3339")]
    pub loaded_at: SystemTime,
    /// How it came into force.
    pub origin: Origin,
    /// Policy files, then the files they refer to.
    pub files: Vec<FileFacts>,
    /// Files that are in force as they last were good.
    pub held: Vec<Held>,
    /// Routes that answer 503 until they are mended.
    pub tombstones: Vec<Tombstone>,
    /// What is wrong with the newest files; none while all of them are in force.
    pub last_error: Option<Failure>,
    /// Times that changed files came into force, all or some of them.
    pub reloads_ok: u64,
    /// Times that some of them did not.
    pub reloads_failed: u64,
}

/// A reload that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    pub text: String,
}

/// What a policy was loaded from.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) hash: String,
    pub(crate) disk_hash: String,
    pub(crate) files: Vec<FileFacts>,
    pub(crate) sources: Vec<SourceFile>,
    pub(crate) routes: usize,
    pub(crate) salvaged: Option<Salvaged>,
}

impl Failure {
    fn new(error: &str, at: SystemTime) -> Self {
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        let text = error.get(..end).unwrap_or_default().to_owned();
        Self { at, text }
    }
}

impl Facts {
    fn entry(&self, generation: u64, origin: Origin, at: SystemTime) -> Entry {
        let sources = self.sources.iter();
        let salvaged = self.salvaged.as_ref();
        let unsound = salvaged.into_iter().flat_map(|salvaged| &salvaged.unsound);
        Entry {
            generation,
            hash: self.hash.clone(),
            at,
            origin,
            routes: self.routes,
            files: sources.filter_map(|source| source.facts.clone()).collect(),
            tombstones: salvaged.map_or_else(Vec::new, |salvaged| salvaged.tombstones.clone()),
            unsound: unsound.map(|name| name.to_string()).collect(),
        }
    }
}

impl Status {
    /// The files as they are now.
    fn note(&mut self, facts: &Facts, now: SystemTime) {
        self.files.clone_from(&facts.files);
        self.disk_hash.clone_from(&facts.disk_hash);
        let salvaged = facts.salvaged.as_ref();
        self.held = salvaged.map_or_else(Vec::new, |salvaged| salvaged.held.clone());
        self.tombstones = salvaged.map_or_else(Vec::new, |salvaged| salvaged.tombstones.clone());
        self.last_error = salvaged.map(|salvaged| Failure::new(&salvaged.errors.to_string(), now));
        self.reloads_failed += u64::from(salvaged.is_some());
    }
}

impl<T> PolicyStore<T> {
    /// With a first policy in force, and those that were in force before this process.
    pub(crate) fn new(first: T, facts: &Facts, mut history: History, now: SystemTime) -> Self {
        let last = history.last();
        let known = last.filter(|entry| entry.hash == facts.hash);
        let generation = match (known, last) {
            (Some(same), _) => same.generation,
            (None, Some(last)) => last.generation + 1,
            (None, None) => 1,
        };
        if known.is_none() {
            let entry = facts.entry(generation, Origin::Start, now);
            history.push(entry, &facts.sources);
        }
        let mut status = Status {
            generation,
            hash: facts.hash.clone(),
            disk_hash: String::new(),
            loaded_at: now,
            origin: Origin::Start,
            files: Vec::new(),
            held: Vec::new(),
            tombstones: Vec::new(),
            last_error: None,
            reloads_ok: 0,
            reloads_failed: 0,
        };
        status.note(facts, now);
        Self {
            current: ArcSwap::from_pointee(first),
            record: Mutex::new(Record { status, history }),
        }
    }

    /// What is in force now. Take it once for each request.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// A copy of the record.
    pub fn status(&self) -> Status {
        self.record().status.clone()
    }

    /// The policies that were in force, the newest first, with what each changed.
    pub fn history(&self) -> Vec<(Entry, Option<Changes>)> {
        self.record().history.list()
    }

    /// Put another policy in force.
    pub(crate) fn replace(&self, next: T, facts: &Facts, origin: Origin, now: SystemTime) {
        let mut record = self.record();
        let Record { status, history } = &mut *record;
        self.current.store(Arc::new(next));
        status.generation += 1;
        status.hash.clone_from(&facts.hash);
        status.loaded_at = now;
        status.origin = origin;
        if origin == Origin::Reload {
            status.note(facts, now);
            status.reloads_ok += 1;
        } else {
            // What is on disk is as wrong or right as before.
            status.files.clone_from(&facts.files);
            status.held = Vec::new();
            let salvaged = facts.salvaged.as_ref();
            status.tombstones =
                salvaged.map_or_else(Vec::new, |salvaged| salvaged.tombstones.clone());
        }
        let entry = facts.entry(status.generation, origin, now);
        history.push(entry, &facts.sources);
    }

    /// Keep what is in force, and remember why.
    pub(crate) fn refuse(&self, error: &str, disk_hash: &str, now: SystemTime) {
        let status = &mut self.record().status;
        status.last_error = Some(Failure::new(error, now));
        status.disk_hash = disk_hash.to_owned();
        status.reloads_failed += 1;
    }

    /// What can be made of the files is what is in force: an edit was taken back, or is at fault.
    pub(crate) fn keep(&self, facts: &Facts, now: SystemTime) {
        let status = &mut self.record().status;
        status.note(facts, now);
        if facts.salvaged.is_none() {
            // No longer by a rollback alone: the folder says the same.
            status.origin = match status.origin {
                Origin::Rollback { .. } => Origin::Reload,
                origin => origin,
            };
        }
    }

    pub(crate) fn last_good(&self, is_start: bool) -> LastGood {
        self.record().history.last_good(is_start)
    }

    /// A policy that was in force, with its files.
    pub(crate) fn find(&self, generation: Option<u64>) -> Option<(Entry, Vec<SourceFile>)> {
        let record = self.record();
        let entry = record.history.find(generation)?;
        Some((entry.clone(), record.history.sources(entry)))
    }

    pub(crate) fn remembered(&self) -> History {
        self.record().history.snapshot()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // The record is whole after every statement that could panic.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
