//! Loads, builds and swaps: the life of the policy in force.
//!
//! Invariant: what a user built from a policy replaces the one before only when all of it
//! succeeded. Refuses to end because files are bad: only `stop` ends it.

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::diagnostic::Diagnostics;
use crate::files::Folder;
use crate::history::{History, Origin};
use crate::load::{Attempt, Loaded, attempt_with, process_environment};
use crate::salvage::{LastGood, Salvaged};
use crate::store::{Facts, PolicyStore, Status};
use crate::watch::Watch;

/// Rollbacks that wait for the one before.
const ROLLBACKS_WAITING_MAX: usize = 4;

/// Where policies come from, and what becomes of those that are at fault.
#[derive(Debug, Clone)]
pub struct Settings {
    pub dir: PathBuf,
    /// One fault refuses the whole set of files.
    pub strict: bool,
    /// Where the policies that were in force are kept for a restart; nowhere without it.
    pub history: Option<PathBuf>,
}

impl From<PathBuf> for Settings {
    fn from(dir: PathBuf) -> Self {
        Self {
            dir,
            strict: false,
            history: None,
        }
    }
}

/// Keeps a [`PolicyStore`] up to date with a folder.
///
/// `build` makes a `T` of a loaded policy and the `T` in force; where it fails, that one stays.
pub struct Reloader<T, B> {
    store: Arc<PolicyStore<T>>,
    settings: Settings,
    watch: Watch,
    rollbacks: mpsc::Receiver<Wish>,
    rollback: Rollback,
    build: B,
}

/// Why there is no first policy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the policies do not compile\n{0}")]
    Policy(#[from] Diagnostics),
    #[error("the policies cannot be put in force: {0}")]
    Build(String),
}

/// Returns to policies that were in force.
#[derive(Debug, Clone)]
pub struct Rollback(mpsc::Sender<Wish>);

#[derive(Debug)]
struct Wish {
    /// None: the one before the one in force.
    generation: Option<u64>,
    answer: oneshot::Sender<Result<Status, RollbackError>>,
}

/// Why a policy that was in force is not again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RollbackError {
    #[error("generation {0} is not in the history")]
    Unknown(u64),
    #[error("no other policy was in force before")]
    NoneBefore,
    #[error("what generation {0} was made of is in force already")]
    InForce(u64),
    #[error("generation {0} does not compile any more, because of files that it refers to\n{1}")]
    Policy(u64, Diagnostics),
    #[error("generation {0} cannot be put in force: {1}")]
    Build(u64, String),
    #[error("policies are not followed any more")]
    Ended,
}

impl Rollback {
    /// Put a policy of the history in force; without a generation, the one before.
    ///
    /// # Errors
    /// Then what is in force stays.
    pub async fn to(&self, generation: Option<u64>) -> Result<Status, RollbackError> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { generation, answer };
        let sent = self.0.send(wish).await;
        sent.map_err(|_| RollbackError::Ended)?;
        answered.await.unwrap_or(Err(RollbackError::Ended))
    }
}

