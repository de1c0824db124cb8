//! Every trusted issuer, kept alive across policy reloads.
//!
//! Invariant: an [`Issuer`] is immutable rules plus shared live keys; other rules are another `Issuer`
//! with another identity, so nothing decided under old rules is ever reused under new ones.
//! Refuses: a set of specifications of which one cannot work; then nothing changes.

use crate::fetch::Clients;
use crate::key_set::KeySetError;
use crate::key_store::{IssuerStatus, KeyStore, Origin};
use crate::spec::{IssuerSpec, JwksSource, SpecError};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Each issuer is a task and, at worst, a fetch every few seconds.
const ISSUERS_MAX: usize = 256;

static IDENTITIES: AtomicU64 = AtomicU64::new(1);

/// One trusted issuer: its rules and its live keys. Held by a policy snapshot.
pub struct Issuer {
    pub(crate) spec: IssuerSpec,
    pub(crate) store: Arc<KeyStore>,
    /// Unique in this process; part of the key of every remembered token.
    pub(crate) identity: u64,
}

impl Issuer {
    fn new(spec: IssuerSpec, store: Arc<KeyStore>) -> Arc<Self> {
        Arc::new(Self {
            spec,
            store,
            identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// An issuer with a fixed JWK set that is never read again: for checking policies offline.
    ///
    /// # Errors
    /// If the specification or the set cannot be used.
    pub fn with_fixed_keys(spec: IssuerSpec, document: &[u8]) -> Result<Arc<Self>, FixedKeysError> {
        spec.check()?;
        let (store, _no_task) = KeyStore::new(spec.clone(), None);
        store.install(document.to_vec(), Origin::Source, Duration::ZERO)?;
        Ok(Self::new(spec, Arc::new(store)))
    }

    /// An issuer with the keys that this machine has: of its file, or the copy of what its URL said
    /// last, below `state_dir`. It may have none; nothing is fetched, and nothing read again.
    ///
    /// # Errors
    /// If the specification or the set cannot be used.
    pub fn offline(
        spec: IssuerSpec,
        state_dir: Option<&Path>,
    ) -> Result<Arc<Self>, FixedKeysError> {
        spec.check()?;
        let (store, _no_task) = KeyStore::new(spec.clone(), state_dir);
        store.install_local()?;
        Ok(Self::new(spec, Arc::new(store)))
    }

    /// What is configured.
    pub fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    /// Reads the keys again because of a refusal that [`crate::Refusal::wants_refetch`]. True if the set
    /// changed, so that verifying once more is worth it.
    ///
    /// Callers share one fetch. Fetches asked for in this way are at least the cooldown apart, beside the
    /// scheduled ones; during the cooldown the answer is false at once. Never takes over 6 s. Dropping the
    /// future stops the waiting and not the fetch: a client that hangs up must not undo it for the others.
    pub async fn refetch(&self) -> bool {
        self.store.refetch().await
    }

    /// Believes no token of this key from now on, whatever its source or a saved copy says, and reads the
    /// keys again: at once, and then until the source has left it out.
    pub fn withdraw(&self, kid: &str) {
        self.store.withdraw(kid);
    }

    /// The state of its keys.
    pub fn status(&self) -> IssuerStatus {
        self.store.status()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// Why [`Issuer::with_fixed_keys`] failed.
#[derive(Debug, thiserror::Error)]
pub enum FixedKeysError {
    /// The specification cannot be used.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The set cannot be used.
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// The live issuers of a process.
pub struct Issuers {
    live: ArcSwap<HashMap<String, Arc<Issuer>>>,
    /// The fetching task of each store, by issuer name. Async, for it is held while stores are prepared:
    /// two reloads at once would else each start tasks the other does not know of.
    tasks: tokio::sync::Mutex<HashMap<String, AbortOnDropHandle<()>>>,
    clients: Arc<Clients>,
    state_dir: Option<PathBuf>,
}

impl Issuers {
    /// Without issuers. `state_dir` is where last good key sets are kept; it is created when needed.
    pub fn new(state_dir: Option<PathBuf>) -> Self {
        Self {
            live: ArcSwap::default(),
            tasks: tokio::sync::Mutex::default(),
            clients: Arc::default(),
            state_dir,
        }
    }

    /// Makes `specs` the issuers: unchanged ones keep their identity, keys and task; ones whose rules alone
    /// changed keep keys and task; removed ones are stopped. Key files and saved keys are loaded on return,
    /// URLs are fetched in the background: see [`Issuers::first_attempts`].
    ///
    /// Tasks are started on the runtime this is called on, which must outlive the issuers.
    ///
    /// # Errors
    /// The first specification that cannot work; nothing changed then.
    pub async fn reconcile(&self, specs: &[IssuerSpec]) -> Result<(), SpecError> {
        check_all(specs)?;
        let mut tasks = self.tasks.lock().await;
        let old = self.live.load_full();
        let keeping = |spec: &IssuerSpec| {
            let before = old.get(&spec.name);
            before.filter(|issuer| issuer.spec.same_keys(spec))
        };
        // All waiting comes first: a reload that is cancelled in it leaves everything as it was.
        let mut started = HashMap::new();
        for spec in specs.iter().filter(|spec| keeping(spec).is_none()) {
            let start = self.start(spec, old.get(&spec.name)).await;
            started.insert(spec.name.as_str(), start);
        }
        let mut new = HashMap::with_capacity(specs.len());
        let mut kept = HashMap::with_capacity(specs.len());
        for spec in specs {
            let (issuer, task) = match (started.remove(spec.name.as_str()), keeping(spec)) {
                (Some((issuer, task)), _) => (issuer, Some(task)),
                (None, Some(issuer)) if issuer.spec == *spec => {
                    (Arc::clone(issuer), tasks.remove(&spec.name))
                }
                (None, Some(issuer)) => (
                    Issuer::new(spec.clone(), Arc::clone(&issuer.store)),
                    tasks.remove(&spec.name),
                ),
                // Every specification is either kept or was started above.
                (None, None) => continue,
            };
            if let Some(task) = task {
                kept.insert(spec.name.clone(), task);
            }
            new.insert(spec.name.clone(), issuer);
        }
        self.live.store(Arc::new(new));
        // Dropping the rest ends the tasks of removed and replaced stores.
        *tasks = kept;
        Ok(())
    }

    async fn start(
        &self,
        spec: &IssuerSpec,
        before: Option<&Arc<Issuer>>,
    ) -> (Arc<Issuer>, AbortOnDropHandle<()>) {
        let (store, attempts) = KeyStore::new(spec.clone(), self.state_dir.as_deref());
        let store = Arc::new(store);
        match before.filter(|issuer| issuer.spec.same_origin(spec)) {
            Some(issuer) => store.inherit(&issuer.store),
            None => store.restore().await,
        }
        let run = Arc::clone(&store).run(Arc::clone(&self.clients), attempts);
        let task = AbortOnDropHandle::new(tokio::spawn(run));
        if matches!(spec.source, JwksSource::File(_)) {
            store.first_attempt().await;
        }
        (Issuer::new(spec.clone(), store), task)
    }

    /// The issuer of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Issuer>> {
        self.live.load().get(name).cloned()
    }

    /// [`Issuer::refetch`] by name; false if there is no such issuer.
    pub async fn refetch(&self, name: &str) -> bool {
        match self.get(name) {
            Some(issuer) => issuer.refetch().await,
            None => false,
        }
    }

    /// Returns when every issuer's source was tried once, for readiness at start. Takes 5 s at most.
    pub async fn first_attempts(&self) {
        for issuer in self.live.load_full().values() {
            issuer.store.first_attempt().await;
        }
    }

    /// The state of every issuer's keys, by name.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let live = self.live.load();
        let mut status: Vec<_> = live.values().map(|issuer| issuer.status()).collect();
        status.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }
}

fn check_all(specs: &[IssuerSpec]) -> Result<(), SpecError> {
    let mut names = std::collections::HashSet::new();
    for spec in specs {
        spec.check()?;
        let fault = if !names.insert(spec.name.as_str()) {
            "the name is used twice".to_owned()
        } else if names.len() > ISSUERS_MAX {
            format!("more than `{ISSUERS_MAX}` issuers")
        } else {
            continue;
        };
        return Err(SpecError {
            issuer: spec.name.clone(),
            fault,
        });
    }
    Ok(())
}
