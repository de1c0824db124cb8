//! What a route makes of the request's path: another one upstream, a place to go to, values of fields.
//!
//! Invariant: what is made is as canonical as what came, so that no variable leads out of the place
//! that the policy wrote it into.

use std::cell::LazyCell;
use std::ops::Deref;

use http::HeaderValue;
use http::header::HOST;
use http::uri::PathAndQuery;
use palisade_policy::model::{Action, EditValue, HeaderEdits, PathRewrite, Redirect, Route};
use palisade_policy::routing::{Captures, Rule};
use pingora_http::RequestHeader;

use super::{Downstream, sanitize};
use crate::rejection::Rejection;

/// Longest path or value that is made; as long as what clients may send.
const MADE_BYTES_MAX: usize = 8 * 1024;

/// What was made of the request.
#[derive(Debug, Default)]
pub struct Target {
    /// What upstreams are asked for; what the client asked for where none.
    pub path_and_query: Option<PathAndQuery>,
    /// Where a redirect points.
    pub location: Option<HeaderValue>,
    /// Of the request's edits that have variables, in their order, `set` before `add`.
    pub request_values: Vec<HeaderValue>,
    /// The same of the response's.
    pub response_values: Vec<HeaderValue>,
}

/// `route` is the rule's as it is under the request's host; `host` is canonical, as is the head.
pub fn of(
    (rule, route): (&Rule, &Route),
    (head, host): (&RequestHeader, &str),
    downstream: Downstream<'_>,
) -> Result<Target, Rejection> {
    // Those of a regular expression are a search of their own.
    let captures = LazyCell::new(|| rule.captures(head.uri.path()));
    let mut target = Target {
        request_values: values(&route.request_headers, &captures)?,
        response_values: values(&route.response_headers, &captures)?,
        ..Target::default()
    };
    match &route.action {
        Action::Forward(forward) => {
            let path = forward.rewrite.as_ref().and_then(|to| to.path.as_ref());
            if let Some(path) = path {
                let path = rewritten(path, &captures)?;
                let target_of = PathAndQuery::try_from(with_query(path, head.uri.query()));
                target.path_and_query =
                    Some(target_of.map_err(|_| Rejection::Malformed("bad path"))?);
            }
        }
        Action::Redirect(redirect) => {
            let location = location(redirect, &captures, (head, host), downstream)?;
            let location = HeaderValue::try_from(location);
            target.location = Some(location.map_err(|_| Rejection::Malformed("bad path"))?);
        }
        Action::Respond(_) | Action::OpenApi(_) | Action::Docs(_) | Action::Tombstone => {}
    }
    Ok(target)
}

/// Of edits with variables; most have none, and then nothing is made.
fn values<'p>(
    edits: &HeaderEdits,
    captures: &impl Deref<Target = Captures<'p>>,
) -> Result<Vec<HeaderValue>, Rejection> {
    let mut values = Vec::new();
    for (_, value) in edits.set.iter().chain(&edits.add) {
        if let EditValue::Pattern(pattern) = value {
            let text = pattern.expand(|name| captures.get(name));
            if text.len() > MADE_BYTES_MAX {
                return Err(Rejection::UriTooLong);
            }
            // A variable may be empty, and a field has no white space at its ends (RFC 9110, 5.5).
            let value = HeaderValue::from_str(text.trim_matches([' ', '\t']));
            values.push(value.map_err(|_| Rejection::Malformed("bad path"))?);
        }
    }
    Ok(values)
}

/// Canonical once more: two harmless pieces may make a dot segment, or `//`.
fn rewritten<'p>(
    rewrite: &PathRewrite,
    captures: &impl Deref<Target = Captures<'p>>,
) -> Result<String, Rejection> {
    let get = |name: &str| captures.get(name);
    let path = match rewrite {
        PathRewrite::Full(pattern) => pattern.expand(get),
        PathRewrite::Prefix(pattern) => {
            let (_, rest) = captures.prefix().ok_or(Rejection::Internal)?;
            let mut path = pattern.expand(get);
            path.push_str(rest);
            path
        }
    };
    if path.len() > MADE_BYTES_MAX {
        return Err(Rejection::UriTooLong);
    }
    Ok(sanitize::canonical_path(&path)?.into_owned())
}

/// Always with scheme and host: nothing in the path can be taken for either.
fn location<'p>(
    redirect: &Redirect,
    captures: &impl Deref<Target = Captures<'p>>,
    (head, host): (&RequestHeader, &str),
    downstream: Downstream<'_>,
) -> Result<String, Rejection> {
    let scheme = redirect.scheme.unwrap_or(match downstream.encrypted {
        true => "https",
        false => "http",
    });
    let host = redirect.host.as_deref().unwrap_or(host);
    if host.is_empty() {
        return Err(Rejection::Malformed("no host"));
    }
    // Another scheme has another port.
    let asked = || redirect.scheme.is_none().then(|| port(head)).flatten();
    let port = redirect.port.or_else(asked);
    let port = port.filter(|port| !matches!((scheme, port), ("https", 443) | ("http", 80)));
    let path = match &redirect.path {
        Some(path) => rewritten(path, captures)?,
        None => head.uri.path().to_owned(),
    };
    let target = with_query(path, head.uri.query());
    Ok(match port {
        Some(port) => format!("{scheme}://{host}:{port}{target}"),
        None => format!("{scheme}://{host}{target}"),
    })
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// As the client wrote it.
fn port(head: &RequestHeader) -> Option<u16> {
    if let Some(authority) = head.uri.authority() {
        return authority.port_u16();
    }
    let host = head.headers.get(HOST)?.to_str().ok()?;
    // A colon inside brackets belongs to an IPv6 address.
    let (_, port) = host.rsplit_once(':')?;
    port.parse().ok()
}
