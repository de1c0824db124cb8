//! What one version of HTTP has and another has not, where Pingora leaves it to us.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

/// RFC 9112, 6.1: HTTP/1.0 knows no chunks; an answer without a length ends with its connection.
pub(super) fn answer_to_http10(header: &mut ResponseHeader, session: &mut Session) -> Result<()> {
    let request = session.req_header();
    let bodyless = request.method == Method::HEAD
        || matches!(
            header.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if request.version != Version::HTTP_10
        || header.headers.contains_key(CONTENT_LENGTH)
        || bodyless
    {
        return Ok(());
    }
    // After this filter Pingora makes chunks of an h2 upstream's answer, and cannot be told not to.
    if header.version == Version::HTTP_2 {
        return Error::e_explain(
            ErrorType::HTTPStatus(505),
            "no length for an HTTP/1.0 client",
        );
    }
    header.remove_header(&TRANSFER_ENCODING);
    session.set_keepalive(None);
    Ok(())
}

/// Pingora takes a 100 for an answer that came before the end of the body, and would close.
pub(super) fn keep_alive_after_continue(session: &mut Session) {
    let continued = session
        .response_written()
        .is_some_and(|interim| interim.status == StatusCode::CONTINUE);
    if continued && session.is_body_done() {
        session.set_keepalive(Some(0));
    }
}

/// A request of HTTP/1.1 or 1.0 for an h2 upstream.
pub(super) async fn request_to_h2(
    upstream: &mut RequestHeader,
    session: &mut Session,
) -> Result<()> {
    // RFC 9113, 8.3.1 has no request without an authority; HTTP/1.0 has.
    if upstream.uri.authority().is_none() && !upstream.headers.contains_key(HOST) {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "no host").into_down());
    }
    // Pingora drops the interim answers of an h2 upstream: the client would wait for ever.
    let expects = upstream.remove_header(&EXPECT).is_some();
    if expects && session.req_header().version == Version::HTTP_11 && !session.is_body_done() {
        session.write_continue_response().await?;
    }
    Ok(())
}
