//! The live keys of one issuer and the one task that renews them.
//!
//! Invariant: only that task fetches, so there is never more than one fetch at a time; a failure never
//! replaces the last good set; a generation number names one set for the life of the process; a key that
//! was withdrawn comes back with no document.
//! Refuses: to let requests drive fetches faster than the cooldown, or to let more than
//! [`WAITERS_MAX`] of them wait for one.

use crate::fetch::{Clients, FetchError, TOTAL_TIMEOUT};
use crate::key_set::{DOCUMENT_BYTES_MAX, KeySet, KeySetError};
use crate::refusal::KeyId;
use crate::saved;
use crate::spec::{IssuerSpec, JwksSource};
use arc_swap::ArcSwapOption;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

/// Requests that may wait for one fetch. Each holds a request's memory for up to [`WAIT_MAX`].
const WAITERS_MAX: usize = 1024;
/// A little more than a fetch can take.
const WAIT_MAX: Duration = Duration::from_secs(TOTAL_TIMEOUT.as_secs() + 1);
/// A request that was checked just before a fetch ended and asks just after it is told to try again:
/// without this, a rotation under load would refuse a few good tokens.
const CHANGE_RECENT: Duration = Duration::from_secs(1);
/// Delay after the first failure, doubled by each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Keys that are remembered as withdrawn, the oldest forgotten first: by then no source has them.
const WITHDRAWN_MAX: usize = 64;
/// A hostile error page must not fill the log or the status.
const ERROR_TEXT_CHARS_MAX: usize = 512;

/// Where the keys in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configured source.
    Source,
    /// The state directory: the source has not answered since this process started.
    Saved,
}

/// What an operator sees of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerStatus {
    /// Its name in the policy.
    pub name: String,
    /// The file or address of its keys.
    pub source: String,
    /// Where the keys in force came from; `None` while there are none.
    pub origin: Option<Origin>,
    /// How many keys verify.
    pub keys: usize,
    /// Entries of the set that were left out, with reasons.
    pub notes: Vec<String>,
    /// Since the source last confirmed the keys in force.
    pub age: Option<Duration>,
    /// Since the last attempt to read the source ended.
    pub last_fetch: Option<Duration>,
    /// Why the last attempt failed; `None` if it did not.
    pub last_error: Option<String>,
    /// Attempts since the start, and how many of them failed.
    pub fetches: u64,
    /// See `fetches`.
    pub failures: u64,
}

/// A key set in force.
pub(crate) struct Current {
    pub(crate) keys: KeySet,
    pub(crate) generation: u64,
    document: Vec<u8>,
    /// It names a key that was withdrawn: its source, or what lies between, is behind.
    is_behind: bool,
}

/// Process-wide, so that no two sets of any two stores are ever taken for each other.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

pub(crate) struct KeyStore {
    spec: IssuerSpec,
    saved_at: Option<PathBuf>,
    current: ArcSwapOption<Current>,
    /// Held while a set is put in force, so that none is without what was withdrawn meanwhile.
    withdrawn: Mutex<Vec<String>>,
    /// A std lock: held for a few assignments, never across an await.
    progress: Mutex<Progress>,
    nudge: Notify,
    /// Counts finished attempts; its sender lives in the task, so waiting ends when the task does.
    attempts: watch::Receiver<u64>,
    waiters: Semaphore,
}

#[derive(Default)]
struct Progress {
    in_flight: bool,
    nudged: Option<Instant>,
    changed: Option<Instant>,
    ended: Option<Instant>,
    /// When the set in force was confirmed, and how old it already was then.
    confirmed: Option<(Instant, Duration, Origin)>,
    last_error: Option<String>,
    fetches: u64,
    failures: u64,
    failures_in_row: u32,
}

enum Gate {
    Changed,
    Cooling,
    Wait,
}

impl KeyStore {
    /// An empty store, and the sender its task must own.
    pub(crate) fn new(
        spec: IssuerSpec,
        state_dir: Option<&std::path::Path>,
    ) -> (Self, watch::Sender<u64>) {
        let (sender, attempts) = watch::channel(0);
        let saved_at = match spec.source {
            // A file is its own saved copy.
            JwksSource::File(_) => None,
            JwksSource::Url(_) => state_dir.map(|directory| saved::path(directory, &spec)),
        };
        let store = Self {
            spec,
            saved_at,
            current: ArcSwapOption::empty(),
            withdrawn: Mutex::default(),
            progress: Mutex::default(),
            nudge: Notify::new(),
            attempts,
            waiters: Semaphore::new(WAITERS_MAX),
        };
        (store, sender)
    }

