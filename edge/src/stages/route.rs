//! Host, path, method, headers and query to a route; plain http to https.

use std::sync::Arc;

use http::Method;
use palisade_policy::hosts::Host;
use palisade_policy::model::Route;
use palisade_policy::routing::{Request, Rule, Selected};
use pingora_http::RequestHeader;

use super::Downstream;
use crate::rejection::Rejection;
use crate::snapshot::Snapshot;

/// The rule that serves the request, or one like it with another method; `host` and the head are
/// canonical.
pub fn select(
    snapshot: &Snapshot,
    (host, rules): (&str, &Host),
    (head, method): (&RequestHeader, &Method),
    downstream: Downstream<'_>,
) -> Result<Arc<Rule>, Rejection> {
    let request = Request {
        host,
        path: head.uri.path(),
        query: head.uri.query(),
        method,
        headers: &head.headers,
    };
    let encrypted = downstream.encrypted;
    // Nobody proves anything in plain text.
    let plain_http = |route: &Route| route.plain_http && rules.client_certificates.is_none();
    let selected = snapshot.policy.routes.select(request);
    match selected {
        Selected::Rule(rule) if encrypted || plain_http(&rule.route) => Ok(rule.clone()),
        // Whatever is asked for in plain text is asked for again over https, so that an
        // eavesdropper does not even learn which paths exist.
        _ if !encrypted => Err(Rejection::HttpsRequired {
            location: https_location(host, head, downstream.https_port)?,
        }),
        Selected::Rule(rule) => Ok(rule.clone()),
        Selected::MethodNotAllowed(methods) => Err(Rejection::MethodNotAllowed(methods)),
        Selected::NotFound => Err(Rejection::NotFound),
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
