//! Decisions about a request, in one order, as pure functions.
//!
//! Invariant: nothing under `stages/` opens a socket or reads a clock; each stage takes the
//! facts of earlier ones as arguments, so that a wrong order does not compile.

pub mod client;
pub mod sanitize;
pub mod host;
pub mod cors;
pub mod route;
pub mod priority;
pub mod authn;
pub mod access;
pub mod authz;
pub mod shadow;
pub mod websocket;
pub mod rate_limit;
pub mod backend;
pub mod body;
pub mod deadline;
pub mod target;
pub mod cache;
pub mod rewrite;
pub mod compression;

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use palisade_policy::hosts::Host;
use palisade_policy::model::{Action, ClusterId, Route};
use palisade_policy::routing::{Certificate, Rule};
use palisade_token::Claims;
use pingora_http::RequestHeader;

use crate::identity::Introspected;
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;
use access::Judged;
use authn::Caller;
use authz::Permit;
use rate_limit::Quotas;
use shadow::Shadowed;

/// What the request came in by, as far as decisions need it.
#[derive(Debug, Clone, Copy)]
pub struct Downstream<'a> {
    pub client: IpAddr,
    /// What the client speaks, which a trusted proxy may know better than the connection.
    pub encrypted: bool,
    /// Of the connection's own TLS or QUIC handshake; none in plain text.
    pub proof: Option<host::Proof>,
    /// Of the client, verified by the same handshake.
    pub certificate: Option<Certificate<'a>>,
    /// Port of the https listener: where redirects to https point.
    pub https_port: u16,
    /// Extended CONNECT of h2 or h3, shown as an upgrade.
    pub is_extended_connect: bool,
    /// The number of its id.
    pub request: u128,
    /// Requests under way with this one, where they are bounded.
    pub under_way: usize,
    /// Keys that a token names and nobody knows may still be fetched: a rule about its claims is
    /// not decided before, and the token is refused even in shadow.
    pub keys_may_come: bool,
    /// What was said of the request's API key when it was asked about; none before.
    pub introspected: Option<&'a Introspected>,
    /// Present where nobody asked: the decision is wanted, and must leave no trace.
    pub rehearsal: Option<&'a Rehearsal>,
}

impl Downstream<'_> {
    /// Whether the refusal may be taken back once keys are fetched, or somebody was asked.
    fn may_still_hold(&self, rejection: &Rejection) -> bool {
        match rejection {
            Rejection::NoIntrospection => self.introspected.is_none(),
            rejection => self.keys_may_come && rejection.wants_keys(),
        }
    }
}

/// A decision for `explain`, for tests of policies, for a replay: nothing is counted.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    /// Of a token that counts as verified.
    pub claims: Option<Arc<Claims>>,
}

/// A request that may go on to the cache and upstream.
#[derive(Debug)]
pub struct Admitted {
    pub route: Arc<Route>,
    /// The match of it that the request took; `captures` of it and the path are its variables.
    pub rule: Arc<Rule>,
    pub permit: Permit,
    pub quotas: Quotas,
    /// Lower case, without port.
    pub host: String,
    pub host_rules: Arc<Host>,
    /// Present where the request is to become a WebSocket connection.
    pub websocket: Option<websocket::Terms>,
    /// Where the request goes; none where the edge answers itself.
    pub cluster: Option<ClusterId>,
    /// What rules in shadow would have refused.
    pub shadowed: Vec<Shadowed>,
    pub target: target::Target,
    /// None where neither the client nor the route has one.
    pub deadline: Option<deadline::Deadline>,
}

impl Admitted {
    /// Status and stable name of the answer, where the route sends nothing upstream.
    pub fn own_answer(&self) -> Option<(StatusCode, &'static str)> {
        match &self.route.action {
            Action::Redirect(redirect) => Some((redirect.status, "redirect")),
            Action::Respond(response) => Some((response.status, "direct_response")),
            Action::OpenApi(_) => Some((StatusCode::OK, "openapi")),
            Action::Docs(_) => Some((StatusCode::OK, "docs")),
            Action::Forward(_) | Action::Tombstone => None,
        }
    }
}

/// The route as far as it was found, and why the request ended there.
#[derive(Debug)]
pub struct Refused {
    pub rejection: Rejection,
    /// Empty where it was not understood.
    pub host: String,
    /// For the log and the metrics.
    pub route: Option<Arc<Route>>,
    /// The match of it that the request took.
    pub rule: Option<Arc<Rule>>,
    /// As far as the host was understood.
    pub host_rules: Option<Arc<Host>>,
    /// What the limits said, where the request came that far.
    pub quotas: Quotas,
    /// Who was let in as far as the limits.
    pub caller: Option<Caller>,
    /// What rules in shadow would have refused before.
    pub shadowed: Vec<Shadowed>,
}

