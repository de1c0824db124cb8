//! How long and how large an answer may become.

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::deadlines;
use crate::request_ctx::RequestCtx;
use crate::stages::body;

/// Not the endpoint's failure: it answered, with more than the route lets through.
pub(super) const RESPONSE_TOO_LARGE: ErrorType = ErrorType::Custom("ResponseTooLarge");

/// What the head announces; an answer to HEAD and a 304 announce what they do not carry.
pub(super) fn check_head(
    session: &Session,
    response: &ResponseHeader,
    ctx: &RequestCtx,
) -> Result<()> {
    let Some(max) = ctx.admitted()?.route.response_body_max else {
        return Ok(());
    };
    let has_body = session.req_header().method != Method::HEAD
        && response.status != StatusCode::NOT_MODIFIED
        && ctx.tunnel.is_none();
    if has_body && body::is_too_large(&response.headers, max) {
        return too_large();
    }
    Ok(())
}

/// A piece of the answer's body, before it goes on.
pub(super) fn check_piece(piece: Option<&Bytes>, ctx: &mut RequestCtx) -> Result<()> {
    if ctx.tunnel.is_some() {
        return Ok(());
    }
    if let Some(max) = ctx.admitted()?.route.response_body_max {
        ctx.upstream.body_bytes += piece.map_or(0, |bytes| bytes.len() as u64);
        if ctx.upstream.body_bytes > max {
            return too_large();
        }
    }
    deadlines::check(ctx)
}

/// A cache asks by GET for what a HEAD describes; what it may not keep still has a body then, which an
/// HTTP/2 client takes for a broken answer (RFC 9110, 9.3.2; RFC 9113, 8.1.1).
pub(super) fn only_described(session: &Session, piece: &mut Option<Bytes>) {
    if session.req_header().method == Method::HEAD {
        *piece = None;
    }
}

fn too_large() -> Result<()> {
    let what = "response body over the route's bound";
    Err(Error::explain(RESPONSE_TOO_LARGE, what).into_in())
}
