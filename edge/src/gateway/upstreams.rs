//! Which endpoint a request goes to, and what its answers and failures say about that endpoint.

use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::Gateway;
use crate::cluster::Pick;
use crate::request_ctx::{Now, RequestCtx};

impl Gateway {
    /// For the first try and for each after it.
    pub(super) fn next_peer(&self, ctx: &mut RequestCtx) -> Result<HttpPeer> {
        let now = Now::monotonic();
        let left = ctx.time_left(now);
        if left.is_some_and(|left| left.is_zero()) {
            return Error::e_explain(ErrorType::HTTPStatus(504), "no time left for another try");
        }
        let admitted = ctx.admitted()?;
        let translates = admitted.route.forward().is_some_and(|to| to.translate);
        let translate = translates && !ctx.is_grpc;
        let cluster = admitted.cluster.and_then(|id| ctx.snapshot.cluster(id));
        let last = ctx.upstream.picked.as_ref().map(|pick| pick.index);
        let pick = cluster.and_then(|cluster| cluster.pick(last, now));
        let peer = pick
            .as_ref()
            .and_then(|pick| pick.cluster.peer(pick.index, translate));
        let (Some(pick), Some(mut peer)) = (pick, peer) else {
            return Error::e_explain(ErrorType::HTTPStatus(503), "cluster without endpoint");
        };
        if let Some(tunnel) = &ctx.tunnel {
            peer.options.read_timeout = Some(tunnel.upstream_silence_max);
        } else if let Some(left) = left {
            peer.options.read_timeout = peer.options.read_timeout.map(|limit| limit.min(left));
        }
        ctx.upstream.attempts += 1;
        if ctx.upstream.attempts > 1 {
            self.metrics
                .upstream_retries
                .with_label_values(&[&*pick.cluster.name])
                .inc();
        }
        ctx.upstream.picked = Some(pick);
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
