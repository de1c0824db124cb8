//! The one `impl ProxyHttp`: Pingora's phases in the order in which they run.
//!
//! ```text
//! early_request_filter -> request_filter (stages::admit) -> request_cache_filter, cache_key_callback
//!   -> [hit] response_filter
//!   -> [miss] upstream_peer -> upstream_request_filter -> request_body_filter
//!        -> upstream_response_filter -> response_cache_filter -> response_filter
//!   -> logging, always; fail_to_proxy before it where something broke
//! ```
//!
//! Each phase is a few lines that call what decides. The same code serves h1, h2 and h3.

mod acme;
mod admission;
mod answers;
mod compression;
mod deadlines;
mod mirror;
mod on_reload;
mod refused_heads;
mod response_bounds;
mod retries;
mod slow_clients;
mod tunnels;
mod upstreams;
mod versions;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use palisade_acme::Pending;
use palisade_cache::Arrival;
use palisade_policy::PolicyStore;
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, NoCacheReason, RespCacheable};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio_util::sync::CancellationToken;

use crate::in_flight::InFlight;
use crate::listen::{Connection, Listener};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Metrics;
use crate::observe::trace::TraceContext;
use crate::rejection::Rejection;
use crate::request_ctx::{Now, RequestCtx};
use crate::respond;
use crate::snapshot::Snapshot;
use crate::stages::{cache, client, cors, rewrite};
use tunnels::is_interim;

pub use mirror::Mirrors;
pub use on_reload::{Streams, Tied};
pub use refused_heads::RefusedHeads;

/// How long an unread request body may take to be thrown away before its connection is.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// State shared by all requests.
pub struct Gateway {
    pub policies: Arc<PolicyStore<Snapshot>>,
    /// Of routes whose requests under way a reload may end.
    pub streams: Arc<Streams>,
    pub metrics: Arc<Metrics>,
    pub access_log: Arc<AccessLog>,
    pub cache: cache::ResponseCache,
    /// Set when the process is about to end: answers then close their HTTP/1.1 connection.
    pub draining: Arc<AtomicBool>,
    /// Cancelled then, too: tunnels end.
    pub tunnels: CancellationToken,
    pub https_port: u16,
    /// `alt-svc`, by which clients find HTTP/3.
    pub alt_svc: HeaderValue,
    /// Requests under way but for tunnels, where the policy bounds them.
    pub in_flight: InFlight,
    pub mirrors: Mirrors,
    /// What a certificate authority asks for while it checks a name.
    pub acme: Arc<Pending>,
}

