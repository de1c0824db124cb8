//! Requests under way whose route or credential goes away, on routes that say what then becomes of
//! them (`on_reload`).
//!
//! Each is tied to what let it in. After a reload the ties that no longer hold are cancelled:
//! tunnels get a Close frame, other requests end by an error of their next read. Routes with `keep`,
//! the default, are not tied and pay nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use palisade_policy::hosts::{Host, TrustDomain};
use palisade_policy::model::OnReload;
use pingora_error::Result;
use pingora_proxy::Session;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Gateway, connection};
use crate::listen::tunnel::Ending;
use crate::listen::{Recall, timed_body};
use crate::observe::metrics::Metrics;
use crate::request_ctx::RequestCtx;
use crate::snapshot::Snapshot;
use crate::stages::Admitted;

/// Close codes of RFC 6455, 7.4.1: come again, and do not.
const DRAINED: Ending = Ending {
    code: 1001,
    reason: "route_changed",
};
const CUT: Ending = Ending {
    code: 1008,
    reason: "route_changed",
};

/// What let a request in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tie {
    route: Arc<str>,
    /// Of the route: its matches, who it asks for, where it leads.
    admission: u64,
    host: String,
    /// Whose client certificates the host takes.
    trust_domain: Option<TrustDomain>,
    /// The set, and the SHA-256 of the key, where the caller showed one.
    api_key: Option<(Arc<str>, [u8; 32])>,
    on_reload: OnReload,
}

impl Tie {
    fn of(admitted: &Admitted, snapshot: &Snapshot) -> Self {
        let route = &admitted.route;
        Self {
            route: route.name.clone(),
            admission: route.admission,
            host: admitted.host.clone(),
            trust_domain: trust_domain(&admitted.host_rules),
            api_key: api_key(admitted, snapshot),
            on_reload: route.on_reload,
        }
    }

    fn holds(&self, routes: &HashMap<&str, u64>, snapshot: &Snapshot) -> bool {
        routes.get(&*self.route) == Some(&self.admission)
            && trust_domain(snapshot.policy.hosts.find(&self.host)) == self.trust_domain
            && self.api_key.as_ref().is_none_or(|(set, key)| {
                let mut sets = snapshot.policy.api_keys.iter();
                let set = sets.find(|other| other.name == *set);
                set.is_some_and(|set| set.keys.contains_key(key))
            })
    }
}

fn trust_domain(host: &Host) -> Option<TrustDomain> {
    let clients = host.client_certificates.as_ref();
    clients.map(|clients| clients.trust_domain)
}

fn api_key(admitted: &Admitted, snapshot: &Snapshot) -> Option<(Arc<str>, [u8; 32])> {
    let (id, shown) = admitted.permit.caller().api_key.as_ref()?;
    let set = snapshot.policy.api_keys.get(id.0)?;
    let mut keys = set.keys.iter();
    let (sha256, _) = keys.find(|(_, key)| Arc::ptr_eq(key, shown))?;
    Some((set.name.clone(), *sha256))
}

/// What each route admits, by name.
fn admissions(snapshot: &Snapshot) -> HashMap<&str, u64> {
    let routes = snapshot.policy.routes.routes();
    routes
        .map(|route| (&*route.name, route.admission))
        .collect()
}

/// Shared by the requests that the same thing let in.
#[derive(Debug, Default)]
struct Knot {
    /// What let them in is gone.
    gone: CancellationToken,
    /// And so is the time in which they might have ended by themselves.
    over: CancellationToken,
}

/// A request that a reload may end.
pub struct Tied {
    streams: Arc<Streams>,
    tie: Tie,
    knot: Arc<Knot>,
    /// Of an HTTP/1.1 connection, on which other requests follow.
    armed: Option<Arc<Recall>>,
}

impl Tied {
    /// What ends a tunnel, and how.
    pub(super) fn of_tunnel(&self) -> (CancellationToken, Ending) {
        let ending = match self.tie.on_reload {
            OnReload::Cut => CUT,
            OnReload::Drain | OnReload::Keep => DRAINED,
        };
        (self.knot.gone.clone(), ending)
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        if let Some(recall) = &self.armed {
            recall.disarm();
        }
        let mut knots = self.streams.knots();
        let is_last = Arc::strong_count(&self.knot) == 1;
        let ours = Arc::downgrade(&self.knot);
        if is_last && knots.get(&self.tie).is_some_and(|knot| knot.ptr_eq(&ours)) {
            knots.remove(&self.tie);
        }
    }
}

