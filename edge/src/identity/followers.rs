//! Every cluster whose revocations are followed, kept alive across policy reloads.
//!
//! Invariant: one task listens to one cluster. What is known of a cluster stays when its endpoints or
//! certificates change: only who listens is another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use palisade_policy::model::OnStale;
use palisade_token::{Claims, Issuer, Refusal};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint;

use super::follower;
use super::revoked::Revoked;
use crate::request_ctx::Now;

/// So long at most a reload waits for the first word of a cluster that nobody listened to before.
const FIRST_WORD_MAX: Duration = Duration::from_secs(5);

/// A cluster to listen to.
pub struct Source {
    pub cluster: Arc<str>,
    pub fingerprint: u64,
    pub endpoints: Vec<Endpoint>,
    /// Whose tokens it tells of.
    pub issuers: Vec<Arc<Issuer>>,
}

/// The followed clusters of a process.
#[derive(Default)]
pub struct Followers {
    /// A std lock: nothing is awaited under it.
    live: Mutex<HashMap<Arc<str>, Live>>,
}

struct Live {
    fingerprint: u64,
    revoked: Arc<Revoked>,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

impl Followers {
    /// Listens to these clusters and to no others. Returns what is known of each, by name, when it
    /// was tried to hear of it.
    ///
    /// Tasks are started on the runtime this is called on, which must outlive them.
    pub async fn reconcile(&self, sources: Vec<Source>) -> HashMap<Arc<str>, Arc<Revoked>> {
        let known = self.replace(sources);
        // The first requests of a process would else be judged by nothing. No longer than this: the
        // policy says what becomes of tokens then.
        let attempts = known.values().map(|revoked| revoked.first_attempt());
        let _ = tokio::time::timeout(FIRST_WORD_MAX, join_all(attempts)).await;
        known
    }

    fn replace(&self, sources: Vec<Source>) -> HashMap<Arc<str>, Arc<Revoked>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *live);
        for source in sources {
            let now = match before.remove(&source.cluster) {
                Some(same) if same.fingerprint == source.fingerprint => same,
                other => {
                    let revoked =
                        other.map_or_else(|| Arc::new(Revoked::new()), |live| live.revoked);
                    let (name, endpoints) = (source.cluster.clone(), source.endpoints);
                    let following = follower::follow(name, endpoints, revoked.clone());
                    Live {
                        fingerprint: source.fingerprint,
                        revoked,
                        _task: AbortOnDropHandle::new(tokio::spawn(following)),
                    }
                }
            };
            now.revoked.signing_keys.tell(source.issuers);
            live.insert(source.cluster, now);
        }
        let known = live.iter();
        known
            .map(|(name, live)| (name.clone(), live.revoked.clone()))
            .collect()
    }
}

/// What is known of the tokens of one issuer, and its rule for when nothing is heard.
pub struct Followed {
    pub revoked: Arc<Revoked>,
    pub on_stale: OnStale,
    pub stale_after: Duration,
}

impl Followed {
    /// Whether a verified token is still believed.
    ///
    /// # Errors
    /// [`Refusal::Revoked`], or [`Refusal::NoRevocations`] where nobody could say.
    pub fn judge(&self, claims: &Claims, now: Now) -> Result<(), Refusal> {
        if self.revoked.is_dead(claims) {
            return Err(Refusal::Revoked);
        }
        let silence = self.revoked.silence(now.monotonic);
        let is_stale = || silence.is_none_or(|silence| silence > self.stale_after);
        if self.on_stale == OnStale::Deny && is_stale() {
            return Err(Refusal::NoRevocations);
        }
        Ok(())
    }
}
