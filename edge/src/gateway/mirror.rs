//! Copies of requests for the mirror of their route.
//!
//! Invariant: a mirror that is slow, full or gone costs the request that is copied nothing but the
//! copying.

use std::sync::Arc;

use bytes::Bytes;
use pingora_core::connectors::http::Connector;
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tracing::debug;

use super::Gateway;
use crate::cluster::mirror::Copy;
use crate::request_ctx::{Mirroring, RequestCtx};
use crate::stages::{backend, body};

/// Connections to mirrors, which are not those of requests.
pub struct Mirrors(Arc<Connector>);

impl Mirrors {
    pub fn new() -> Self {
        Self(Arc::new(Connector::new(None)))
    }
}

impl Default for Mirrors {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// The request is about to go upstream, with its fields as the endpoint gets them.
    pub(super) fn begin_copy(
        &self,
        session: &mut Session,
        upstream: &RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        match std::mem::replace(&mut ctx.mirroring, Mirroring::Settled) {
            Mirroring::Settled => return Ok(()),
            Mirroring::Collecting(mut copy) => {
                copy.restart();
                ctx.mirroring = Mirroring::Collecting(copy);
                return Ok(());
            }
            Mirroring::Undecided => {}
        }
        let route = &ctx.admitted()?.route;
        let Some(rule) = backend::mirror(route, ctx.request_id.number()) else {
            return Ok(());
        };
        let cluster = ctx.snapshot.cluster(rule.cluster);
        let Some(cluster) = cluster.filter(|_| ctx.tunnel.is_none()) else {
            return Ok(());
        };
        if body::is_too_large(&upstream.headers, rule.body_max) {
            self.count_copy(&cluster.name, "too_large");
            return Ok(());
        }
        let translate = route.forward().is_some_and(|to| to.translate) && !ctx.dialect.is_grpc();
        let Some(copy) = cluster.copy(upstream, translate, rule.body_max) else {
            self.count_copy(&cluster.name, "dropped");
            return Ok(());
        };
        if session.is_body_empty() {
            self.send_copy(copy);
        } else {
            ctx.mirroring = Mirroring::Collecting(Box::new(copy));
        }
        Ok(())
    }

    /// A piece of the body on its way upstream.
    pub(super) fn continue_copy(&self, piece: Option<&Bytes>, end: bool, ctx: &mut RequestCtx) {
        let Mirroring::Collecting(copy) = &mut ctx.mirroring else {
            return;
        };
        let is_too_large = piece.is_some_and(|data| copy.add(data).is_err());
        if is_too_large {
            self.count_copy(&copy.cluster.name, "too_large");
            ctx.mirroring = Mirroring::Settled;
            return;
        }
        if end
            && let Mirroring::Collecting(copy) =
                std::mem::replace(&mut ctx.mirroring, Mirroring::Settled)
        {
            self.send_copy(*copy);
        }
    }

    fn send_copy(&self, copy: Copy) {
        let connector = self.mirrors.0.clone();
        let outcomes = self.metrics.mirror_requests.clone();
        tokio::spawn(async move {
            let cluster = copy.cluster.name.clone();
            let outcome = match copy.send(&connector).await {
                Ok(()) => "answered",
                Err(error) => {
                    debug!(%cluster, %error, "mirrored request failed");
                    "failed"
                }
            };
            outcomes.with_label_values(&[&*cluster, outcome]).inc();
        });
    }

    fn count_copy(&self, cluster: &str, outcome: &str) {
        let outcomes = &self.metrics.mirror_requests;
        outcomes.with_label_values(&[cluster, outcome]).inc();
    }
}