    /// The set in force.
    pub(crate) fn current(&self) -> arc_swap::Guard<Option<Arc<Current>>> {
        self.current.load()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a document in force. The same bytes keep their generation, so a refresh forgets no token.
    pub(crate) fn install(
        &self,
        document: Vec<u8>,
        origin: Origin,
        age: Duration,
    ) -> Result<(), KeySetError> {
        let withdrawn = self.withdrawn();
        let unchanged = self
            .current()
            .as_ref()
            .is_some_and(|current| current.document == document);
        if !unchanged {
            let keys = KeySet::parse(&document, &self.spec.algorithms)?;
            let name = self.spec.name.as_str();
            tracing::info!(issuer = name, keys = keys.len(), ?origin, "keys in force");
            for note in keys.notes() {
                tracing::warn!(issuer = name, note, "key left out");
            }
            self.put(document, keys, &withdrawn);
        }
        drop(withdrawn);
        let now = Instant::now();
        let mut progress = self.progress();
        progress.confirmed = Some((now, age, origin));
        if !unchanged {
            progress.changed = Some(now);
        }
        Ok(())
    }

    fn withdrawn(&self) -> MutexGuard<'_, Vec<String>> {
        self.withdrawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_behind(&self) -> bool {
        let current = self.current();
        current.as_ref().is_some_and(|current| current.is_behind)
    }

    fn put(&self, document: Vec<u8>, mut keys: KeySet, withdrawn: &[String]) {
        let mut is_behind = false;
        for kid in withdrawn {
            is_behind |= keys.remove(kid);
        }
        self.current.store(Some(Arc::new(Current {
            keys,
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            document,
            is_behind,
        })));
    }

    /// See [`crate::Issuer::withdraw`].
    pub(crate) fn withdraw(&self, kid: &str) {
        let mut withdrawn = self.withdrawn();
        if withdrawn.iter().any(|known| known == kid) {
            return;
        }
        if withdrawn.len() == WITHDRAWN_MAX {
            withdrawn.remove(0);
        }
        withdrawn.push(kid.to_owned());
        let current = self.current();
        let Some(document) = current.as_ref().map(|current| current.document.clone()) else {
            return;
        };
        // It was read before, so it can be read again.
        if let Ok(keys) = KeySet::parse(&document, &self.spec.algorithms) {
            self.put(document, keys, &withdrawn);
        }
        drop(withdrawn);
        tracing::warn!(
            issuer = self.spec.name,
            kid = %KeyId::new(kid),
            "a key was withdrawn"
        );
        // The next key may be signing already.
        self.nudge.notify_one();
    }

    /// Puts in force what is on this machine, where there is something.
    pub(crate) fn install_local(&self) -> Result<(), KeySetError> {
        let (path, origin) = match (&self.spec.source, &self.saved_at) {
            (JwksSource::File(path), _) => (path, Origin::Source),
            (JwksSource::Url(_), Some(path)) => (path, Origin::Saved),
            (JwksSource::Url(_), None) => return Ok(()),
        };
        let Ok(file) = std::fs::File::open(path) else {
            return Ok(());
        };
        let mut document = Vec::new();
        let mut bounded = file.take(DOCUMENT_BYTES_MAX as u64 + 1);
        if bounded.read_to_end(&mut document).is_err() || document.len() > DOCUMENT_BYTES_MAX {
            return Ok(());
        }
        self.install(document, origin, Duration::ZERO)
    }

    /// Takes over what another store of the same source knows, so that changed rules start with keys.
    pub(crate) fn inherit(&self, other: &Self) {
        let Some(current) = other.current().as_ref().map(Arc::clone) else {
            return;
        };
        let Some((at, age, origin)) = other.progress().confirmed else {
            return;
        };
        if let Err(error) = self.install(current.document.clone(), origin, age + at.elapsed()) {
            tracing::warn!(issuer = self.spec.name, %error, "keys do not fit the new rules");
        }
    }

    /// Puts the saved document in force, if there is one.
    pub(crate) async fn restore(&self) {
        let Some(path) = self.saved_at.clone() else {
            return;
        };
        let restored = match saved::load(path).await {
            Ok(Some(saved)) => self
                .install(saved.document, Origin::Saved, saved.age)
                .map_err(FetchError::from),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            tracing::warn!(issuer = self.spec.name, %error, "saved keys are unusable");
        }
    }

    /// The task: reads the source now, on every refresh, after failures sooner, and when nudged.
    pub(crate) async fn run(self: Arc<Self>, clients: Arc<Clients>, attempts: watch::Sender<u64>) {
        let mut nudged = false;
        loop {
            let asked = std::mem::replace(&mut self.progress().in_flight, true);
            if asked && !nudged {
                // A request asked while the timer fired. This attempt serves it; its permit, stored under
                // the same lock, is used up here or it would cause a second fetch within the cooldown.
                self.nudge.notified().await;
            }
            let outcome = self.attempt(&clients).await;
            self.record(outcome);
            attempts.send_modify(|count| *count += 1);
            nudged = tokio::select! {
                () = tokio::time::sleep(self.pause()) => false,
                () = self.nudge.notified() => true,
            };
        }
    }

    async fn attempt(&self, clients: &Clients) -> Result<(), FetchError> {
        // Else a restart while the source is away would believe what was withdrawn.
        if let Some(path) = self.saved_at.clone().filter(|_| self.is_behind()) {
            saved::forget(path).await;
        }
        let document = clients
            .read(&self.spec.source, self.spec.ca.as_deref())
            .await?;
        let saved = self.saved_at.clone().map(|path| (path, document.clone()));
        self.install(document, Origin::Source, Duration::ZERO)?;
        if self.is_behind() {
            return Err(FetchError::Withdrawn);
        }
        // Also when nothing changed: the time of the file is the age of the keys.
        if let Some((path, document)) = saved
            && let Err(error) = saved::store(path.clone(), document).await
        {
            tracing::warn!(issuer = self.spec.name, path = %path.display(), %error, "keys were not saved");
        }
        Ok(())
    }

    fn record(&self, outcome: Result<(), FetchError>) {
        let mut progress = self.progress();
        progress.in_flight = false;
        progress.ended = Some(Instant::now());
        progress.fetches += 1;
        let Err(error) = outcome else {
            progress.failures_in_row = 0;
            progress.last_error = None;
            return;
        };
        progress.failures += 1;
        progress.failures_in_row = progress.failures_in_row.saturating_add(1);
        let text: String = error
            .to_string()
            .chars()
            .take(ERROR_TEXT_CHARS_MAX)
            .collect();
        // Once per cause: a source that stays down would else fill the log.
        if progress.last_error.as_deref() != Some(text.as_str()) {
            let source = self.spec.source.to_string();
            tracing::warn!(
                issuer = self.spec.name,
                source,
                error = text,
                "keys were not read; the last good ones stay"
            );
        }
        progress.last_error = Some(text);
    }

    /// Spread by a tenth, failures by half, so that many edges do not call an issuer in step.
    fn pause(&self) -> Duration {
        let failures = self.progress().failures_in_row;
        if failures == 0 || matches!(self.spec.source, JwksSource::File(_)) {
            return self.spec.refresh.mul_f64(0.9 + 0.2 * fastrand::f64());
        }
        let doubled = BACKOFF_MIN.saturating_mul(1 << failures.min(10).saturating_sub(1));
        let backoff = doubled.min(BACKOFF_MAX).min(self.spec.refresh);
        backoff.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    /// See [`crate::Issuer::refetch`].
    pub(crate) async fn refetch(&self) -> bool {
        let mut attempts = self.attempts.clone();
        attempts.mark_unchanged();
        let before = self.generation();
        match self.gate() {
            Gate::Changed => return true,
            Gate::Cooling => return false,
            Gate::Wait => {}
        }
        let Ok(_waiting) = self.waiters.try_acquire() else {
            return false;
        };
        // An error means the task is gone, the issuer with it: the generation tells all there is to tell.
        let _ended = tokio::time::timeout(WAIT_MAX, attempts.changed()).await;
        self.generation() != before
    }

    fn gate(&self) -> Gate {
        let mut progress = self.progress();
        if progress.in_flight {
            return Gate::Wait;
        }
        if progress
            .nudged
            .is_some_and(|at| at.elapsed() < self.spec.cooldown)
        {
            let recent = |at: Instant| at.elapsed() < CHANGE_RECENT;
            return if progress.changed.is_some_and(recent) {
                Gate::Changed
            } else {
                Gate::Cooling
            };
        }
        progress.nudged = Some(Instant::now());
        // Set here and not by the task: whoever asks before the task woke up joins this fetch.
        progress.in_flight = true;
        self.nudge.notify_one();
        Gate::Wait
    }

    fn generation(&self) -> Option<u64> {
        self.current().as_ref().map(|current| current.generation)
    }

    /// Returns when the first attempt ended, well or badly, or the task is gone.
    pub(crate) async fn first_attempt(&self) {
        let mut attempts = self.attempts.clone();
        let _gone = attempts.wait_for(|count| *count > 0).await.is_err();
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        let current = self.current();
        let progress = self.progress();
        IssuerStatus {
            name: self.spec.name.clone(),
            source: self.spec.source.to_string(),
            origin: progress.confirmed.map(|(_, _, origin)| origin),
            keys: current.as_ref().map_or(0, |current| current.keys.len()),
            notes: current
                .as_ref()
                .map_or(Vec::new(), |current| current.keys.notes().to_vec()),
            age: progress.confirmed.map(|(at, age, _)| age + at.elapsed()),
            last_fetch: progress.ended.map(|at| at.elapsed()),
            last_error: progress.last_error.clone(),
            fetches: progress.fetches,
            failures: progress.failures,
        }
    }
}
