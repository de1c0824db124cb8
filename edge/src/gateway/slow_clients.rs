//! How slowly a client may send its body and take its answer, and who is to blame for a silence.

use std::time::Duration;

use http::header::EXPECT;
use palisade_policy::model::{Listeners, Rates};
use palisade_translate::{Dialect, is_lines};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::{Gateway, connection, deadlines};
use crate::listen::timed_body;
use crate::request_ctx::{RequestBody, RequestCtx};

impl Gateway {
    /// Start the clock of a request with a body.
    pub(super) fn time_body(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let mut silence_max = ctx.snapshot.policy.listeners.timeouts.body;
        if is_conversation(session, ctx) {
            // Messages may be far apart: there the cluster says how long is too long.
            silence_max = silence_max.max(upstream_silence(ctx));
        }
        session.set_read_timeout(Some(silence_max));
        if session.is_body_done() {
            return Ok(());
        }
        let clock = match session.as_downstream().as_http1() {
            Some(_) => connection(session)?.body_clock.clone(),
            None => {
                let ends_at = deadlines::ends_at(ctx);
                timed_body::wrap(session.as_downstream_mut(), silence_max, ends_at)
            }
        };
        let waited_before = clock.waited();
        ctx.body = RequestBody {
            clock: Some(clock),
            waited_before,
            waited_at_last: waited_before,
            awaits_invitation: session.req_header().headers.contains_key(EXPECT),
            bytes: 0,
        };
        Ok(())
    }

    /// After each piece of the body but the last.
    pub(super) fn check_body_rate(&self, session: &Session, ctx: &mut RequestCtx) -> Result<()> {
        let Some(waited) = ctx.body.clock.as_ref().map(|clock| clock.waited()) else {
            return Ok(());
        };
        ctx.body.waited_at_last = waited;
        if std::mem::take(&mut ctx.body.awaits_invitation) {
            ctx.body.waited_before = waited;
        }
        // Conversations have pauses: streams of messages, and whatever is answered already.
        if is_conversation(session, ctx) || session.response_written().is_some() {
            return Ok(());
        }
        let waited = waited.saturating_sub(ctx.body.waited_before);
        if is_too_slow(ctx.body.bytes, waited, &ctx.snapshot.policy.listeners.rates) {
            let what = "request body below the minimum rate";
            return Err(Error::explain(ErrorType::HTTPStatus(408), what).into_down());
        }
        Ok(())
    }

    /// The endpoint said nothing because the client did not: its health must not suffer for that.
    pub(super) fn blame_silent_client(&self, error: &mut Error, ctx: &RequestCtx) {
        let timed_out = matches!(error.etype(), ErrorType::ReadTimedout)
            && *error.esource() == ErrorSource::Upstream;
        if !timed_out || ctx.upstream.first_byte.is_some() || ctx.body.awaits_invitation {
            return;
        }
        let waited = ctx.body.clock.as_ref().map(|clock| clock.waited());
        let silence = waited
            .unwrap_or_default()
            .saturating_sub(ctx.body.waited_at_last);
        // Both may have been silent; the endpoint could not answer what it had not got.
        let patience = ctx.upstream.silence_max.unwrap_or(Duration::MAX);
        if silence >= patience.min(upstream_silence(ctx)) / 2 {
            error.as_down();
        }
    }

    /// Before each piece of an answer is written.
    pub(super) fn bound_write(&self, session: &mut Session, length: usize, ctx: &mut RequestCtx) {
        // Several pieces may be written under the bound of the last.
        ctx.largest_piece = ctx.largest_piece.max(length);
        let limit = piece_timeout(ctx.largest_piece, &ctx.snapshot.policy.listeners);
        session.set_write_timeout(Some(limit));
    }
}

/// Whether the body is a stream of messages, each of which goes on by itself.
fn is_conversation(session: &Session, ctx: &RequestCtx) -> bool {
    let route = ctx.admitted.as_ref().map(|admitted| &admitted.route);
    let translates = route.and_then(|route| route.forward());
    let translates = translates.is_some_and(|to| to.translate);
    match ctx.dialect {
        Dialect::Grpc => true,
        Dialect::ConnectStream(_) => translates,
        Dialect::Http => translates && is_lines(&session.req_header().headers),
        Dialect::GrpcWeb { .. } | Dialect::ConnectUnary(_) => false,
    }
}

/// How long the cluster lets its endpoints be silent.
fn upstream_silence(ctx: &RequestCtx) -> Duration {
    let id = ctx.admitted.as_ref().and_then(|admitted| admitted.cluster);
    let cluster = id.and_then(|id| ctx.snapshot.policy.clusters.get(id.0));
    cluster.map_or(Duration::MAX, |cluster| cluster.timeouts.read)
}

fn is_too_slow(bytes: u64, waited: Duration, rates: &Rates) -> bool {
    let Some(rate) = rates.request_body.filter(|_| waited > rates.grace) else {
        return false;
    };
    let due = u128::from(rate) * waited.as_millis() / 1_000;
    u128::from(bytes) < due
}

fn piece_timeout(length: usize, listeners: &Listeners) -> Duration {
    let write = listeners.timeouts.write;
    let Some(rate) = listeners.rates.response else {
        return write;
    };
    let millis = (length as u64).saturating_mul(1_000) / rate.max(1);
    Duration::from_millis(millis)
        .max(listeners.rates.grace)
        .min(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_piece_has_time_by_its_length() {
        let mut listeners = Listeners::default();
        for (length, limit) in [
            (0, 10),
            (2_400, 10),
            (4_800, 20),
            (65_536, 60),
            (usize::MAX, 60),
        ] {
            assert_eq!(
                piece_timeout(length, &listeners),
                seconds(limit),
                "{length}"
            );
        }
        listeners.rates.response = None;
        assert_eq!(piece_timeout(1, &listeners), seconds(60));
    }

    #[test]
    fn slow_is_by_the_average_and_after_the_grace() {
        let rates = Rates {
            request_body: Some(240),
            response: None,
            grace: Duration::from_secs(10),
        };
        let off = Rates {
            request_body: None,
            ..rates.clone()
        };
        for (bytes, seconds, slow) in [
            (0, 10, false),
            (0, 11, true),
            (2_639, 11, true),
            (2_640, 11, false),
            (u64::MAX, u64::MAX / 1_000, false),
        ] {
            let waited = Duration::from_secs(seconds);
            assert_eq!(
                is_too_slow(bytes, waited, &rates),
                slow,
                "{bytes} {seconds}"
            );
            assert!(!is_too_slow(bytes, waited, &off));
        }
    }
}