fn connection(session: &Session) -> Result<&Connection> {
    Connection::of(session.digest())
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "session without connection facts"))
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestCtx;

    /// Takes the snapshot once: a reload never changes a request half way.
    fn new_ctx(&self) -> RequestCtx {
        self.metrics.requests_in_flight.inc();
        let mut ctx = RequestCtx::new(self.policies.current(), Now::read());
        let is_bounded = ctx.snapshot.policy.listeners.requests_max.is_some();
        ctx.in_flight = is_bounded.then(|| self.in_flight.enter());
        ctx
    }

    /// Only ours: by default Pingora adds its own compression.
    fn init_downstream_modules(&self, modules: &mut pingora_core::modules::http::HttpModules) {
        modules.add_module(Box::new(compression::Builder));
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let connection = connection(session)?;
        // Before the fields that name the client are removed as its own.
        ctx.client = Some(client::resolve(
            &session.req_header().headers,
            connection.client.ip(),
            connection.listener != Listener::Http,
            &ctx.snapshot.policy.listeners,
        ));
        ctx.trace = TraceContext::from_headers(&session.req_header().headers);
        ctx.dialect = respond::dialect(session.req_header());
        Ok(())
    }

    /// Expected refusals return `Ok(true)`: an `Err` here would be logged as an error, and a
    /// client could flood the log with 401s.
    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let timeouts = &ctx.snapshot.policy.listeners.timeouts;
        session.set_write_timeout(Some(timeouts.write));
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        // RFC 9110, 15.2: HTTP/1.0 knows no interim answers.
        let is_http10 = session.req_header().version == Version::HTTP_10;
        session.set_ignore_info_resp(is_http10);
        if self.answer_acme(session, ctx).await? {
            return Ok(true);
        }
        let client = admission::client_certificate(session)?;
        let downstream = self.downstream(session, ctx, client.as_deref())?;
        let admitted = match self.admit(session, ctx, downstream).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                self.metrics.limits(&refused.quotas);
                ctx.refused_route = refused.route;
                ctx.refused_quotas = refused.quotas;
                ctx.refused_host = refused.host_rules;
                ctx.refused_shadowed = refused.shadowed;
                self.reject(session, ctx, refused.rejection).await?;
                return Ok(true);
            }
        };
        self.metrics.limits(&admitted.quotas);
        admission::tell_certificate(session, &admitted.host_rules)?;
        ctx.admitted = Some(admitted);
        if self.answer_by_route(session, ctx).await? {
            return Ok(true);
        }
        self.tie(ctx);
        self.open_tunnel(session, ctx)?;
        if ctx.tunnel.is_none() {
            self.time_body(session, ctx)?;
            on_reload::recall(session, ctx)?;
        }
        Ok(false)
    }

    /// Errors here are only logged by Pingora: nothing that protects anything belongs in it.
    fn request_cache_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        if ctx.cache_rule().is_none()
            || ctx.dialect.is_grpc()
            || ctx.tunnel.is_some()
            || !cache::may_be_looked_up(session.req_header())
        {
            return Ok(());
        }
        let key = self.cache_key_callback(session, ctx)?;
        if self.cache.is_too_large(&key) {
            return Ok(());
        }
        self.cache.enable(&mut session.cache);
        // A slow first reader must not hold up the fill that others wait for.
        session.set_proxy_tasks_enabled(true);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut RequestCtx) -> Result<CacheKey> {
        Ok(cache::key(
            session.req_header(),
            ctx.client()?.encrypted,
            &ctx.admitted()?.host,
        ))
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<RespCacheable> {
        let Some(rule) = ctx.cache_rule() else {
            return Ok(RespCacheable::Uncacheable(NoCacheReason::NeverEnabled));
        };
        let exchange = cache::Exchange {
            rule,
            has_caller: !ctx.admitted()?.permit.caller().is_anonymous(),
            confirmed_by: ctx.upstream.confirmed_by.as_ref(),
            now: Now::read().wall,
        };
        Ok(self.cache.decide(session.req_header(), response, &exchange))
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        _ctx: &mut RequestCtx,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        cache::variance(meta, request)
    }

    /// Called again on each try.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Box<HttpPeer>> {
        self.next_peer(ctx).await.map(Box::new)
    }

    /// Does not run on a cache hit: no access control here.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        admission::refuse_if_gone(session)?;
        ctx.upstream.sent_at = Some(Now::monotonic());
        let forwarding = rewrite::Forwarding {
            client: ctx.client()?,
            request_id: &ctx.request_id,
            trace: &ctx.trace,
            // Of a tunnel that time is for the handshake; the client's own stays as it was said.
            time_left: ctx
                .time_left(Now::monotonic())
                .filter(|_| ctx.tunnel.is_none()),
        };
        if ctx.dialect.is_grpc() {
            rewrite::call(upstream);
        }
        rewrite::request(upstream, ctx.admitted()?, &forwarding)?;
        self.begin_copy(session, upstream, ctx)?;
        if upstream.version == Version::HTTP_2 {
            versions::request_to_h2(upstream, session).await?;
        }
        Ok(())
    }

    /// An error must be marked as the client's: with an h2 upstream Pingora would otherwise
    /// leave the request open and the client waiting.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if ctx.tunnel.is_some() {
            return Ok(());
        }
        self.continue_copy(body.as_ref(), end, ctx);
        ctx.body.bytes += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if ctx.body.bytes > ctx.admitted()?.route.request_body_max {
            return Err(Error::explain(
                ErrorType::HTTPStatus(413),
                "request body over the route's bound",
            )
            .into_down());
        }
        if end {
            // On HTTP/1.1 the clock goes on: the connection is watched for the client's leaving.
            ctx.body.clock = None;
            return Ok(());
        }
        self.check_body_rate(session, ctx)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        error: Box<Error>,
    ) -> Box<Error> {
        self.connect_failed(ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestCtx,
        client_reused: bool,
    ) -> Box<Error> {
        self.try_failed(session, ctx, error, client_reused)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if is_interim(response) {
            return Ok(());
        }
        self.check_upgrade(session, response, ctx)?;
        self.note_answer(response, ctx);
        self.retry_instead(session, response, ctx)?;
        response_bounds::check_head(session, response, ctx)?;
        let confirms = response.status == StatusCode::NOT_MODIFIED && ctx.cache_rule().is_some();
        ctx.upstream.confirmed_by = confirms.then(|| Arrival::of(&response.headers));
        deadlines::correct(response, ctx)?;
        ctx.upstream.grpc_status = grpc_status(&response.headers);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            connection(session)?.tunnel.open();
        }
        if is_interim(response) {
            return Ok(());
        }
        if ctx.cache_rule().is_some() {
            response.insert_header(
                "cache-status",
                cache::status(&session.cache, Now::read().wall),
            )?;
        }
        versions::keep_alive_after_continue(session);
        cors::forget(response, &ctx.admitted()?.route);
        self.own_headers(response, session, ctx)?;
        versions::answer_to_http10(response, session)?;
        rewrite::response(response, ctx.admitted()?)?;
        Self::compress(session, response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        response_bounds::check_piece(body.as_ref(), ctx)?;
        Ok(None)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        response_bounds::only_described(session, body);
        let length = body.as_ref().map_or(0, Bytes::len);
        self.bound_write(session, length, ctx);
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Bytes>> {
        trailers.extend(deadlines::correction(trailers, ctx));
        ctx.upstream.grpc_status = grpc_status(trailers).or(ctx.upstream.grpc_status);
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestCtx,
    ) -> FailToProxy {
        ctx.error = Some(error.to_string());
        let silent = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        let Some(rejection) = Self::rejection_for(error) else {
            ctx.rejection = Some(Rejection::ClientGone);
            return silent;
        };
        let rejection = deadlines::told(rejection, ctx);
        if session.response_written().is_some() {
            // Too late for an answer; but for gRPC, breaking off is the only honest one.
            let is_told = self.end_call(session, ctx, &rejection).await;
            ctx.rejection = Some(rejection);
            return FailToProxy {
                can_reuse_downstream: is_told,
                ..silent
            };
        }
        let error_code = rejection.status().as_u16();
        session.set_keepalive(None);
        match self.reject(session, ctx, rejection).await {
            Ok(()) => FailToProxy {
                error_code,
                can_reuse_downstream: session.is_http2() || session.is_custom(),
            },
            Err(_) => silent,
        }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut RequestCtx) {
        crate::observe::request::finished(self, session, ctx);
    }

    /// The access log has the error with its request; Pingora's own line would double it.
    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &RequestCtx,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