/// The requests under way that a reload may end.
pub struct Streams {
    /// No more than there are requests under way.
    knots: Mutex<HashMap<Tie, Weak<Knot>>>,
    drain: Duration,
    metrics: Arc<Metrics>,
}

impl Streams {
    /// `drain` is how long requests may go on that are drained.
    pub fn new(drain: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            knots: Mutex::default(),
            drain,
            metrics,
        }
    }

    /// After a reload: end what is no longer let in.
    pub fn review(self: &Arc<Self>, snapshot: &Snapshot) {
        let mut knots = self.knots();
        if knots.is_empty() {
            return;
        }
        let admissions = admissions(snapshot);
        let gone = knots.extract_if(|tie, _| !tie.holds(&admissions, snapshot));
        let gone: Vec<_> = gone
            .filter_map(|(tie, knot)| Some((tie, knot.upgrade()?)))
            .collect();
        drop(knots);
        for (tie, knot) in gone {
            // Without our own.
            let requests = Arc::strong_count(&knot).saturating_sub(1);
            info!(
                route = &*tie.route,
                requests,
                on_reload = label(tie.on_reload),
                "requests under way are recalled"
            );
            self.recall(&tie, &knot, requests as u64);
        }
    }

    fn recall(&self, tie: &Tie, knot: &Knot, requests: u64) {
        self.metrics
            .streams_recalled
            .with_label_values(&[&*tie.route, label(tie.on_reload)])
            .inc_by(requests);
        knot.gone.cancel();
        if tie.on_reload == OnReload::Cut {
            knot.over.cancel();
            return;
        }
        let (over, drain) = (knot.over.clone(), self.drain);
        tokio::spawn(async move {
            tokio::time::sleep(drain).await;
            over.cancel();
        });
    }

    fn knots(&self) -> MutexGuard<'_, HashMap<Tie, Weak<Knot>>> {
        // Whole after every statement that could panic.
        self.knots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(on_reload: OnReload) -> &'static str {
    match on_reload {
        OnReload::Keep => "keep",
        OnReload::Drain => "drain",
        OnReload::Cut => "cut",
    }
}

impl Gateway {
    /// Tie the request to what let it in, where its route says so.
    pub(super) fn tie(&self, ctx: &mut RequestCtx) {
        let Some(admitted) = &ctx.admitted else {
            return;
        };
        if admitted.route.on_reload == OnReload::Keep {
            return;
        }
        let tie = Tie::of(admitted, &ctx.snapshot);
        let mut knots = self.streams.knots();
        let known = knots.get(&tie).and_then(Weak::upgrade);
        let knot = known.unwrap_or_else(|| {
            let knot = Arc::<Knot>::default();
            knots.insert(tie.clone(), Arc::downgrade(&knot));
            knot
        });
        // A review that came in between did not see it, and one to come waits for the lock.
        let current = self.policies.current();
        let is_gone =
            !Arc::ptr_eq(&current, &ctx.snapshot) && !tie.holds(&admissions(&current), &current);
        if is_gone {
            knots.remove(&tie);
        }
        drop(knots);
        if is_gone {
            self.streams.recall(&tie, &knot, 1);
        }
        ctx.tied = Some(Tied {
            streams: self.streams.clone(),
            tie,
            knot,
            armed: None,
        });
    }
}

/// Let the request end when its time is over; tunnels end by themselves.
pub(super) fn recall(session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    let Some(tied) = &mut ctx.tied else {
        return Ok(());
    };
    let over = tied.knot.over.clone();
    if session.as_downstream().as_http1().is_some() {
        let recall = connection(session)?.recall.clone();
        recall.arm(over);
        tied.armed = Some(recall);
    } else {
        timed_body::wrap_recallable(session.as_downstream_mut(), over);
    }
    Ok(())
}
