//! Whether a try that failed is followed by another.
//!
//! Invariants: nothing is repeated once the head of an answer was accepted; nothing but a
//! connection that could not be made is repeated for a method that the rule does not name; a
//! failure is held against its endpoint once.

use std::time::Duration;

use http::StatusCode;
use palisade_policy::model::{Retries, RetryOn};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{Gateway, grpc_status};
use crate::cluster::Unsent;
use crate::listen::DEADLINE_EXCEEDED;
use crate::request_ctx::{Now, RequestCtx};

/// Of google.rpc.Code: the call was not processed.
const GRPC_UNAVAILABLE: u8 = 14;
/// An endpoint had closed a kept connection.
const STALE_CONNECTION: &str = "stale_connection";

impl Gateway {
    /// Nothing was sent yet, so any method may try again: by the cluster's rule, then by the route's.
    pub(super) fn connect_failed(&self, ctx: &mut RequestCtx, mut error: Box<Error>) -> Box<Error> {
        let Some(pick) = &ctx.upstream.picked else {
            return error;
        };
        if !ctx.is_out_of_clients_time(Now::monotonic()) {
            self.note_failure(pick);
        }
        let by_cluster = ctx.upstream.retries.connect_failures < pick.cluster.connect_retries;
        ctx.upstream.retries.connect_failures += 1;
        if by_cluster {
            let reason = label(RetryOn::ConnectFailure);
            ctx.upstream.retries.planned = Some((reason, Duration::ZERO));
        }
        error.set_retry(by_cluster || self.plan(ctx, RetryOn::ConnectFailure));
        error
    }

    /// The request was sent, or a part of it.
    pub(super) fn try_failed(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
        client_reused: bool,
    ) -> Box<Error> {
        if ctx.upstream.retries.planned.is_some() {
            // An answer that was refused: its endpoint has heard of it.
            error.set_retry(true);
            return error;
        }
        if Unsent::is(error.root_cause()) && is_replayable(session, ctx) {
            return self.connect_failed(ctx, error);
        }
        self.blame_silent_client(&mut error, ctx);
        // Nothing came until the time of the route was over.
        let is_silent = *error.etype() == DEADLINE_EXCEEDED && ctx.upstream.first_byte.is_none();
        let is_upstream = (*error.esource() == ErrorSource::Upstream || is_silent)
            && !ctx.is_out_of_clients_time(Now::monotonic());
        if let (true, Some(pick), false) = (is_upstream, &ctx.upstream.picked, client_reused) {
            self.note_failure(pick);
        }
        // A kept connection that the endpoint was closing does not count as a try of the rule.
        error.retry.decide_reuse(client_reused);
        let is_kept = error.retry() && session.req_header().method.is_idempotent();
        if is_kept && is_replayable(session, ctx) {
            ctx.upstream.retries.planned = Some((STALE_CONNECTION, Duration::ZERO));
            return error;
        }
        let cause = match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => RetryOn::Timeout,
            _ => RetryOn::Reset,
        };
        let again = is_upstream
            && ctx.upstream.first_byte.is_none()
            && is_repeatable(session, ctx)
            && self.plan(ctx, cause);
        error.set_retry(again);
        error
    }

    /// The head of an answer came; an error where another try is worth more.
    pub(super) fn retry_instead(
        &self,
        session: &mut Session,
        response: &ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if rule(ctx).is_none() {
            return Ok(());
        }
        let cause = match response.status {
            StatusCode::BAD_GATEWAY => RetryOn::BadGateway,
            StatusCode::SERVICE_UNAVAILABLE => RetryOn::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => RetryOn::GatewayTimeout,
            _ if ctx.dialect.is_grpc()
                && grpc_status(&response.headers) == Some(GRPC_UNAVAILABLE) =>
            {
                RetryOn::Unavailable
            }
            _ => return Ok(()),
        };
        if !is_repeatable(session, ctx) || !self.plan(ctx, cause) {
            return Ok(());
        }
        // What the client gets should the tries end here.
        let status = ErrorType::HTTPStatus(match cause {
            RetryOn::BadGateway => 502,
            RetryOn::GatewayTimeout => 504,
            _ => 503,
        });
        Err(Error::explain(status, "the answer is worth another try").into_up())
    }

    /// Take a retry of the route's rule, if it has one left for this cause, in time and budget.
    fn plan(&self, ctx: &mut RequestCtx, cause: RetryOn) -> bool {
        let state = &ctx.upstream.retries;
        let Some(rule) = rule(ctx).filter(|rule| {
            rule.on.contains(&cause) && state.used < rule.attempts && ctx.tunnel.is_none()
        }) else {
            return false;
        };
        let pause = pause(rule.backoff, state.used);
        let left = ctx.time_left(Now::monotonic());
        if left.is_some_and(|left| left <= pause) {
            return false;
        }
        let place = match (&ctx.upstream.picked, rule.budget_percent) {
            // A request has one retry under way, however many it had before.
            (Some(pick), Some(percent)) if state.place.is_none() => {
                let place = pick.cluster.enter_retry(percent);
                if place.is_none() {
                    let refused = &self.metrics.upstream_retries_refused;
                    refused.with_label_values(&[&*pick.cluster.name]).inc();
                    return false;
                }
                place
            }
            _ => None,
        };
        let state = &mut ctx.upstream.retries;
        state.place = state.place.take().or(place);
        state.used += 1;
        state.planned = Some((label(cause), pause));
        true
    }
}

