//! A `Rejection` as bytes: problem+json (RFC 9457) for HTTP, a trailers-only answer for gRPC.

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use serde::Serialize;

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

/// Whether the client expects a gRPC answer.
pub fn is_grpc(request: &RequestHeader) -> bool {
    let content_type = request
        .headers
        .get(CONTENT_TYPE)
        .map(|value| value.as_bytes());
    match content_type.and_then(|value| value.strip_prefix(b"application/grpc")) {
        // Not `application/grpc-web`, which is HTTP with its trailers in the body.
        Some(rest) => rest.is_empty() || matches!(rest.first(), Some(b'+' | b';')),
        None => false,
    }
}

/// Header and body of the answer to `request`.
pub fn response(
    rejection: &Rejection,
    request: &RequestHeader,
    request_id: &str,
) -> Result<(ResponseHeader, Bytes)> {
    if is_grpc(request) {
        return grpc_response(rejection);
    }
    http_response(rejection, request_id)
}

/// Header and body of the answer where no request could be read.
pub fn http_response(rejection: &Rejection, request_id: &str) -> Result<(ResponseHeader, Bytes)> {
    if matches!(rejection, Rejection::ServerOptions) {
        let mut header = ResponseHeader::build(rejection.status(), Some(4))?;
        header.insert_header(ALLOW, METHODS)?;
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
        Rejection::Unauthorized(unauthorized) => {
            for challenge in &unauthorized.challenges {
                header.append_header(WWW_AUTHENTICATE, challenge.as_str())?;
            }
        }
        Rejection::Forbidden { by_token: true, .. } => {
            let error = format!(
                "Bearer error=\"insufficient_scope\", error_description=\"{}\"",
                rejection.public_message()
            );
            header.insert_header(WWW_AUTHENTICATE, error)?;
        }
        Rejection::RateLimited { retry_after_s } => {
            header.insert_header(RETRY_AFTER, *retry_after_s)?;
        }
        Rejection::Unavailable | Rejection::NoKeys => {
            header.insert_header(RETRY_AFTER, 1)?;
        }
        _ => {}
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
fn grpc_response(rejection: &Rejection) -> Result<(ResponseHeader, Bytes)> {
    let mut header = ResponseHeader::build(StatusCode::OK, Some(6))?;
    header.insert_header(CONTENT_TYPE, "application/grpc")?;
    header.insert_header("grpc-status", u16::from(rejection.grpc_status()))?;
    header.insert_header("grpc-message", percent_encode(rejection.public_message()))?;
    if let Rejection::RateLimited { retry_after_s } = rejection {
        header.insert_header("grpc-retry-pushback-ms", retry_after_s.saturating_mul(1000))?;
    }
    Ok((header, Bytes::new()))
}

fn percent_encode(text: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const RESERVED: &AsciiSet = &CONTROLS.add(b'%');
    utf8_percent_encode(text, RESERVED).to_string()
}
