//! Answers of the edge's own as bytes: problem+json (RFC 9457) for HTTP, a trailers-only answer for
//! gRPC, and what gRPC-Web and Connect have for them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use palisade_policy::model::{Action, DirectResponse};
use palisade_translate::{Dialect, FailedCall, failed_call};
use pingora_error::{ErrorType, OkOrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use serde::Serialize;
use tonic::Code;

use crate::rejection::Rejection;

/// What routes can serve: the answer to `OPTIONS *`.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Members of a problem document; `code` is stable, `request_id` finds the log line.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// What the client speaks, and so what it is answered in.
pub fn dialect(request: &RequestHeader) -> Dialect {
    Dialect::of(&request.method, request.uri.query(), &request.headers)
}

/// Whether the client expects a gRPC answer.
pub fn is_grpc(request: &RequestHeader) -> bool {
    dialect(request).is_grpc()
}

/// Header and body of the answer to `request`.
pub fn response(
    rejection: &Rejection,
    request: &RequestHeader,
    request_id: &str,
) -> Result<(ResponseHeader, Bytes)> {
    let dialect = dialect(request);
    match failed_call(dialect, &failed(rejection)) {
        Some(told) => told_response(dialect, told, rejection, request_id),
        None => http_response(rejection, request_id),
    }
}

/// What the dialects of gRPC are told.
fn failed(rejection: &Rejection) -> FailedCall<'_> {
    FailedCall {
        code: Code::from_i32(rejection.grpc_status().into()),
        message: rejection.public_message(),
        reason: rejection.code(),
        retry_after: rejection.retry_after_s().map(Duration::from_secs),
    }
}

/// The status of a gRPC call whose answer had begun.
pub fn grpc_trailers(rejection: &Rejection) -> HeaderMap {
    let told = failed_call(Dialect::Grpc, &failed(rejection)).unwrap_or_default();
    let (mut head, _) = told.into_parts();
    head.headers.remove(CONTENT_TYPE);
    head.headers
}

/// The dialect's own words, in the fields that the answer has in HTTP: a challenge, when to come back.
fn told_response(
    dialect: Dialect,
    told: http::Response<Bytes>,
    rejection: &Rejection,
    request_id: &str,
) -> Result<(ResponseHeader, Bytes)> {
    let (http, _) = http_response(rejection, request_id)?;
    if !rejection.is_refusal() {
        return Ok((http, Bytes::new()));
    }
    let (told, body) = told.into_parts();
    let mut header = ResponseHeader::build(told.status, Some(12))?;
    for (name, value) in http.headers.iter().chain(&told.headers) {
        header.insert_header(name.clone(), value.clone())?;
    }
    // Nobody follows it from a call.
    header.remove_header(&LOCATION);
    if !dialect.is_grpc() {
        header.insert_header(CONTENT_LENGTH, body.len())?;
        return Ok((header, body));
    }
    header.remove_header(&CONTENT_LENGTH);
    if let Some(seconds) = rejection.retry_after_s() {
        header.insert_header("grpc-retry-pushback-ms", seconds.saturating_mul(1000))?;
    }
    Ok((header, body))
}

/// Header and body of the answer where no request could be read.
pub fn http_response(rejection: &Rejection, request_id: &str) -> Result<(ResponseHeader, Bytes)> {
    if matches!(rejection, Rejection::ServerOptions) {
        let mut header = ResponseHeader::build(rejection.status(), Some(4))?;
        header.insert_header(ALLOW, METHODS)?;
        return Ok((header, Bytes::new()));
    }
    if let Rejection::Preflight(allowed) = rejection {
        let mut header = ResponseHeader::build(rejection.status(), Some(allowed.len() + 6))?;
        for (name, value) in allowed {
            header.insert_header(name.clone(), value.clone())?;
        }
        return Ok((header, Bytes::new()));
    }
    let status = rejection.status();
    let body = problem(rejection, status, request_id);
    let mut header = ResponseHeader::build(status, Some(10))?;
    header.insert_header(CONTENT_TYPE, "application/problem+json")?;
    header.insert_header(CONTENT_LENGTH, body.len())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    match rejection {
        Rejection::MethodNotAllowed(methods) => {
            let allow: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
            header.insert_header(ALLOW, allow.join(", "))?;
        }
        Rejection::HttpsRequired { location } => {
            header.insert_header(LOCATION, location.as_str())?;
        }
        Rejection::Unauthorized(unauthorized) if !unauthorized.challenges.is_empty() => {
            header.insert_header(WWW_AUTHENTICATE, unauthorized.challenges.join(", "))?;
        }
        Rejection::Forbidden { by_token: true, .. } => {
            let error = format!(
                "Bearer error=\"insufficient_scope\", error_description=\"{}\"",
                rejection.public_message()
            );
            header.insert_header(WWW_AUTHENTICATE, error)?;
        }
        _ => {}
    }
    if let Some(seconds) = rejection.retry_after_s() {
        header.insert_header(RETRY_AFTER, seconds)?;
    }
    Ok((header, body))
}

