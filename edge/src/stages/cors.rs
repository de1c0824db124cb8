//! Pages of other origins: which may use a route (the Fetch standard, "CORS protocol").
//!
//! No access control: whoever is no browser is not held back, and nothing is refused here. Browsers
//! keep from their pages what these fields do not open.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method};
use palisade_policy::model::{Cors, Route};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::rejection::Rejection;

/// What upstreams say about it on routes where the policy decides.
const FIELDS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];
/// What browsers send for gRPC-Web and Connect: the protocols of a route that translates work with
/// no word about them in its policy.
const CALL_FIELDS: &str = "content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, x-user-agent";
/// Where an answer without messages has its status.
const STATUS_FIELDS: &str = "grpc-status, grpc-message, grpc-status-details-bin";
const STATUS: HeaderValue = HeaderValue::from_static(STATUS_FIELDS);
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");
const BY_ANNOUNCEMENT: HeaderValue =
    HeaderValue::from_static("access-control-request-method, access-control-request-headers");

/// The method of the request that a preflight announces; none where this is no preflight.
pub fn announced(head: &RequestHeader) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// What a page may send; nothing where its origin may not. Where the origin itself is told,
/// `response` does it as for any answer.
pub fn preflight(cors: &Cors, route: &Route, head: &RequestHeader, method: &Method) -> Rejection {
    let mut fields = vec![(VARY, BY_ANNOUNCEMENT)];
    if allowed(cors, head.headers.get(ORIGIN)).is_some() {
        let methods = cors.methods.clone();
        let methods = methods.or_else(|| HeaderValue::from_str(method.as_str()).ok());
        let asked = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let asked = asked.filter(|names| is_list_of_names(names));
        let listed = cors
            .headers
            .as_ref()
            .map(|names| match is_translated(route) {
                true => with(names, CALL_FIELDS),
                false => names.clone(),
            });
        let headers = listed.as_ref().or(asked);
        fields.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        fields.extend(headers.map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names.clone())));
        fields.push((ACCESS_CONTROL_MAX_AGE, cors.max_age.as_secs().into()));
    }
    Rejection::Preflight(fields)
}

fn is_list_of_names(value: &HeaderValue) -> bool {
    let is_name = |name: &[u8]| HeaderName::from_bytes(name.trim_ascii()).is_ok();
    value.as_bytes().split(|byte| *byte == b',').all(is_name)
}

/// What the browser is told: any, or the origin itself.
fn allowed(cors: &Cors, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    if cors.origins.is_empty() {
        return Some(ANY);
    }
    let text = origin?.to_str().ok()?;
    let is_listed = cors.origins.iter().any(|listed| listed.holds(text));
    origin.filter(|_| is_listed).cloned()
}

/// Forget what an upstream says, on routes where the policy decides.
pub fn forget(response: &mut ResponseHeader, route: &Route) {
    if route.cors.is_some() {
        for name in &FIELDS {
            response.remove_header(name);
        }
    }
}

fn is_translated(route: &Route) -> bool {
    route.forward().is_some_and(|to| to.translate)
}

fn with(names: &HeaderValue, more: &str) -> HeaderValue {
    let value = [names.as_bytes(), b", ", more.as_bytes()].concat();
    HeaderValue::from_bytes(&value).unwrap_or_else(|_| names.clone())
}

/// What every answer on the route tells the browser, refusals among them.
pub fn response(
    response: &mut ResponseHeader,
    cors: &Cors,
    route: &Route,
    origin: Option<&HeaderValue>,
) -> Result<()> {
    // Also where this origin gets nothing: a shared cache must not give its answer to another one.
    if !cors.origins.is_empty() {
        vary_by_origin(response)?;
    }
    let Some(allowed) = allowed(cors, origin) else {
        return Ok(());
    };
    response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)?;
    if cors.credentials {
        response.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE)?;
    }
    let exposed = match &cors.expose_headers {
        Some(names) if is_translated(route) => Some(with(names, STATUS_FIELDS)),
        Some(names) => Some(names.clone()),
        None => is_translated(route).then_some(STATUS),
    };
    if let Some(names) = exposed {
        response.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, names)?;
    }
    Ok(())
}

/// One field, whatever it held before.
fn vary_by_origin(response: &mut ResponseHeader) -> Result<()> {
    let values = response.headers.get_all(VARY).iter();
    let values: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
    let joined = values.join(&b", "[..]);
    let mut names = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
        return Ok(());
    }
    let value = match joined.is_empty() {
        true => Ok(BY_ORIGIN),
        false => HeaderValue::from_bytes(&[&joined[..], b", origin"].concat()),
    };
    response.insert_header(VARY, value.unwrap_or(BY_ORIGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_is_one_field() {
        for (before, after) in [
            (&[][..], "origin"),
            (&["accept-encoding"], "accept-encoding, origin"),
            (&["accept", "cookie"], "accept, cookie, origin"),
            (&["*"], "*"),
            (&["accept, Origin"], "accept, Origin"),
        ] {
            let mut header = ResponseHeader::build(200, None).unwrap();
            for value in before {
                header.append_header(VARY, *value).unwrap();
            }
            vary_by_origin(&mut header).unwrap();
            let values: Vec<_> = header.headers.get_all(VARY).iter().collect();
            assert_eq!(values, [after]);
        }
    }

    #[test]
    fn only_names_are_echoed() {
        for (text, holds) in [
            ("x-a", true),
            ("x-a, content-type", true),
            ("x-a,authorization", true),
            ("", false),
            ("x-a,,b", false),
            ("x a", false),
            ("x-a; b", false),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(is_list_of_names(&value), holds, "{text}");
        }
    }
}
