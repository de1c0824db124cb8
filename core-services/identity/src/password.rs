//! Password hashes: argon2id, a few at a time, with a short queue before them. Imported
//! bcrypt hashes are checked, too, until their owners sign in and get a new one.
//! Invariant: at most `parallel` hashes run (19 MiB and a core each) and
//! `QUEUE_MAX` wait; a call that finds the queue full is told to come back.
//! Refuses to tell a missing account by time: `Dummy` costs what a real one does.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use core_platform::{
    clock::Stopwatch,
    metrics::{GaugeOf, HistogramOf, Metrics},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// OWASP's minimum: 19 MiB, two passes, one lane. 22-34 ms here.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Two hashers clear it in about a second, which is as long as anyone should wait.
const QUEUE_MAX: usize = 64;
/// bcrypt's work doubles with each; a hash that would hold a core for minutes is damaged.
const BCRYPT_COST_MAX: u32 = 14;
/// Beyond this the memory bandwidth is the limit, not the cores.
const PARALLEL_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("too many passwords are being checked")]
    Busy,
    #[error("argon2: {0}")]
    Argon2(#[from] argon2::Error),
    #[error("password hash: {0}")]
    Hash(#[from] password_hash::Error),
    #[error("stored password hash: {0}")]
    Stored(#[from] password_hash::phc::Error),
    #[error("stored bcrypt hash: {0}")]
    Bcrypt(#[from] bcrypt::BcryptError),
    #[error("stored bcrypt hash: cost {0} is beyond {BCRYPT_COST_MAX}")]
    BcryptCost(u32),
    #[error("the hashing thread ended early")]
    Thread,
}

/// What hashes new passwords.
///
/// # Errors
/// Parameters that argon2 refuses.
pub fn argon2id() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// What to check a password against.
pub(crate) enum Against {
    /// An account's stored hash.
    Stored(String),
    /// No account: same work, and the answer is always no.
    Dummy,
}

/// The hasher of the process.
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    dummy: String,
    /// Admission: running and waiting together.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    depth: GaugeOf,
    seconds: HistogramOf,
}

impl Hasher {
    /// # Errors
    /// Parameters argon2 refuses, or a metric name that is taken.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, crate::StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_parallelism(metrics, cores.min(PARALLEL_MAX), QUEUE_MAX)
    }

    fn with_parallelism(
        metrics: &Metrics,
        parallel: usize,
        queue: usize,
    ) -> Result<Self, crate::StartError> {
        let argon2 = argon2id().map_err(Error::from)?;
        let dummy = argon2
            .hash_password(b"nobody has this one")
            .map_err(Error::from)?
            .to_string();
        let metric = |error: &dyn std::error::Error| crate::StartError::Metrics(error.to_string());
        Ok(Self {
            argon2,
            dummy,
            places: Arc::new(Semaphore::new(parallel + queue)),
            running: Arc::new(Semaphore::new(parallel)),
            depth: metrics
                .gauge(
                    "password_hash_queue_depth",
                    "Passwords being hashed or waiting for it.",
                )
                .map_err(|error| metric(&error))?,
            seconds: metrics
                .seconds(
                    "password_hash_duration_seconds",
                    "Time to hash one password.",
                )
                .map_err(|error| metric(&error))?,
        })
    }

    /// A new hash with a random salt, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.run(move || Ok(argon2.hash_password(password.as_bytes())?.to_string()))
            .await
    }

    /// Is this the password? Costs the same for every answer, but for imported hashes:
    /// who measures can tell them from ours until their owner has signed in once.
    pub(crate) async fn verify(&self, password: String, against: Against) -> Result<bool, Error> {
        let argon2 = self.argon2.clone();
        let (stored, real) = match against {
            Against::Stored(stored) => (stored, true),
            Against::Dummy => (self.dummy.clone(), false),
        };
        self.run(move || {
            if is_imported(&stored) {
                return verify_imported(&password, &stored);
            }
            let stored = PasswordHash::new(&stored)?;
            match argon2.verify_password(password.as_bytes(), &stored) {
                Ok(()) => Ok(real),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Busy)?;
        let place = Place::take(place, &self.depth);
        let slot = self
            .running
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Thread)?;
        let seconds = self.seconds.clone();
        // The permits go along: a caller who hangs up does not free a core that is still busy.
        tokio::task::spawn_blocking(move || {
            let _held = (place, slot);
            let since = Stopwatch::start();
            let done = work();
            seconds.observe(since.elapsed().as_secs_f64());
            done
        })
        .await
        .map_err(|_| Error::Thread)?
    }
}

/// A place in the queue, counted.
struct Place {
    _permit: OwnedSemaphorePermit,
    depth: GaugeOf,
}

impl Place {
    fn take(permit: OwnedSemaphorePermit, depth: &GaugeOf) -> Self {
        depth.inc();
        Self {
            _permit: permit,
            depth: depth.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.depth.dec();
    }
}

/// Is it a hash of another system's, to be replaced at the next login?
pub(crate) fn is_imported(stored: &str) -> bool {
    ["$2a$", "$2b$", "$2x$", "$2y$"]
        .iter()
        .any(|prefix| stored.starts_with(prefix))
}

fn verify_imported(password: &str, stored: &str) -> Result<bool, Error> {
    let cost = stored.parse::<bcrypt::HashParts>()?.get_cost();
    if cost > BCRYPT_COST_MAX {
        return Err(Error::BcryptCost(cost));
    }
    // Beyond 72 bytes bcrypt looks at nothing, and so did the system it came from.
    Ok(bcrypt::verify(password, stored)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(parallel: usize, queue: usize) -> Hasher {
        Hasher::with_parallelism(&Metrics::new().unwrap(), parallel, queue).unwrap()
    }

    #[tokio::test]
    async fn hashes_carry_owasp_parameters_and_verify() {
        let hasher = hasher(1, 4);
        let stored = hasher.hash("correct horse".to_owned()).await.unwrap();
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert_ne!(
            hasher.hash("correct horse".to_owned()).await.unwrap(),
            stored,
            "salted"
        );
        for (password, expected) in [
            ("correct horse", true),
            ("Correct horse", false),
            ("", false),
        ] {
            let against = Against::Stored(stored.clone());
            assert_eq!(
                hasher.verify(password.to_owned(), against).await.unwrap(),
                expected
            );
        }
    }

    #[tokio::test]
    async fn the_dummy_has_the_same_parameters_and_never_matches() {
        let hasher = hasher(1, 4);
        let real = hasher.hash("x".to_owned()).await.unwrap();
        let parameters = |phc: &str| phc.rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(parameters(&real), parameters(&hasher.dummy));
        let guessed = "nobody has this one".to_owned();
        assert!(!hasher.verify(guessed, Against::Dummy).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_empties_again() {
        let hasher = Arc::new(hasher(1, 1));
        // The only runner is taken, so the next call waits in the only place left.
        let runner = hasher.running.clone().acquire_owned().await.unwrap();
        let running = hasher.places.clone().try_acquire_owned().unwrap();
        let waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash("waits".to_owned()).await }
        });
        while hasher.depth.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            hasher.hash("refused".to_owned()).await,
            Err(Error::Busy)
        ));
        drop((runner, running));
        assert!(waiting.await.unwrap().is_ok());
        assert!(hasher.hash("served".to_owned()).await.is_ok());
        assert_eq!(hasher.depth.get(), 0);
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_not_a_no() {
        let damaged = Against::Stored("plain text".to_owned());
        assert!(matches!(
            hasher(1, 1).verify("x".to_owned(), damaged).await,
            Err(Error::Stored(_))
        ));
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_does_not_free_the_core() {
        let hasher = Arc::new(hasher(1, 0));
        let (release, released) = std::sync::mpsc::channel();
        let (started, starting) = tokio::sync::oneshot::channel();
        let call = tokio::spawn({
            let hasher = hasher.clone();
            let work = move || {
                let _ = started.send(());
                let _ = released.recv();
                Ok(())
            };
            async move { hasher.run(work).await }
        });
        starting.await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert!(matches!(
            hasher.hash("refused".to_owned()).await,
            Err(Error::Busy)
        ));
        release.send(()).unwrap();
        while hasher.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(hasher.hash("served".to_owned()).await.is_ok());
    }
}