pub(super) fn rule(ctx: &RequestCtx) -> Option<&Retries> {
    let route = &ctx.admitted.as_ref()?.route;
    route.forward()?.retries.as_ref()
}

/// Whether the rule lets the method be repeated, and the body still can be.
fn is_repeatable(session: &mut Session, ctx: &RequestCtx) -> bool {
    let Some(rule) = rule(ctx) else {
        return false;
    };
    let method = &session.req_header().method;
    let is_listed = if rule.methods.is_empty() {
        method.is_idempotent()
    } else {
        rule.methods.contains(method)
    };
    is_listed && is_replayable(session, ctx)
}

/// Pingora keeps the first 64 KiB of a body, and does not send the end of one that turned out empty again.
fn is_replayable(session: &mut Session, ctx: &RequestCtx) -> bool {
    let turned_out_empty =
        ctx.body.bytes == 0 && !session.is_body_empty() && session.is_body_done();
    !session.as_ref().retry_buffer_truncated() && !turned_out_empty
}

/// Exponential with full jitter: those who failed together do not come back together.
fn pause(backoff: Duration, used: u32) -> Duration {
    let most = backoff.saturating_mul(1 << used.min(16));
    most.mul_f64(fastrand::f64())
}

/// For the metric.
fn label(cause: RetryOn) -> &'static str {
    match cause {
        RetryOn::ConnectFailure => "connect_failure",
        RetryOn::Reset => "reset",
        RetryOn::Timeout => "timeout",
        RetryOn::BadGateway => "502",
        RetryOn::Unavailable => "503",
        RetryOn::GatewayTimeout => "504",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_spread() {
        let backoff = Duration::from_millis(100);
        for (used, most) in [(0, 100), (1, 200), (4, 1_600)] {
            let pauses: Vec<_> = (0..200).map(|_| pause(backoff, used)).collect();
            let most = Duration::from_millis(most);
            assert!(pauses.iter().all(|pause| *pause <= most));
            assert!(pauses.iter().any(|pause| *pause > most / 2), "{used}");
            assert!(pauses.iter().any(|pause| *pause < most / 2), "{used}");
        }
        assert_eq!(pause(Duration::ZERO, 4), Duration::ZERO);
        assert!(pause(Duration::MAX / 2, u32::MAX) <= Duration::MAX);
    }
}
