//! Named limits: the key of a request, its bucket, and the fields that tell the client.
//!
//! GCRA by governor, one bucket for each key in a bounded table. `now` comes in from outside,
//! so tests own the time. The fields are those of draft-ietf-httpapi-ratelimit-headers.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use palisade_policy::model::{Limit, LimitKey, Mode, Route};
use pingora_http::RequestHeader;

use super::Downstream;
use super::authn::Caller;
use super::authz::Permit;
use super::shadow::Shadowed;
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// What the route's limits said.
#[derive(Debug, Default, Clone)]
pub struct Quotas {
    pub states: Vec<QuotaState>,
    /// Set when one of them refused: whole seconds until a request can pass.
    pub retry_after_s: Option<u64>,
    /// The limit that refused.
    pub refused_by: Option<Arc<str>>,
}

/// One member of the `RateLimit` field.
#[derive(Debug, Clone)]
pub struct QuotaState {
    pub name: Arc<str>,
    /// Requests that would pass now.
    pub remaining: u32,
    /// Whole seconds until the bucket is full again.
    pub reset_s: u64,
    /// In shadow nobody is refused by it, and nobody told of it.
    pub mode: Mode,
    /// The request was one too many.
    pub refused: bool,
}

impl Quotas {
    /// What limits in shadow would have refused.
    pub fn shadowed(&self) -> impl Iterator<Item = Shadowed> {
        let is_shadowed = |state: &&QuotaState| state.refused && state.mode == Mode::Shadow;
        self.states.iter().filter(is_shadowed).map(|state| {
            let rejection = Rejection::RateLimited {
                retry_after_s: state.reset_s,
            };
            Shadowed::new("rate_limit", &rejection).by(&state.name)
        })
    }

    /// What clients are told of.
    pub fn enforced(&self) -> impl Iterator<Item = &QuotaState> {
        let states = self.states.iter();
        states.filter(|state| state.mode == Mode::Enforce)
    }
}

/// Take one from every limit of the route, in order, until one refuses; in a rehearsal only look.
pub fn take(
    snapshot: &Snapshot,
    route: &Route,
    head: &RequestHeader,
    downstream: Downstream<'_>,
    permit: &Permit,
    now: Now,
) -> Quotas {
    let mut quotas = Quotas::default();
    for limit in &route.limits {
        let Some(state) = snapshot.limit(limit.id) else {
            continue;
        };
        let key = key(snapshot, &state.key, head, downstream.client, permit);
        let outcome = match downstream.rehearsal {
            None => state.take(key, now.monotonic),
            Some(_) => state.peek(key, now.monotonic),
        };
        let (quota, wait) = match outcome {
            Ok(quota) => (quota, None),
            Err((quota, wait)) => (quota, Some(wait)),
        };
        let quota = QuotaState {
            mode: limit.mode,
            refused: wait.is_some(),
            ..quota
        };
        let wait = wait.filter(|_| limit.mode == Mode::Enforce);
        if let Some(wait) = wait {
            quotas.retry_after_s = Some(whole_seconds(wait).max(1));
            quotas.refused_by = Some(quota.name.clone());
        }
        quotas.states.push(quota);
        if wait.is_some() {
            break;
        }
    }
    quotas
}

