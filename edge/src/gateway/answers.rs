//! Answers that the edge makes itself, and what every answer carries.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use http::header::{EXPECT, ORIGIN};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::response_bounds::RESPONSE_TOO_LARGE;
use super::upstreams::NO_DESCRIPTORS;
use super::{Gateway, connection};
use crate::cluster::Unsent;
use crate::listen::{DEADLINE_EXCEEDED, Listener, Recalled, Refusal};
use crate::openapi;
use crate::rejection::Rejection;
use crate::request_ctx::RequestCtx;
use crate::respond;
use crate::stages::{cors, rewrite};

impl Gateway {
    /// Answer with a rejection. Unlike with Pingora's own error answers, a connection whose request
    /// was read to its end stays usable.
    pub(super) async fn reject(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        rejection: Rejection,
    ) -> Result<()> {
        let (mut header, body) =
            respond::response(&rejection, session.req_header(), ctx.request_id.as_str())?;
        if matches!(rejection, Rejection::HeadersTooLarge) {
            forget_fields(session)?;
        }
        if ctx.error.is_none() {
            ctx.error = rejection.detail();
        }
        ctx.rejection = Some(rejection);
        self.own_headers(&mut header, session, ctx)?;
        write(session, header, body).await
    }

    /// Where the route is answered here and not by an upstream. Not a refusal: the request was
    /// admitted, and the route's edits hold as for any other answer.
    pub(super) async fn answer_by_route(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<bool> {
        let admitted = ctx.admitted()?;
        let request = session.req_header();
        let action = &admitted.route.action;
        let answer = openapi::by_route(&ctx.snapshot, admitted, request)?;
        let Some((mut header, body)) = answer else {
            return Ok(false);
        };
        ctx.own_answer = respond::reason(action);
        ctx.upstream.grpc_status = super::grpc_status(&header.headers);
        self.own_headers(&mut header, session, ctx)?;
        rewrite::response(&mut header, ctx.admitted()?)?;
        Self::compress(session, &mut header, ctx)?;
        write(session, header, body).await?;
        Ok(true)
    }

    /// Fields that every answer carries, whoever made it.
    pub(super) fn own_headers(
        &self,
        header: &mut ResponseHeader,
        session: &mut Session,
        ctx: &RequestCtx,
    ) -> Result<()> {
        header.insert_header("x-request-id", ctx.request_id.header())?;
        let listener = connection(session)?.listener;
        let rules = ctx.host_rules();
        if listener == Listener::Https && rules.alt_svc {
            header.insert_header("alt-svc", self.alt_svc.clone())?;
        }
        if listener != Listener::Http {
            rewrite::host_response(header, rules)?;
        }
        if self.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
        let (route, quotas) = match (&ctx.admitted, &ctx.refused_route) {
            (Some(admitted), _) => (&admitted.route, &admitted.quotas),
            (None, Some(route)) => (route, &ctx.refused_quotas),
            (None, None) => return Ok(()),
        };
        if let Some(rules) = &route.cors {
            // Without them a page could not even read why it was refused.
            let origin = session.req_header().headers.get(ORIGIN);
            cors::response(header, rules, route, origin)?;
        }
        rewrite::rate_limit(header, quotas, ctx.snapshot.rate_limit_policy(route))
    }

    /// What a failure inside Pingora means to the client; none where nobody is left to tell.
    pub(super) fn rejection_for(error: &Error) -> Option<Rejection> {
        // The framing of the body broke; Pingora only knows that it could not be read.
        if let Some(refusal) = Refusal::of(error.root_cause()) {
            return Some(refusal.into());
        }
        if Recalled::is(error.root_cause()) {
            return Some(Rejection::RouteWithdrawn);
        }
        if Unsent::is(error.root_cause()) {
            return Some(Rejection::Unavailable);
        }
        let rejection = match (error.esource(), error.etype()) {
            (_, ErrorType::HTTPStatus(413)) => Rejection::BodyTooLarge,
            (_, kind) if *kind == RESPONSE_TOO_LARGE => Rejection::ResponseTooLarge,
            (_, kind) if *kind == NO_DESCRIPTORS => Rejection::NoDescriptors,
            (_, kind) if *kind == DEADLINE_EXCEEDED => Rejection::UpstreamTimeout,
            (_, ErrorType::HTTPStatus(505)) => {
                Rejection::VersionNotSupported("the answer has no length that HTTP/1.0 can be told")
            }
            (_, ErrorType::HTTPStatus(408)) => Rejection::RequestTooSlow,
            (_, ErrorType::HTTPStatus(504)) => Rejection::UpstreamTimeout,
            (_, ErrorType::HTTPStatus(503)) => Rejection::Unavailable,
            (ErrorSource::Upstream, kind) => match kind {
                ErrorType::ReadTimedout | ErrorType::WriteTimedout => Rejection::UpstreamTimeout,
                ErrorType::ConnectTimedout
                | ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::InvalidCert
                | ErrorType::SocketError
                | ErrorType::BindError => Rejection::Unavailable,
                _ => Rejection::BadUpstream,
            },
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => Rejection::RequestTimeout,
            (ErrorSource::Downstream, ErrorType::WriteTimedout) => Rejection::ResponseTooSlow,
            (
                ErrorSource::Downstream,
                ErrorType::WriteError
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed
                | ErrorType::H2Error,
            ) => return None,
            (ErrorSource::Downstream, _) => Rejection::Malformed("the request is malformed"),
            _ => Rejection::Internal,
        };
        Some(rejection)
    }
}

/// The whole answer, and what becomes of a request that nobody reads.
async fn write(session: &mut Session, header: ResponseHeader, body: Bytes) -> Result<()> {
    // The client may still be waiting to be asked for its body: it must not send it now.
    let unasked = session.req_header().headers.contains_key(EXPECT);
    if unasked {
        session.set_keepalive(None);
    }
    let bodyless = body.is_empty() || session.req_header().method == Method::HEAD;
    let header = Box::new(header);
    if bodyless && (session.is_http2() || session.is_custom()) {
        // The header block ends the stream: to gRPC's own clients that is what makes it trailers,
        // and an empty frame after it would hide the status ("Trailers-Only").
        let whole = vec![HttpTask::Header(header, true)];
        session.write_response_tasks(whole).await?;
    } else {
        session.write_response_header(header, bodyless).await?;
        let body = if bodyless { Bytes::new() } else { body };
        session.write_response_body(Some(body), true).await?;
    }
    // An h2 stream dropped with its body unread is reset, and clients then throw the answer
    // away; an HTTP/1.1 connection would have the body taken for the next request.
    if !unasked && session.drain_request_body().await.is_err() {
        session.set_keepalive(None);
    }
    Ok(())
}

/// A client that takes no answer must not make us keep the fields that were too many, a hundred times
/// on one connection. On HTTP/1.1 they say where the next request begins, and there is only one.
fn forget_fields(session: &mut Session) -> Result<()> {
    if !session.is_http2() && !session.is_custom() {
        return Ok(());
    }
    let head = session.req_header_mut();
    let mut bare = RequestHeader::build_no_case(head.method.clone(), b"/", Some(1))?;
    bare.set_version(head.version);
    bare.set_uri(head.uri.clone());
    if let Some(expect) = head.headers.get(EXPECT) {
        bare.insert_header(EXPECT, expect.clone())?;
    }
    *head = bare;
    Ok(())
}
