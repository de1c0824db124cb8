//! Descriptors that a cluster's endpoints tell of themselves, asked for again and again.
//!
//! Invariant: no request and no reload waits for them. What cannot be used changes nothing: the
//! last good descriptors stay. Asks the cluster's own endpoints and nobody else; an answer names no
//! address that would be called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use palisade_policy::model::Reflection;
use palisade_translate::{Description, Options, Translator, describe};
use tokio::task::AbortHandle;
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::request_ctx::Now;

/// Before the next endpoint is asked, where one could not be used.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
};
/// Times between two answers differ by so much: many edges would ask a service at once.
const JITTER: f64 = 0.1;
/// Faults of descriptors that are told; each may have one for each of its rules.
const ERRORS_MAX: usize = 3;

/// What the endpoints said last.
#[derive(Default)]
pub struct Reflected {
    translator: ArcSwapOption<Translator>,
    /// How often that has changed.
    version: AtomicU64,
    status: Mutex<Status>,
}

/// How that came to be.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// When they last said something that can be used.
    pub described_at: Option<Instant>,
    pub services: usize,
    /// Listed by an endpoint, which then does not know them.
    pub unknown: Vec<String>,
    /// Attempts since then that came to nothing.
    pub failures: u32,
    /// Of the last attempt.
    pub error: Option<String>,
}

impl Reflected {
    pub fn translator(&self) -> Option<Arc<Translator>> {
        self.translator.load_full()
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, description: &Description) {
        *self.lock() = Status {
            described_at: Some(Now::monotonic()),
            services: description.services,
            unknown: description.unknown.clone(),
            failures: 0,
            error: None,
        };
    }

    /// Returns how many there were in a row.
    fn failed(&self, error: String) -> u32 {
        let mut status = self.lock();
        status.failures = status.failures.saturating_add(1);
        status.error = Some(error);
        status.failures
    }
}

/// The task that asks. Ends with the cluster's state.
pub(super) struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks these endpoints from now on.
pub(super) fn ask(
    cluster: Arc<str>,
    rule: Reflection,
    endpoints: Vec<Endpoint>,
    reflected: Arc<Reflected>,
) -> Asking {
    let asking = async move {
        let mut known = None;
        // The same one as long as it answers: in the middle of a deployment others may be of
        // another version, and bindings would come and go.
        for endpoint in endpoints.iter().cycle() {
            stay(endpoint, &cluster, &rule, &reflected, &mut known).await;
        }
    };
    Asking(tokio::spawn(asking).abort_handle())
}

/// Returns when the endpoint could not be used, after a pause.
async fn stay(
    endpoint: &Endpoint,
    cluster: &str,
    rule: &Reflection,
    reflected: &Reflected,
    known: &mut Option<Digest>,
) {
    loop {
        match attempt(endpoint, &rule.options, reflected, known).await {
            Ok(is_new) => {
                if is_new {
                    info!(cluster, "descriptors by reflection are in force");
                }
                tokio::time::sleep(jittered(rule.refresh)).await;
            }
            Err(error) => {
                let failures = reflected.failed(error.clone());
                if failures == 1 {
                    warn!(cluster, %error, "descriptors by reflection cannot be used");
                } else {
                    debug!(cluster, %error, failures, "descriptors by reflection cannot be used");
                }
                tokio::time::sleep(BACKOFF.after(failures)).await;
                return;
            }
        }
    }
}

/// Whether there is something new.
async fn attempt(
    endpoint: &Endpoint,
    options: &Options,
    reflected: &Reflected,
    known: &mut Option<Digest>,
) -> Result<bool, String> {
    let description = describe(endpoint.connect_lazy()).await;
    let mut description = description.map_err(|error| error.to_string())?;
    let set = std::mem::take(&mut description.descriptor_set);
    let now = digest(&SHA256, &set);
    let is_new = known.is_none_or(|known| known.as_ref() != now.as_ref());
    if is_new {
        let options = options.clone();
        // Seconds, for the largest there may be.
        let building =
            tokio::task::spawn_blocking(move || Translator::from_descriptor_set(&set, options));
        let built = building.await.map_err(|error| error.to_string())?;
        let translator = built.map_err(|errors| {
            let errors = errors.iter().take(ERRORS_MAX).map(ToString::to_string);
            errors.collect::<Vec<_>>().join("; ")
        })?;
        reflected.translator.store(Some(Arc::new(translator)));
        reflected.version.fetch_add(1, Ordering::Release);
        *known = Some(now);
    }
    reflected.succeeded(&description);
    Ok(is_new)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshes_are_spread() {
        for _ in 0..100 {
            let jittered = jittered(Duration::from_secs(10)).as_secs_f64();
            assert!((9.0..=11.0).contains(&jittered), "{jittered}");
        }
    }

    #[test]
    fn failures_are_counted_and_change_nothing_else() {
        let reflected = Reflected::default();
        let description = Description {
            descriptor_set: Vec::new(),
            services: 2,
            unknown: vec!["t.Gone".to_owned()],
        };
        assert_eq!(reflected.failed("no".to_owned()), 1);
        assert!(reflected.status().described_at.is_none());
        reflected.succeeded(&description);
        assert_eq!(reflected.status().error, None);
        assert_eq!(reflected.failed("no".to_owned()), 1);
        assert_eq!(reflected.failed("not now".to_owned()), 2);
        let status = reflected.status();
        assert!(status.described_at.is_some());
        assert_eq!((status.services, status.failures), (2, 2));
        assert_eq!(status.error.as_deref(), Some("not now"));
        assert_eq!(status.unknown, description.unknown);
    }
}