/// Hash of what the limit counts by; distinct keys share a bucket with probability 2^-64 only.
fn key(
    snapshot: &Snapshot,
    by: &LimitKey,
    head: &RequestHeader,
    client: IpAddr,
    permit: &Permit,
) -> u64 {
    // Seeded per process: a client cannot look for keys that collide with another's.
    static SEED: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    let mut hasher = SEED.build_hasher();
    match by {
        LimitKey::ClientAddress => address_key(client).hash(&mut hasher),
        LimitKey::Caller => caller_key(snapshot, permit.caller(), client, &mut hasher),
        LimitKey::Header(name) => {
            for value in head.headers.get_all(name) {
                value.as_bytes().hash(&mut hasher);
            }
        }
        LimitKey::Claim(path) => {
            let claims = permit.caller().claims.as_deref();
            claims
                .and_then(|claims| claims.get_str(path))
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// One name means somebody else in each set of keys, and with each issuer. By names, because
/// positions are others after a reload, and the counters are not.
fn caller_key(snapshot: &Snapshot, caller: &Caller, client: IpAddr, hasher: &mut impl Hasher) {
    match (&caller.claims, &caller.api_key, &caller.certificate) {
        (Some(claims), ..) => (&claims.issuer, &claims.subject).hash(hasher),
        (None, Some((set, key)), _) => {
            let set = snapshot.policy.api_keys.get(set.0).map(|set| &set.name);
            ("api key", set, &key.name).hash(hasher);
        }
        (None, None, Some(subject)) => ("certificate", subject).hash(hasher),
        (None, None, None) => address_key(client).hash(hasher),
    }
}

/// An IPv6 subscriber holds at least a /64, so that is what counts as one client.
fn address_key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64 | 1,
    }
}

type Bucket = RateLimiter<NotKeyed, Shared, GivenClock, StateInformationMiddleware>;

/// A bucket whose state can be looked at from outside of its limiter.
struct Tracked {
    bucket: Bucket,
    state: Shared,
    /// What the state counts from.
    since: SinceStart,
}

/// The one number of a bucket.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<InMemoryState>);

impl StateStore for Shared {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

impl Shared {
    /// Another one with the same number in it.
    fn copy(&self) -> Self {
        let copy = Self::default();
        // An error replaces nothing, and brings the number out.
        let number = self.measure_and_replace(&NotKeyed::NonKey, |number| match number {
            Some(number) => Err(number),
            None => Ok(((), Nanos::new(0))),
        });
        if let Err(number) = number {
            let put = |_| Ok::<_, ()>(((), number));
            let _ = copy.measure_and_replace(&NotKeyed::NonKey, put);
        }
        copy
    }
}

/// Live state of one limit. Outlives reloads for as long as quota and key stay the same.
pub struct LimitState {
    pub name: Arc<str>,
    pub key: LimitKey,
    pub fingerprint: u64,
    quota: Quota,
    /// Member of the `RateLimit-Policy` field.
    pub policy: String,
    /// Time in which an empty bucket fills: an idle one is as good as none afterwards.
    fill: Duration,
    clock: GivenClock,
    buckets: Cache<u64, Arc<Tracked>, RandomState>,
}

impl LimitState {
    pub fn new(limit: &Limit, start: Instant) -> Self {
        let requests = limit.requests.max(1);
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        let interval = (limit.period / requests).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval)
            .unwrap_or_else(|| Quota::per_second(burst))
            .allow_burst(burst);
        let fill = interval.saturating_mul(burst.get());
        let buckets = Cache::builder()
            .max_capacity(limit.keys_max)
            // Twice the fill, because moka counts idle time in coarse steps.
            .time_to_idle(fill.saturating_mul(2).max(Duration::from_secs(1)))
            .build_with_hasher(RandomState::new());
        Self {
            name: limit.name.clone(),
            key: limit.key.clone(),
            fingerprint: limit.fingerprint,
            quota,
            policy: format!(
                "\"{}\";q={};w={}",
                limit.name,
                burst,
                whole_seconds(fill).max(1)
            ),
            fill,
            clock: GivenClock::new(start),
            buckets,
        }
    }

    /// Keys tracked now.
    pub fn keys(&self) -> u64 {
        self.buckets.entry_count()
    }

    fn take(&self, key: u64, now: Instant) -> Result<QuotaState, (QuotaState, Duration)> {
        self.clock.advance(now);
        let tracked = match self.buckets.get(&key) {
            Some(tracked) => tracked,
            None => self.buckets.get_with(key, || Arc::new(self.track())),
        };
        self.check(&tracked.bucket, &self.clock)
    }

    /// What `take` would say, of a copy: neither bucket nor clock notice.
    fn peek(&self, key: u64, now: Instant) -> Result<QuotaState, (QuotaState, Duration)> {
        let clock = GivenClock::new(self.clock.start);
        let state = match self.buckets.get(&key) {
            Some(tracked) => {
                clock.elapsed_ns.store(tracked.since.0, Ordering::Relaxed);
                tracked.state.copy()
            }
            None => Shared::default(),
        };
        let bucket = self.bucket(state, &clock);
        clock.advance(now);
        self.check(&bucket, &clock)
    }

    fn check(
        &self,
        bucket: &Bucket,
        clock: &GivenClock,
    ) -> Result<QuotaState, (QuotaState, Duration)> {
        match bucket.check() {
            Ok(state) => Ok(self.state(state.remaining_burst_capacity())),
            Err(refused) => Err((self.state(0), refused.wait_time_from(clock.now()))),
        }
    }

    fn track(&self) -> Tracked {
        let state = Shared::default();
        let since = self.clock.now();
        Tracked {
            bucket: self.bucket(state.clone(), &self.clock),
            state,
            since,
        }
    }

    fn bucket(&self, state: Shared, clock: &GivenClock) -> Bucket {
        RateLimiter::new(self.quota, state, clock.clone())
    }

    fn state(&self, remaining: u32) -> QuotaState {
        let burst = self.quota.burst_size().get();
        let used = burst.saturating_sub(remaining);
        let reset = self.fill.mul_f64(f64::from(used) / f64::from(burst));
        QuotaState {
            name: self.name.clone(),
            remaining,
            reset_s: whole_seconds(reset),
            mode: Mode::Enforce,
            refused: false,
        }
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A clock that is told the time: the latest `now` of any request.
#[derive(Debug, Clone)]
struct GivenClock {
    start: Instant,
    elapsed_ns: Arc<AtomicU64>,
}

/// Time since the limit was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SinceStart(u64);

impl GivenClock {
    fn new(start: Instant) -> Self {
        Self {
            start,
            elapsed_ns: Arc::new(AtomicU64::new(0)),
        }
    }

    fn advance(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        // 584 years fit.
        self.elapsed_ns.fetch_max(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}

impl Clock for GivenClock {
    type Instant = SinceStart;

    fn now(&self) -> SinceStart {
        SinceStart(self.elapsed_ns.load(Ordering::Relaxed))
    }
}

impl Reference for SinceStart {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::from(self.0.saturating_sub(earlier.0))
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl std::ops::Add<Nanos> for SinceStart {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0.saturating_add(duration.as_u64()))
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "one instant to count from; the tests move it themselves"
)]
mod tests;
