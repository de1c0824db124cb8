//! State of one request: the snapshot it is judged by, its identity, what was decided, what happened.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use palisade_cache::Arrival;
use palisade_policy::hosts::Host;
use palisade_policy::model::{CacheRule, Route};
use palisade_translate::Dialect;
use pingora_error::{Error, ErrorType, Result};

use crate::cluster::{Pick, mirror};
use crate::gateway::Tied;
use crate::in_flight::Held;
use crate::listen::BodyClock;
use crate::observe::trace::TraceContext;
use crate::rejection::Rejection;
use crate::request_id::RequestId;
use crate::snapshot::Snapshot;
use crate::stages::Admitted;
use crate::stages::client::Client;
use crate::stages::deadline::Deadline;
use crate::stages::rate_limit::Quotas;
use crate::stages::shadow::Shadowed;

/// Both clocks, read once for each request and passed to whoever decides by time.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub wall: SystemTime,
    pub monotonic: Instant,
}

impl Now {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the clocks"
    )]
    pub fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    /// The monotonic clock alone, for what happens after the request was judged.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the clocks"
    )]
    pub fn monotonic() -> Instant {
        Instant::now()
    }

    /// Seconds since the epoch, as tokens count them.
    pub fn unix_seconds(&self) -> u64 {
        self.wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }
}

/// Made by `new_ctx`, dropped after `logging`.
pub struct RequestCtx {
    pub snapshot: Arc<Snapshot>,
    pub started: Now,
    pub request_id: RequestId,
    pub trace: TraceContext,
    /// Known from `early_request_filter` on.
    pub client: Option<Client>,
    pub admitted: Option<Admitted>,
    /// The route of a request that was refused on it, and what its limits said.
    pub refused_route: Option<Arc<Route>>,
    pub refused_quotas: Quotas,
    pub refused_host: Option<Arc<Host>>,
    pub refused_shadowed: Vec<Shadowed>,
    pub rejection: Option<Rejection>,
    /// What of the edge answered instead of an upstream, where nothing was refused.
    pub own_answer: Option<&'static str>,
    /// The cause behind `rejection`, for the log only.
    pub error: Option<String>,
    pub upstream: UpstreamFacts,
    pub body: RequestBody,
    /// Of the answer so far, in bytes.
    pub largest_piece: usize,
    pub dialect: Dialect,
    pub tunnel: Option<TunnelFacts>,
    /// Where a reload may end the request.
    pub tied: Option<Tied>,
    pub mirroring: Mirroring,
    /// Held where requests under way are bounded.
    pub in_flight: Option<Held>,
}

/// The copy of a request for its route's mirror.
#[derive(Default)]
pub enum Mirroring {
    #[default]
    Undecided,
    /// It waits for the end of the body.
    Collecting(Box<mirror::Copy>),
    /// Sent, or there is none.
    Settled,
}

/// A request that is to become a tunnel, or has.
pub struct TunnelFacts {
    /// When the upstream is given up: a while after the tunnel would have ended itself, for the
    /// case that it neither reads nor writes and so keeps the tunnel's own clocks from running.
    pub upstream_silence_max: Duration,
    /// From the end of the request head to the upgrade; none before it.
    pub opened_after: Option<Duration>,
    /// Why the edge ended it; empty where one of its ends did.
    pub ended_by: Arc<OnceLock<&'static str>>,
}

/// A request body on its way.
#[derive(Default)]
pub struct RequestBody {
    /// That passed the bound so far.
    pub bytes: u64,
    /// None where there is no body.
    pub clock: Option<Arc<BodyClock>>,
    /// By the clock: before this request, and when the last piece came.
    pub waited_before: Duration,
    pub waited_at_last: Duration,
    /// The client waits for 100 from the endpoint, and not the other way round.
    pub awaits_invitation: bool,
}

