//! Host, path and conditions to a rule of a route; plain http to https.

use std::cell::RefCell;
use std::sync::Arc;

use http::Method;
use palisade_policy::hosts::Host;
use palisade_policy::model::Route;
use palisade_policy::routing::{Request, Rule, Selected};
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
    let claims = |route: &Arc<Route>| match authn::verify(
        snapshot,
        route.under(rules.id),
        head,
        (downstream, now),
        &mut Vec::new(),
    ) {
        Ok(caller) => caller.claims,
        Err(rejection) => {
            if downstream.keys_may_come && rejection.wants_keys() {
                undecided.replace(Some((rejection, Some(route.clone()))));
            }
            None
        }
    };
    let request = Request {
        host,
        path: head.uri.path(),
        query: head.uri.query(),
        method,
        headers: &head.headers,
        client: downstream.client,
        certificate: downstream.certificate,
        claims: &claims,
    };
    let selected = snapshot.policy.routes.select(request);
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
