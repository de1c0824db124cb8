//! Requests that must have ended: how long each wait may be, and who is to blame.
//!
//! Whoever was told a deadline has the first word, as its end is in the client's dialect: the
//! translator always keeps it, endpoints of plain gRPC mostly. The edge itself ends what goes on.

use std::time::{Duration, Instant};

use http::HeaderMap;
use pingora_core::upstreams::peer::PeerOptions;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{Gateway, grpc_status};
use crate::listen::DEADLINE_EXCEEDED;
use crate::rejection::Rejection;
use crate::request_ctx::{Now, RequestCtx};
use crate::respond;

/// Of google.rpc.Code.
const GRPC_CANCELLED: u8 = 1;

/// How much later than whoever was told a deadline the edge ends the request: time for their answer
/// to come through.
const SLACK: Duration = Duration::from_secs(1);

/// What is left until the edge itself ends the request; none where it has no bound.
fn patience_left(ctx: &RequestCtx, now: Instant) -> Option<Duration> {
    let deadline = ctx.deadline()?;
    let taken = now.saturating_duration_since(ctx.started.monotonic);
    let slack = if is_told(ctx) { SLACK } else { Duration::ZERO };
    Some((deadline.length + slack).saturating_sub(taken))
}

/// When the edge itself ends a call that was read from its beginning.
pub(super) fn ends_at(ctx: &RequestCtx) -> Option<Instant> {
    let length = ctx.deadline().filter(|_| ctx.dialect.is_grpc())?.length;
    ctx.started
        .monotonic
        .checked_add(length.checked_add(SLACK)?)
}

/// Whether somebody else keeps the deadline, too.
fn is_told(ctx: &RequestCtx) -> bool {
    let route = ctx.admitted.as_ref().map(|admitted| &admitted.route);
    let forward = route.and_then(|route| route.forward());
    ctx.dialect.is_grpc() || forward.is_some_and(|to| to.translate)
}

/// Pingora cannot be told when a request ends, only how long each wait may be.
pub(super) fn bound_waits(options: &mut PeerOptions, ctx: &RequestCtx, now: Instant) {
    let Some(mut left) = patience_left(ctx, now) else {
        return;
    };
    if ctx.dialect.is_grpc() {
        // Its body's deadline comes first: a wait that ends takes a shared connection out of use.
        left += SLACK;
    }
    for timeout in [
        &mut options.connection_timeout,
        &mut options.total_connection_timeout,
        &mut options.read_timeout,
    ] {
        *timeout = timeout.map(|limit| limit.min(left));
    }
}

/// Before each piece of an answer goes on.
pub(super) fn check(ctx: &RequestCtx) -> Result<()> {
    if ctx.deadline().is_none() {
        return Ok(());
    }
    let left = patience_left(ctx, Now::monotonic());
    if left.is_some_and(|left| left.is_zero()) {
        let what = "request took longer than it may";
        // Not the endpoint's failure: it answers, and may have waited for the client.
        return Err(Error::explain(DEADLINE_EXCEEDED, what).into_down());
    }
    Ok(())
}

/// What the client is told of a wait that its own deadline ended.
pub(super) fn told(rejection: Rejection, ctx: &RequestCtx) -> Rejection {
    match rejection {
        Rejection::UpstreamTimeout | Rejection::Unavailable
            if ctx.is_out_of_clients_time(Now::monotonic()) =>
        {
            Rejection::DeadlineExceeded
        }
        rejection => rejection,
    }
}

/// What takes the place of a status: tonic says CANCELLED when the time that it was told is over, and
/// a client that set no deadline would take that for its own doing.
pub(super) fn correction(fields: &HeaderMap, ctx: &RequestCtx) -> HeaderMap {
    let is_over = |left: Duration| left.is_zero();
    let is_late = ctx.time_left(Now::monotonic()).is_some_and(is_over);
    if !ctx.dialect.is_grpc() || !is_late || grpc_status(fields) != Some(GRPC_CANCELLED) {
        return HeaderMap::new();
    }
    respond::grpc_trailers(&Rejection::DeadlineExceeded)
}

/// The same for an answer that is one header block.
pub(super) fn correct(response: &mut ResponseHeader, ctx: &RequestCtx) -> Result<()> {
    for (name, value) in &correction(&response.headers, ctx) {
        response.insert_header(name, value)?;
    }
    Ok(())
}

impl Gateway {
    /// A gRPC call that failed in the middle of its answer ends with a status as any other does:
    /// a stream that is reset says nothing to its client. False where that is not possible.
    pub(super) async fn end_call(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        rejection: &Rejection,
    ) -> bool {
        let has_trailers = session.is_http2() || session.is_custom();
        if !ctx.dialect.is_grpc() || !has_trailers {
            return false;
        }
        let trailers = respond::grpc_trailers(rejection);
        let session = session.as_downstream_mut();
        let ended = session.write_response_trailers(trailers).await.is_ok();
        // A stream dropped with its body unread is reset, and clients then throw the status away.
        ended && session.drain_request_body().await.is_ok()
    }
}
