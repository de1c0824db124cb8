//! Headers toward upstream and toward downstream.
//!
//! What says who the caller is, and where the request came from, is set here and nowhere else;
//! what a client sent under those names was removed by `sanitize`.

use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Uri};
use palisade_policy::hosts::Host;
use palisade_policy::model::EditValue;
use pingora_error::{ErrorType, OkOrErr, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Admitted, client::Client, deadline, rate_limit::Quotas};
use crate::observe::trace::TraceContext;
use crate::request_id::RequestId;

/// What no answer loses by: a browser neither guesses types nor tells other sites its full URLs.
const SECURITY_HEADERS: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

/// Facts that upstreams are told.
pub struct Forwarding<'a> {
    pub client: &'a Client,
    pub request_id: &'a RequestId,
    pub trace: &'a TraceContext,
    /// Of the request's time; none where it has no bound.
    pub time_left: Option<Duration>,
}

/// Of a gRPC call: `x-http-*` is how the translation tells services about HTTP requests, and a
/// service cannot know which way a call came.
pub fn call(head: &mut RequestHeader) {
    let names: Vec<_> = head
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-http-"))
        .cloned()
        .collect();
    for name in names {
        head.remove_header(&name);
    }
}

/// The request as the endpoint gets it.
pub fn request(
    head: &mut RequestHeader,
    admitted: &Admitted,
    facts: &Forwarding<'_>,
) -> Result<()> {
    head.insert_header("x-forwarded-for", facts.client.forwarded_for())?;
    head.insert_header(
        "x-forwarded-proto",
        if facts.client.encrypted {
            "https"
        } else {
            "http"
        },
    )?;
    // From HTTP/2 to HTTP/2 there is no field yet.
    let authority = || HeaderValue::from_str(head.uri.authority()?.as_str()).ok();
    if let Some(host) = head.headers.get(HOST).cloned().or_else(authority) {
        head.insert_header("x-forwarded-host", host)?;
    }
    head.insert_header("x-request-id", facts.request_id.header())?;
    head.insert_header("traceparent", facts.trace.header())?;
    if let Some(state) = facts.trace.state() {
        head.insert_header("tracestate", state.clone())?;
    } else {
        head.remove_header("tracestate");
    }
    // A conversation over WebSocket goes past the time of the request that opened it.
    if admitted.websocket.is_none() {
        deadline::tell(head, &admitted.route, facts.time_left)?;
    }
    retarget(head, admitted)?;
    identity(head, admitted)?;
    let mut values = admitted.target.request_values.iter();
    let edits = &admitted.route.request_headers;
    for name in &edits.remove {
        head.remove_header(name);
    }
    for (name, value) in &edits.set {
        head.insert_header(name.clone(), given(value, &mut values)?)?;
    }
    for (name, value) in &edits.add {
        head.append_header(name.clone(), given(value, &mut values)?)?;
    }
    Ok(())
}

/// After `x-forwarded-host`, which keeps what the client asked for.
fn retarget(head: &mut RequestHeader, admitted: &Admitted) -> Result<()> {
    if let Some(target) = &admitted.target.path_and_query {
        let mut parts = head.uri.clone().into_parts();
        parts.path_and_query = Some(target.clone());
        let uri = Uri::from_parts(parts)
            .or_err(ErrorType::InvalidHTTPHeader, "rewritten target is no URI")?;
        head.set_uri(uri);
    }
    let rewrite = admitted.route.forward().and_then(|to| to.rewrite.as_ref());
    if let Some(host) = rewrite.and_then(|rewrite| rewrite.host.as_ref()) {
        head.insert_header(HOST, host.clone())?;
    }
    Ok(())
}

/// The value of an edit: as it is, or the next of those made for the request.
fn given<'v>(
    value: &'v EditValue,
    made: &mut impl Iterator<Item = &'v HeaderValue>,
) -> Result<HeaderValue> {
    let value = match value {
        EditValue::Text(value) => Some(value),
        EditValue::Pattern(_) => made.next(),
    };
    value
        .cloned()
        .or_err(ErrorType::InternalError, "an edit without its value")
}

fn identity(head: &mut RequestHeader, admitted: &Admitted) -> Result<()> {
    let Some(auth) = &admitted.route.auth else {
        return Ok(());
    };
    if !auth.forward_token {
        head.remove_header(&AUTHORIZATION);
    }
    for name in &auth.key_headers {
        head.remove_header(name);
    }
    let caller = admitted.permit.caller();
    if let Some(authorization) = caller.traded.as_ref().filter(|_| auth.forward_token) {
        head.insert_header(AUTHORIZATION, authorization.clone())?;
    }
    for (path, name) in &auth.claim_headers {
        let Some(text) = caller.claim(path) else {
            continue;
        };
        // A claim with a line break in it must not become two headers.
        let value = HeaderValue::from_str(&text)
            .or_err(ErrorType::InvalidHTTPHeader, "claim is not a header value")?;
        head.insert_header(name.clone(), value)?;
    }
    Ok(())
}

/// The certificate of the connection (RFC 9440). Set ahead of the cache, which then heeds
/// `vary: client-cert`.
pub fn client_certificate(
    head: &mut RequestHeader,
    leaf: HeaderValue,
    chain: Option<HeaderValue>,
) -> Result<()> {
    head.insert_header("client-cert", leaf)?;
    if let Some(chain) = chain {
        head.insert_header("client-cert-chain", chain)?;
    }
    Ok(())
}

/// What the host's rules add to answers over TLS; what the upstream says itself stays.
pub fn host_response(head: &mut ResponseHeader, rules: &Host) -> Result<()> {
    let secure = rules.security_headers.then_some(SECURITY_HEADERS);
    for (name, value) in secure.into_iter().flatten() {
        if !head.headers.contains_key(name) {
            head.insert_header(name, value)?;
        }
    }
    if let Some(hsts) = &rules.hsts
        && !head.headers.contains_key(STRICT_TRANSPORT_SECURITY)
    {
        head.insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())?;
    }
    Ok(())
}

/// The route's edits of an answer.
pub fn response(head: &mut ResponseHeader, admitted: &Admitted) -> Result<()> {
    let mut values = admitted.target.response_values.iter();
    let edits = &admitted.route.response_headers;
    for name in &edits.remove {
        head.remove_header(name);
    }
    for (name, value) in &edits.set {
        head.insert_header(name.clone(), given(value, &mut values)?)?;
    }
    for (name, value) in &edits.add {
        head.append_header(name.clone(), given(value, &mut values)?)?;
    }
    Ok(())
}

/// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): a quoted name, requests left, seconds until full.
pub fn rate_limit(
    head: &mut ResponseHeader,
    quotas: &Quotas,
    policy: Option<&HeaderValue>,
) -> Result<()> {
    let members: Vec<String> = quotas
        .enforced()
        .map(|state| {
            format!(
                "\"{}\";r={};t={}",
                state.name, state.remaining, state.reset_s
            )
        })
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    head.insert_header("ratelimit", members.join(", "))?;
    if let Some(policy) = policy {
        head.insert_header("ratelimit-policy", policy.clone())?;
    }
    Ok(())
}