/// How far a request came.
#[derive(Default)]
struct Trail {
    host: String,
    host_rules: Option<Arc<Host>>,
    route: Option<Arc<Route>>,
    rule: Option<Arc<Rule>>,
    caller: Option<Caller>,
    quotas: Quotas,
    shadowed: Vec<Shadowed>,
}

impl Trail {
    fn ends(self, rejection: Rejection) -> Box<Refused> {
        Box::new(Refused {
            rejection,
            host: self.host,
            host_rules: self.host_rules,
            route: self.route,
            rule: self.rule,
            caller: self.caller,
            quotas: self.quotas,
            shadowed: self.shadowed,
        })
    }
}

/// What becomes of the request; where it is refused, how far it came.
pub fn admit(
    snapshot: &Snapshot,
    head: &mut RequestHeader,
    downstream: Downstream<'_>,
    now: Now,
) -> Result<Admitted, Box<Refused>> {
    let mut trail = Trail::default();
    match judge(snapshot, head, downstream, now, &mut trail) {
        Ok(admitted) => Ok(admitted),
        Err(rejection) => Err(trail.ends(rejection)),
    }
}

/// The order is the security argument: nothing is believed before `authn`, nothing is counted
/// per caller before it. Runs ahead of the cache, so hits are guarded too.
fn judge(
    snapshot: &Snapshot,
    head: &mut RequestHeader,
    downstream: Downstream<'_>,
    now: Now,
    trail: &mut Trail,
) -> Result<Admitted, Rejection> {
    trail.host = sanitize::in_place(head, &snapshot.reserved_headers)?;
    let is_websocket = websocket::is_handshake(head, downstream.is_extended_connect)?;
    let rules = snapshot.policy.hosts.find(&trail.host);
    trail.host_rules = Some(rules.clone());
    host::check(rules, downstream, now)?;
    let (rule, route) = find(snapshot, (head, rules), downstream, now, trail)?;
    trail.rule = Some(rule.clone());
    if matches!(route.action, Action::Tombstone) {
        return Err(Rejection::PolicyFault);
    }
    let deadline = deadline::of(head, route)?;
    let max = snapshot.policy.listeners.requests_max;
    priority::shed(max, downstream.under_way, route)?;
    let shadowed = &mut trail.shadowed;
    let caller = authn::verify(snapshot, route, head, (downstream, now), shadowed)?;
    let request = Judged {
        head,
        host: &trail.host,
        downstream,
        rule,
        now,
    };
    let permit = authz::permit(snapshot, route, &request, caller, shadowed)?;
    let websocket = is_websocket
        .then(|| websocket::admit(snapshot, route, head, &permit, now))
        .transpose()?;
    let target = target::of((rule, route), (head, &trail.host), downstream)?;
    trail.quotas = rate_limit::take(snapshot, route, head, downstream, &permit, now);
    shadowed.extend(trail.quotas.shadowed());
    let refusal = if let Some(retry_after_s) = trail.quotas.retry_after_s {
        Some(Rejection::RateLimited { retry_after_s })
    } else {
        let too_large = body::is_too_large(&head.headers, route.request_body_max);
        too_large.then_some(Rejection::BodyTooLarge)
    };
    if let Some(rejection) = refusal {
        trail.caller = Some(permit.caller().clone());
        return Err(rejection);
    }
    Ok(Admitted {
        target,
        deadline,
        cluster: backend::choose(route, downstream.request),
        route: route.clone(),
        rule: rule.clone(),
        permit,
        quotas: std::mem::take(&mut trail.quotas),
        host: std::mem::take(&mut trail.host),
        host_rules: rules.clone(),
        websocket,
        shadowed: std::mem::take(&mut trail.shadowed),
    })
}

/// The match that takes the request, and its route as it is under the request's host.
fn find<'s>(
    snapshot: &'s Snapshot,
    (head, rules): (&RequestHeader, &Host),
    downstream: Downstream<'_>,
    now: Now,
    trail: &mut Trail,
) -> Result<(&'s Arc<Rule>, &'s Arc<Route>), Rejection> {
    let select = |method: &Method| {
        let host = (trail.host.as_str(), rules);
        route::select(snapshot, host, (head, method), downstream, now)
    };
    // Ahead of `authn`: a browser never sends credentials with one.
    if let Some(method) = cors::announced(head)
        && let Ok(rule) = select(&method)
        && let route = rule.route.under(rules.id)
        && let Some(rule_of_pages) = &route.cors
    {
        trail.route = Some(route.clone());
        return Err(cors::preflight(rule_of_pages, route, head, &method));
    }
    match select(&head.method) {
        Ok(rule) => {
            let route = rule.route.under(rules.id);
            trail.route = Some(route.clone());
            Ok((rule, route))
        }
        Err((rejection, route)) => {
            trail.route = route;
            Err(rejection)
        }
    }
}
