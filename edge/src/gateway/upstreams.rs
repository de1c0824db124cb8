//! Which endpoint a request goes to, and what its answers and failures say about that endpoint.

use std::time::Duration;

use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::{Gateway, deadlines, retries};
use crate::cluster::Pick;
use crate::request_ctx::{Now, RequestCtx};

impl Gateway {
    /// For the first try and for each after it.
    pub(super) async fn next_peer(&self, ctx: &mut RequestCtx) -> Result<HttpPeer> {
        let planned = ctx.upstream.retries.planned.take();
        if let Some((_, pause)) = planned.filter(|(_, pause)| !pause.is_zero()) {
            tokio::time::sleep(pause).await;
        }
        let now = Now::monotonic();
        let left = ctx.time_left(now);
        if left.is_some_and(|left| left.is_zero()) {
            return Error::e_explain(ErrorType::HTTPStatus(504), "no time left for another try");
        }
        let admitted = ctx.admitted()?;
        let translates = admitted.route.forward().is_some_and(|to| to.translate);
        let translate = translates && !ctx.dialect.is_grpc();
        let cluster = admitted.cluster.and_then(|id| ctx.snapshot.cluster(id));
        let last = ctx.upstream.picked.as_ref().map(|pick| pick.index);
        let pick = cluster.and_then(|cluster| cluster.pick(last, now));
        let peer = pick
            .as_ref()
            .and_then(|pick| pick.cluster.peer(pick.index, translate));
        let (Some(pick), Some(mut peer)) = (pick, peer) else {
            return Error::e_explain(ErrorType::HTTPStatus(503), "cluster without endpoint");
        };
        let rule = retries::rule(ctx);
        let per_try = rule.and_then(|rule| rule.per_try_timeout);
        let is_budgeted = rule.is_some_and(|rule| rule.budget_percent.is_some());
        if let Some(limit) = per_try {
            bound_try(&mut peer.options, limit);
        }
        if let Some(tunnel) = &ctx.tunnel {
            peer.options.read_timeout = Some(tunnel.upstream_silence_max);
        } else {
            deadlines::bound_waits(&mut peer.options, ctx, now);
        }
        ctx.upstream.attempts += 1;
        if let Some((reason, _)) = planned {
            self.metrics
                .upstream_retries
                .with_label_values(&[&*pick.cluster.name, reason])
                .inc();
        }
        if is_budgeted && ctx.upstream.retries.counted.is_none() {
            ctx.upstream.retries.counted = Some(pick.cluster.enter());
        }
        ctx.upstream.picked = Some(pick);
        ctx.upstream.silence_max = per_try;
        // Each try has an answer of its own, and is sent the body from its beginning.
        ctx.upstream.first_byte = None;
        ctx.upstream.body_bytes = 0;
        ctx.body.bytes = 0;
        Ok(peer)
    }

    /// The head of an answer came.
    pub(super) fn note_answer(&self, response: &ResponseHeader, ctx: &mut RequestCtx) {
        if let (Some(sent), Some(pick)) = (ctx.upstream.sent_at, &ctx.upstream.picked) {
            let first_byte = Now::monotonic().saturating_duration_since(sent);
            ctx.upstream.first_byte = Some(first_byte);
            self.metrics
                .upstream_answered(&pick.cluster.name, response.status, first_byte);
            match response.status.as_u16() {
                504 if ctx.is_out_of_clients_time(Now::monotonic()) => {}
                502..=504 => self.note_failure(pick),
                _ => pick.cluster.succeeded(pick.index),
            }
        }
    }

    pub(super) fn note_failure(&self, pick: &Pick) {
        if pick.cluster.failed(pick.index, Now::monotonic()) {
            self.metrics
                .upstream_ejections
                .with_label_values(&[&*pick.cluster.name])
                .inc();
        }
    }
}

/// Pingora cannot be told when a try ends, only how long an endpoint may be silent within it.
fn bound_try(options: &mut PeerOptions, limit: Duration) {
    for timeout in [
        &mut options.connection_timeout,
        &mut options.total_connection_timeout,
        &mut options.read_timeout,
        &mut options.write_timeout,
    ] {
        *timeout = Some(timeout.map_or(limit, |own| own.min(limit)));
    }
}