fn problem(rejection: &Rejection, status: StatusCode, request_id: &str) -> Bytes {
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: rejection.public_message(),
        code: rejection.code(),
        request_id,
    };
    // Only strings and a number: this cannot fail, and an empty body would still be an answer.
    Bytes::from(serde_json::to_vec(&problem).unwrap_or_default())
}

/// One header block with the status in it (gRPC over HTTP/2, "Trailers-Only").
fn trailers_only(code: u8, message: &str) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(StatusCode::OK, Some(6))?;
    header.insert_header(CONTENT_TYPE, "application/grpc")?;
    header.insert_header("grpc-status", u16::from(code))?;
    header.insert_header("grpc-message", percent_encode(message))?;
    Ok(header)
}

/// Why a route's requests are answered here; none where they go upstream.
pub fn reason(action: &Action) -> Option<&'static str> {
    match action {
        Action::Redirect(_) => Some("redirect"),
        Action::Respond(_) => Some("direct_response"),
        Action::OpenApi(_) => Some("openapi"),
        Action::Docs(_) => Some("docs"),
        // Refused when it was judged.
        Action::Forward(_) | Action::Tombstone => None,
    }
}

/// The answer of a route whose requests are answered here.
pub fn by_route(
    action: &Action,
    location: Option<&HeaderValue>,
    request: &RequestHeader,
) -> Result<Option<(ResponseHeader, Bytes)>> {
    match action {
        Action::Respond(response) => direct(response, request).map(Some),
        Action::Redirect(to) => {
            let location = location.or_err(ErrorType::InternalError, "no location")?;
            redirect(to.status, location, request).map(Some)
        }
        // Those of `openapi` are made elsewhere.
        Action::OpenApi(_) | Action::Docs(_) | Action::Forward(_) | Action::Tombstone => Ok(None),
    }
}

/// Something to read, with these fields.
pub fn content(
    request: &RequestHeader,
    status: StatusCode,
    fields: &[(HeaderName, &str)],
    body: Bytes,
) -> Result<(ResponseHeader, Bytes)> {
    if is_grpc(request) {
        return grpc_answer(status);
    }
    let mut header = ResponseHeader::build(status, Some(fields.len() + 6))?;
    for (name, value) in fields {
        header.insert_header(name, *value)?;
    }
    if status != StatusCode::NOT_MODIFIED {
        header.insert_header(CONTENT_LENGTH, body.len())?;
    }
    Ok((header, body))
}

/// The answer of a route that sends its requests elsewhere.
fn redirect(
    status: StatusCode,
    location: &HeaderValue,
    request: &RequestHeader,
) -> Result<(ResponseHeader, Bytes)> {
    if is_grpc(request) {
        return grpc_answer(status);
    }
    let mut header = ResponseHeader::build(status, Some(8))?;
    header.insert_header(LOCATION, location.clone())?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    Ok((header, Bytes::new()))
}

/// The answer that a policy wrote.
fn direct(response: &DirectResponse, request: &RequestHeader) -> Result<(ResponseHeader, Bytes)> {
    let status = response.status;
    if is_grpc(request) {
        return grpc_answer(status);
    }
    let mut header = ResponseHeader::build(status, Some(8))?;
    if let Some(content_type) = &response.content_type {
        header.insert_header(CONTENT_TYPE, content_type.clone())?;
    }
    // RFC 9110, 8.6: not with a 204, and a 304 would tell the length of another answer.
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        header.insert_header(CONTENT_LENGTH, response.body.len())?;
    }
    Ok((header, response.body.clone()))
}

/// To a gRPC call an answer that is none of its service's, by gRPC's own mapping of HTTP statuses;
/// a success or a redirect tells it what a 404 does: no such method is here.
fn grpc_answer(status: StatusCode) -> Result<(ResponseHeader, Bytes)> {
    let code = match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        429 | 502..=504 => 14,
        500.. => 2,
        _ => 12,
    };
    let message = status.canonical_reason().unwrap_or("not a gRPC service");
    Ok((trailers_only(code, message)?, Bytes::new()))
}

fn percent_encode(text: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const RESERVED: &AsciiSet = &CONTROLS.add(b'%');
    utf8_percent_encode(text, RESERVED).to_string()
}
