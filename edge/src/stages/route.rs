//! Host, path and conditions to a rule of a route; plain http to https.

use std::cell::RefCell;
use std::sync::Arc;

use http::Method;
use palisade_policy::hosts::Host;
use palisade_policy::model::Route;
use palisade_policy::routing::{Candidate, Request, Rule, Selected};
use pingora_http::RequestHeader;

use super::{Downstream, authn};
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// Why no rule was found, and the route that the answer is about, where there is one.
pub type Unrouted = (Rejection, Option<Arc<Route>>);

/// The rule that serves the request, or one like it with another method; `host` and the head are
/// canonical.
pub fn select<'s>(
    snapshot: &'s Snapshot,
    (host, rules): (&str, &Host),
    (head, method): (&RequestHeader, &Method),
    downstream: Downstream<'_>,
    now: Now,
) -> Result<&'s Arc<Rule>, Unrouted> {
    // A token that may hold once its keys are here: which rule matches is not known without.
    let undecided = RefCell::new(None);
    let not_verified = |route: &Arc<Route>, rejection: Rejection| {
        if downstream.may_still_hold(&rejection) {
            let route = route.under(rules.id).clone();
            undecided.replace(Some((rejection, Some(route))));
        }
    };
    let table = &snapshot.policy.routes;
    let facts = ((host, rules), (head, method), downstream);
    let selected = with_request(snapshot, facts, now, &not_verified, |it| table.select(it));
    let encrypted = downstream.encrypted;
    // Nobody proves anything in plain text.
    let plain_http = |route: &Route| route.plain_http && rules.client_certificates.is_none();
    let refused = |rejection| (rejection, None);
    if let Some(unrouted) = undecided.take() {
        return Err(unrouted);
    }
    match selected {
        Selected::Rule(rule) if encrypted || plain_http(rule.route.under(rules.id)) => Ok(rule),
        // Whatever is asked for in plain text is asked for again over https, so that an
        // eavesdropper does not even learn which paths exist.
        _ if !encrypted => {
            let location = https_location(host, head, downstream.https_port).map_err(refused)?;
            Err(refused(Rejection::HttpsRequired { location }))
        }
        Selected::Rule(rule) => Ok(rule),
        Selected::MethodNotAllowed(methods) => Err(refused(Rejection::MethodNotAllowed(methods))),
        Selected::NotFound => Err(refused(Rejection::NotFound)),
    }
}

/// Host and its rules, head and the method it is judged by, what it came in by.
type Facts<'a> = (
    (&'a str, &'a Host),
    (&'a RequestHeader, &'a Method),
    Downstream<'a>,
);

/// What the table is asked about; a caller who shows nothing that holds has no claims.
fn with_request<T>(
    snapshot: &Snapshot,
    ((host, rules), (head, method), downstream): Facts<'_>,
    now: Now,
    not_verified: &dyn Fn(&Arc<Route>, Rejection),
    ask: impl FnOnce(Request<'_>) -> T,
) -> T {
    let claims = |route: &Arc<Route>| {
        let facts = (downstream, now);
        let route_here = route.under(rules.id);
        let caller = authn::verify(snapshot, route_here, head, facts, &mut Vec::new());
        let caller = caller.map_err(|rejection| not_verified(route, rejection));
        caller.ok()?.claims
    };
    ask(Request {
        host,
        path: head.uri.path(),
        query: head.uri.query(),
        method,
        headers: &head.headers,
        client: downstream.client,
        certificate: downstream.certificate,
        claims: &claims,
    })
}

/// Every rule that host and path lead to, and some that they nearly do, with why it lost, or those of
/// one route; the request is the one that they were compared with.
pub fn candidates<T>(
    snapshot: &Snapshot,
    of_route: Option<&str>,
    (host, head, downstream): ((&str, &Host), &RequestHeader, Downstream<'_>),
    now: Now,
    each: impl Fn(Candidate<'_>, Request<'_>) -> T,
) -> Vec<T> {
    let table = &snapshot.policy.routes;
    let facts = (host, (head, &head.method), downstream);
    with_request(snapshot, facts, now, &|_, _| {}, |request| {
        let found = match of_route {
            Some(route) => table.why_not(route, request),
            None => {
                let mut found = table.candidates(request);
                found.extend(table.near(request));
                found
            }
        };
        let found = found.into_iter();
        found.map(|candidate| each(candidate, request)).collect()
    })
}

fn https_location(host: &str, head: &RequestHeader, port: u16) -> Result<String, Rejection> {
    if host.is_empty() {
        return Err(Rejection::Malformed("no host"));
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let target = if target == "*" { "/" } else { target };
    Ok(match port {
        443 => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    })
}