impl<T, B, F, E> Reloader<T, B>
where
    B: FnMut(Loaded, Option<Arc<T>>) -> F,
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    /// Load the folder and build what is first in force.
    ///
    /// # Errors
    /// The folder does not compile, or `build` failed: there is nothing to fall back to.
    pub async fn start(settings: impl Into<Settings>, mut build: B) -> Result<Self, StartError> {
        let settings = settings.into();
        let history = history(&settings).await;
        let good = (!settings.strict).then(|| Arc::new(history.last_good(true)));
        let (mut watch, first) = Watch::open(settings.dir.clone(), good).await;
        let loaded = first.outcome?;
        let facts = loaded.facts();
        let built = build(loaded, None)
            .await
            .map_err(|error| StartError::Build(format!("{error:#}")))?;
        if let Some(salvaged) = &facts.salvaged {
            tell(salvaged);
        }
        let store = Arc::new(PolicyStore::new(built, &facts, history, wall_clock()));
        watch.good = last_good(&settings, &store);
        let (send, rollbacks) = mpsc::channel(ROLLBACKS_WAITING_MAX);
        let reloader = Self {
            store,
            settings,
            watch,
            rollbacks,
            rollback: Rollback(send),
            build,
        };
        reloader.save().await;
        Ok(reloader)
    }

    /// What is in force, now and later.
    pub fn store(&self) -> Arc<PolicyStore<T>> {
        self.store.clone()
    }

    /// How to return to a policy; heard while `run` runs.
    pub fn rollback(&self) -> Rollback {
        self.rollback.clone()
    }

    /// Follow the files until `stop` is ready. `observe` sees the record after every change of it.
    pub async fn run(mut self, mut observe: impl FnMut(&Status), stop: impl Future) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let answer = tokio::select! {
                biased;
                _ = &mut stop => return,
                Some(wish) = self.rollbacks.recv() => {
                    let outcome = self.return_to(wish.generation).await;
                    Some((wish.answer, outcome))
                }
                changed = self.watch.next() => {
                    self.apply(changed).await;
                    None
                }
            };
            observe(&self.store.status());
            if let Some((answer, outcome)) = answer {
                // Who asked may be gone.
                let _ = answer.send(outcome.map(|()| self.store.status()));
            }
        }
    }

    async fn apply(&mut self, changed: Attempt) {
        let loaded = match changed.outcome {
            Ok(loaded) => loaded,
            Err(diagnostics) => return self.refuse(&diagnostics.to_string(), &changed.disk_hash),
        };
        let facts = loaded.facts();
        if let Some(salvaged) = &facts.salvaged {
            tell(salvaged);
        }
        if facts.hash == self.store.status().hash {
            if facts.salvaged.is_none() {
                info!(hash = facts.hash, "policy files are again those in force");
            }
            return self.store.keep(&facts, wall_clock());
        }
        match (self.build)(loaded, Some(self.store.current())).await {
            Ok(built) => self.replace(built, &facts, Origin::Reload).await,
            Err(error) => self.refuse(
                &format!("the policies cannot be put in force: {error:#}"),
                &changed.disk_hash,
            ),
        }
    }

    async fn return_to(&mut self, generation: Option<u64>) -> Result<(), RollbackError> {
        let unknown = generation.map_or(RollbackError::NoneBefore, RollbackError::Unknown);
        let (entry, sources) = self.store.find(generation).ok_or(unknown)?;
        let to = entry.generation;
        let folder = Folder::of(&self.settings.dir, sources);
        // It was in force with its tombstones.
        let good = (!entry.unsound.is_empty()).then(|| LastGood {
            is_start: true,
            ..LastGood::default()
        });
        let task = tokio::task::spawn_blocking(move || {
            attempt_with(folder, good.as_ref(), &process_environment)
        });
        let failed = |_| Attempt::failed("loading the policies failed unexpectedly");
        let attempt = task.await.unwrap_or_else(failed);
        let loaded = attempt.outcome;
        let loaded = loaded.map_err(|diagnostics| RollbackError::Policy(to, diagnostics))?;
        let facts = loaded.facts();
        if facts.hash == self.store.status().hash {
            return Err(RollbackError::InForce(to));
        }
        let built = (self.build)(loaded, Some(self.store.current())).await;
        let built = built.map_err(|error| RollbackError::Build(to, format!("{error:#}")))?;
        warn!(to, "rolled back, until the files change");
        self.replace(built, &facts, Origin::Rollback { to }).await;
        Ok(())
    }

    async fn replace(&mut self, built: T, facts: &Facts, origin: Origin) {
        info!(
            hash = facts.hash,
            files = facts.files.len(),
            "policy in force"
        );
        self.store.replace(built, facts, origin, wall_clock());
        self.watch.good = last_good(&self.settings, &self.store);
        self.save().await;
    }

    async fn save(&self) {
        let Some(dir) = self.settings.history.clone() else {
            return;
        };
        let (history, folder) = (self.store.remembered(), self.settings.dir.clone());
        let save = move || history.save(&dir, &identity(folder));
        // It warns by itself.
        let _ = tokio::task::spawn_blocking(save).await;
    }

    fn refuse(&self, text: &str, disk_hash: &str) {
        let in_force = self.store.status();
        error!(
            generation = in_force.generation,
            hash = in_force.hash,
            "policy files refused, the last good policy stays in force\n{text}"
        );
        self.store.refuse(text, disk_hash, wall_clock());
    }
}

async fn history(settings: &Settings) -> History {
    let Some(dir) = settings.history.clone() else {
        return History::default();
    };
    let folder = settings.dir.clone();
    let open = move || History::open(&dir, &identity(folder));
    tokio::task::spawn_blocking(open).await.unwrap_or_default()
}

/// The folder by the name that every process knows it by.
fn identity(folder: PathBuf) -> PathBuf {
    std::path::absolute(&folder).unwrap_or(folder)
}

fn last_good<T>(settings: &Settings, store: &PolicyStore<T>) -> Option<Arc<LastGood>> {
    (!settings.strict).then(|| Arc::new(store.last_good(false)))
}

/// Loudly: something is in force that is not what the files say.
fn tell(salvaged: &Salvaged) {
    let held = salvaged.held.iter().map(|held| held.file.as_str());
    let tombstones = salvaged.tombstones.iter().map(|route| route.route.as_str());
    error!(
        held = held.collect::<Vec<_>>().join(", "),
        tombstones = tombstones.collect::<Vec<_>>().join(", "),
        "policy files at fault: held files are in force as they last were, tombstones answer 503\n{}",
        salvaged.errors
    );
}

#[allow(
    clippy::disallowed_methods,
    reason = "the record says when; no decision depends on it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