/// What happened behind the edge.
#[derive(Default)]
pub struct UpstreamFacts {
    pub picked: Option<Pick>,
    pub attempts: u32,
    pub sent_at: Option<Instant>,
    /// From the request upstream to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// A 304's own age, where it confirmed a stored answer.
    pub confirmed_by: Option<Arrival>,
    /// The `grpc-status` of the answer, from its header or its trailers.
    pub grpc_status: Option<u8>,
    /// How long an endpoint may be silent, where the route says less than the cluster.
    pub silence_max: Option<Duration>,
    /// Of the answer so far.
    pub body_bytes: u64,
    pub retries: RetryState,
}

/// Tries after the first.
#[derive(Default)]
pub struct RetryState {
    /// Connections that could not be made: the cluster's own rule counts those.
    pub connect_failures: u32,
    /// By the route's rule.
    pub used: u32,
    /// Why there will be another try, and after which pause.
    pub planned: Option<(&'static str, Duration)>,
    /// For the budget: this request, and its place among the retries.
    pub counted: Option<Held>,
    pub place: Option<Held>,
}

impl RequestCtx {
    pub fn new(snapshot: Arc<Snapshot>, started: Now) -> Self {
        Self {
            snapshot,
            started,
            request_id: RequestId::random(),
            trace: TraceContext::default(),
            client: None,
            admitted: None,
            refused_route: None,
            refused_quotas: Quotas::default(),
            refused_host: None,
            refused_shadowed: Vec::new(),
            rejection: None,
            own_answer: None,
            error: None,
            upstream: UpstreamFacts::default(),
            body: RequestBody::default(),
            largest_piece: 0,
            dialect: Dialect::Http,
            tunnel: None,
            tied: None,
            mirroring: Mirroring::Undecided,
            in_flight: None,
        }
    }

    /// Present in every phase.
    pub fn client(&self) -> Result<&Client> {
        self.client.as_ref().ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "phase reached without a client")
        })
    }

    /// Present in every phase after `request_filter` let the request pass.
    pub fn admitted(&self) -> Result<&Admitted> {
        self.admitted.as_ref().ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "phase reached without admission")
        })
    }

    /// Of the request's host; of every host where that is not known.
    pub fn host_rules(&self) -> &Arc<Host> {
        let admitted = self.admitted.as_ref().map(|admitted| &admitted.host_rules);
        admitted
            .or(self.refused_host.as_ref())
            .unwrap_or(self.snapshot.policy.hosts.any())
    }

    /// What rules in shadow would have refused.
    pub fn shadowed(&self) -> &[Shadowed] {
        let admitted = self.admitted.as_ref();
        admitted.map_or(&self.refused_shadowed, |admitted| &admitted.shadowed)
    }

    /// The route as far as it was found.
    pub fn route_name(&self) -> Option<&str> {
        let admitted = self.admitted.as_ref().map(|admitted| &admitted.route);
        admitted
            .or(self.refused_route.as_ref())
            .map(|route| &*route.name)
    }

    /// Why the edge made the answer; none where an upstream did.
    pub fn reason(&self) -> Option<&'static str> {
        self.rejection
            .as_ref()
            .map(Rejection::code)
            .or(self.own_answer)
    }

    pub fn cache_rule(&self) -> Option<&CacheRule> {
        self.admitted.as_ref()?.route.cache.as_ref()
    }

    /// Of the answer to a call, whoever made it, as far as it is not in a body.
    pub fn grpc_status(&self) -> Option<u8> {
        let own = self
            .rejection
            .as_ref()
            .filter(|_| self.dialect != Dialect::Http)
            .map(Rejection::grpc_status);
        own.or(self.upstream.grpc_status)
    }

    /// Of the whole request; none where it has no bound.
    pub fn deadline(&self) -> Option<Deadline> {
        self.admitted.as_ref()?.deadline
    }

    /// What is left of the time for the whole request; none where it has no bound.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let taken = now.saturating_duration_since(self.started.monotonic);
        Some(self.deadline()?.length.saturating_sub(taken))
    }

    /// Whether the client itself gave so little time that it is over: nobody else's failure.
    pub fn is_out_of_clients_time(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline.by_client)
            && self.time_left(now).is_some_and(|left| left.is_zero())
    }
}
