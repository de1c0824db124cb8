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
pub mod target;
pub mod cache;
pub mod rewrite;

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use palisade_policy::hosts::Host;
use palisade_policy::model::{Action, ClusterId, Route};
use palisade_policy::routing::{Certificate, Rule};
use palisade_token::Claims;
use pingora_http::RequestHeader;

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
    /// not decided before.
    pub keys_may_come: bool,
    /// Present where nobody asked: the decision is wanted, and must leave no trace.
    pub rehearsal: Option<&'a Rehearsal>,
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

/// The order is the security argument: nothing is believed before `authn`, nothing is counted
/// per caller before it. Runs ahead of the cache, so hits are guarded too.
pub fn admit(
    snapshot: &Snapshot,
    head: &mut RequestHeader,
    downstream: Downstream<'_>,
    now: Now,
) -> Result<Admitted, Refused> {
    let refused = |rejection| Refused {
        rejection,
        host: String::new(),
        route: None,
        rule: None,
        host_rules: None,
        quotas: Quotas::default(),
        caller: None,
        shadowed: Vec::new(),
    };
    let host = sanitize::in_place(head, &snapshot.reserved_headers).map_err(refused)?;
    let is_websocket =
        websocket::is_handshake(head, downstream.is_extended_connect).map_err(refused)?;
    let rules = snapshot.policy.hosts.find(&host);
    let refused = |rejection| Refused {
        host: host.clone(),
        host_rules: Some(rules.clone()),
        ..refused(rejection)
    };
    host::check(rules, downstream, now).map_err(refused)?;
    let find = |head: &RequestHeader, method: &Method| {
        route::select(snapshot, (&host, rules), (head, method), downstream, now)
    };
    // Ahead of `authn`: a browser never sends credentials with one.
    if let Some(method) = cors::announced(head)
        && let Ok(rule) = find(head, &method)
        && let Some(rule_of_pages) = &rule.route.cors
    {
        return Err(Refused {
            route: Some(rule.route.clone()),
            ..refused(cors::preflight(rule_of_pages, head, &method))
        });
    }
    let rule = find(head, &head.method).map_err(|(rejection, route)| Refused {
        route,
        ..refused(rejection)
    })?;
    let route = rule.route.under(rules.id).clone();
    let refused = |rejection| Refused {
        route: Some(route.clone()),
        rule: Some(rule.clone()),
        ..refused(rejection)
    };
    if matches!(route.action, Action::Tombstone) {
        return Err(refused(Rejection::PolicyFault));
    }
    let max = snapshot.policy.listeners.requests_max;
    priority::shed(max, downstream.under_way, &route).map_err(refused)?;
    let request = Judged {
        head,
        host: &host,
        downstream,
        rule,
        now,
    };
    let mut shadowed = Vec::new();
    let caller = authn::verify(snapshot, &route, head, (downstream, now), &mut shadowed);
    let permit =
        caller.and_then(|caller| authz::permit(snapshot, &route, &request, caller, &mut shadowed));
    let permit = match permit {
        Ok(permit) => permit,
        Err(rejection) => {
            return Err(Refused {
                shadowed,
                ..refused(rejection)
            });
        }
    };
    let websocket = is_websocket
        .then(|| websocket::admit(snapshot, &route, head, &permit, now))
        .transpose()
        .map_err(refused)?;
    let quotas = rate_limit::take(snapshot, &route, head, downstream, &permit, now);
    shadowed.extend(quotas.shadowed());
    if let Some(retry_after_s) = quotas.retry_after_s {
        let rejection = Rejection::RateLimited { retry_after_s };
        return Err(Refused {
            quotas,
            caller: Some(permit.caller().clone()),
            shadowed,
            ..refused(rejection)
        });
    }
    if body::is_too_large(&head.headers, route.request_body_max) {
        return Err(Refused {
            quotas,
            caller: Some(permit.caller().clone()),
            shadowed,
            ..refused(Rejection::BodyTooLarge)
        });
    }
    let captures = rule.captures(head.uri.path());
    let target = target::of(&route, &captures, (head, &host), downstream).map_err(refused)?;
    Ok(Admitted {
        target,
        cluster: backend::choose(&route, downstream.request),
        route,
        rule: rule.clone(),
        permit,
        quotas,
        host,
        host_rules: rules.clone(),
        websocket,
        shadowed,
    })
}
