//! `x-http-*`: what gRPC has no place for, as metadata. Requests tell services how they were
//! asked; services say how HTTP shall answer.
//!
//! Invariant: clients cannot send these names, and a service says what an answer is about, never
//! how its bytes are framed on this connection.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
};
use http::{Request, StatusCode};

use crate::dialect::Dialect;
use crate::metadata::HOP_BY_HOP;

pub(crate) const PREFIX: &str = "x-http-";

const METHOD: HeaderName = HeaderName::from_static("x-http-method");
/// Path and query.
const PATH: HeaderName = HeaderName::from_static("x-http-path");
const TYPE: HeaderName = HeaderName::from_static("x-http-content-type");
const LENGTH: HeaderName = HeaderName::from_static("x-http-content-length");
const STATUS: HeaderName = HeaderName::from_static("x-http-status");
/// The rest of the name is that of a header.
const HEADER_PREFIX: &str = "x-http-header-";
const LENGTH_OF_BODY: HeaderName = HeaderName::from_static("x-http-header-content-length");
const CODING_OF_BODY: HeaderName = HeaderName::from_static("x-http-header-content-encoding");

/// Adds what the service shall know. Of a call that is not plain HTTP there is nothing to tell.
pub(crate) fn tell<B>(dialect: Dialect, request: &mut Request<B>) {
    remove(request.headers_mut());
    if dialect != Dialect::Http {
        return;
    }
    let method = HeaderValue::from_str(request.method().as_str()).ok();
    let path = request.uri().path_and_query();
    let path = path.and_then(|path| HeaderValue::from_str(path.as_str()).ok());
    let headers = request.headers_mut();
    let content_type = headers.get(CONTENT_TYPE).cloned();
    // Of bytes that no service sees, where they are compressed.
    let is_plain = !headers.contains_key(CONTENT_ENCODING);
    let length = headers.get(CONTENT_LENGTH).filter(|_| is_plain).cloned();
    let facts = [
        (METHOD, method),
        (PATH, path),
        (TYPE, content_type),
        (LENGTH, length),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Takes all of them away, whoever sent them.
pub(crate) fn remove(headers: &mut HeaderMap) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// 200, or what the service chose. An error status would let a call that gRPC calls a success
/// look like a failure.
pub(crate) fn status_of_success(initial: &HeaderMap) -> StatusCode {
    status(initial)
        .filter(|status| status.is_success() || status.is_redirection())
        .unwrap_or(StatusCode::OK)
}

/// Of a call that failed, where the service chose one.
pub(crate) fn status_of_failure(initial: &HeaderMap) -> Option<StatusCode> {
    status(initial).filter(|status| status.is_client_error() || status.is_server_error())
}

fn status(initial: &HeaderMap) -> Option<StatusCode> {
    StatusCode::from_bytes(initial.get(STATUS)?.as_bytes()).ok()
}

/// The headers that were asked for, but those about the bytes of the body.
pub(crate) fn headers(initial: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in initial {
        let named = name.as_str().strip_prefix(HEADER_PREFIX);
        let named = named.and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        if let Some(name) = named.filter(may_be_chosen) {
            headers.append(name, value.clone());
        }
    }
    headers
}

fn may_be_chosen(name: &HeaderName) -> bool {
    let text = name.as_str();
    ![CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE, DATE].contains(name)
        && !HOP_BY_HOP.contains(&text)
        && !text.starts_with("grpc-")
        && !text.starts_with(PREFIX)
        // Metadata whose value gRPC reads as base64.
        && !text.ends_with("-bin")
}

/// How many bytes a body has that passes as it is.
pub(crate) fn body_length(initial: &HeaderMap) -> Option<u64> {
    let text = initial.get(LENGTH_OF_BODY)?.to_str().ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// What a body that passes as it is was packed with.
pub(crate) fn body_coding(initial: &HeaderMap) -> Option<&HeaderValue> {
    initial.get(CODING_OF_BODY)
}
