//! Loads, builds and swaps: the life of the policy in force.
//!
//! Invariant: what a user built from a policy replaces the one before only when all of it
//! succeeded. Refuses to end because files are bad: only `stop` ends it.

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::{error, info};

use crate::diagnostic::Diagnostics;
use crate::load::Loaded;
use crate::store::{PolicyStore, Status};
use crate::watch::Watch;

/// Keeps a [`PolicyStore`] up to date with a folder.
///
/// `build` makes a `T` of a loaded policy and the `T` in force; where it fails, that one stays.
pub struct Reloader<T, B> {
    store: Arc<PolicyStore<T>>,
    watch: Watch,
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
    pub async fn start(dir: PathBuf, mut build: B) -> Result<Self, StartError> {
        let (watch, first) = Watch::open(dir).await;
        let loaded = first?;
        let facts = loaded.facts();
        let built = build(loaded, None)
            .await
            .map_err(|error| StartError::Build(format!("{error:#}")))?;
        let store = Arc::new(PolicyStore::new(built, facts, wall_clock()));
        Ok(Self {
            store,
            watch,
            build,
        })
    }

    /// What is in force, now and later.
    pub fn store(&self) -> Arc<PolicyStore<T>> {
        self.store.clone()
    }

    /// Follow the files until `stop` is ready. `observe` sees the record after every change of it.
    pub async fn run(mut self, mut observe: impl FnMut(&Status), stop: impl Future) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return,
                changed = self.watch.next() => self.apply(changed).await,
            }
            observe(&self.store.status());
        }
    }

    async fn apply(&mut self, changed: Result<Loaded, Diagnostics>) {
        let loaded = match changed {
            Ok(loaded) => loaded,
            Err(diagnostics) => return self.refuse(&diagnostics.to_string()),
        };
        let facts = loaded.facts();
        if facts.hash == self.store.status().hash {
            info!(hash = facts.hash, "policy files are again those in force");
            return self.store.restore(facts);
        }
        match (self.build)(loaded, Some(self.store.current())).await {
            Ok(built) => {
                info!(
                    hash = facts.hash,
                    files = facts.files.len(),
                    "policy in force"
                );
                self.store.replace(built, facts, wall_clock());
            }
            Err(error) => self.refuse(&format!("the policies cannot be put in force: {error:#}")),
        }
    }

    fn refuse(&self, text: &str) {
        let in_force = self.store.status();
        error!(
            generation = in_force.generation,
            hash = in_force.hash,
            "policy files refused, the last good policy stays in force\n{text}"
        );
        self.store.refuse(text, wall_clock());
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the record says when; no decision depends on it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
