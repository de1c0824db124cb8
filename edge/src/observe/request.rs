//! The end of a request: one metric sample and one access line.

use std::time::Duration;

use http::Version;
use palisade_translate::Dialect;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::access_log::{Line, unix_time};
use crate::gateway::Gateway;
use crate::listen::extended_connect::is_extended_connect;
use crate::listen::{Connection, Listener};
use crate::request_ctx::{Now, RequestCtx};
use crate::stages::cache;
use crate::stages::shadow::Shadowed;

/// The last code of google.rpc.Code: an upstream may say anything.
const GRPC_STATUS_MAX: u8 = 16;

/// Called once for each request that had a context.
pub fn finished(gateway: &Gateway, session: &Session, ctx: &mut RequestCtx) {
    let metrics = &gateway.metrics;
    metrics.requests_in_flight.dec();
    let duration = Now::read()
        .monotonic
        .saturating_duration_since(ctx.started.monotonic);
    let connection = Connection::of(session.digest());
    let status = status(session, ctx);
    let status_text = status.as_str();
    let labels = [
        method(session),
        ctx.route_name().unwrap_or(""),
        status_text,
        scheme(connection),
        protocol(session, connection),
        ctx.reason().unwrap_or(""),
    ];
    let opened_after = ctx.tunnel.as_ref().and_then(|tunnel| tunnel.opened_after);
    // Hours of a tunnel would say nothing about how fast the route answers.
    metrics.request(&labels, opened_after.unwrap_or(duration));
    if opened_after.is_some() {
        let reason = match (ended_by(ctx), &ctx.error) {
            (Some(reason), _) => reason,
            (None, Some(_)) => "error",
            (None, None) => "closed",
        };
        metrics.tunnel_ended(ctx.route_name().unwrap_or(""), reason);
    }
    if let Some(rejection) = ctx
        .rejection
        .as_ref()
        .filter(|rejection| rejection.is_refusal())
    {
        metrics
            .rejections
            .with_label_values(&[ctx.route_name().unwrap_or(""), rejection.code()])
            .inc();
    }
    if ctx.dialect != Dialect::Http {
        let status = ctx
            .grpc_status()
            .filter(|status| *status <= GRPC_STATUS_MAX);
        let status = status.map_or_else(String::new, |status| status.to_string());
        let labels = [ctx.route_name().unwrap_or(""), dialect(ctx), &status];
        metrics.calls.with_label_values(&labels).inc();
    }
    metrics.shadowed(ctx.route_name().unwrap_or(""), ctx.shadowed());
    if ctx.cache_rule().is_some() {
        let outcome = cache::outcome(&session.cache);
        metrics
            .cache_lookups
            .with_label_values(&[ctx.route_name().unwrap_or(""), outcome])
            .inc();
    }
    if gateway.access_log.is_enabled() {
        write_line(gateway, session, ctx, connection, duration, status.as_u16());
    }
}

fn write_line(
    gateway: &Gateway,
    session: &Session,
    ctx: &RequestCtx,
    connection: Option<&Connection>,
    duration: Duration,
    status: u16,
) {
    let head = session.req_header();
    let tls = connection.and_then(|connection| connection.tls.as_ref());
    let pick = ctx.upstream.picked.as_ref();
    let admitted = ctx.admitted.as_ref();
    let caller = admitted.map(|admitted| admitted.permit.caller());
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    gateway.access_log.write(&Line {
        ts: unix_time(ctx.started.wall),
        message: "request",
        request_id: ctx.request_id.as_str(),
        trace_id: ctx.trace.trace_id(),
        client: ctx
            .client
            .as_ref()
            .map_or_else(String::new, |client| client.address.to_string()),
        protocol: protocol(session, connection),
        scheme: match &ctx.client {
            Some(client) if !client.encrypted => "http",
            Some(_) => "https",
            None => scheme(connection),
        },
        tls_version: tls.map(|tls| tls.version),
        tls_server_name: tls.and_then(|tls| tls.server_name.as_deref()),
        method: head.method.as_str(),
        host: host(head),
        path: head.uri.path(),
        route: ctx.route_name(),
        dialect: dialect(ctx),
        status,
        grpc_status: ctx.grpc_status(),
        bytes_in: session.body_bytes_read(),
        bytes_out: session.body_bytes_sent(),
        duration_ms: millis(duration),
        cluster: pick.map(|pick| &*pick.cluster.name),
        upstream: pick
            .and_then(|pick| pick.cluster.address(pick.index))
            .map(|address| address.to_string()),
        upstream_ms: ctx.upstream.first_byte.map(millis),
        attempts: ctx.upstream.attempts,
        cache: ctx.cache_rule().map(|_| cache::outcome(&session.cache)),
        subject: caller.and_then(|caller| caller.subject()),
        answered_by: if ctx.reason().is_some() || ctx.admitted.is_none() {
            "edge"
        } else {
            "upstream"
        },
        reason: ended_by(ctx).or(ctx.reason()),
        shadow: shadow(ctx.shadowed()),
        detail: ctx.error.as_deref(),
    });
}

/// `token_missing, rate_limited (per-tenant)`; with what is behind it, where something is.
fn shadow(shadowed: &[Shadowed]) -> Option<String> {
    let words = shadowed.iter().map(|refusal| {
        let more = refusal.detail.as_deref().or(refusal.rule.as_deref());
        match more {
            Some(more) => format!("{} ({more})", refusal.code),
            None => refusal.code.to_owned(),
        }
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Why the edge ended a tunnel.
fn ended_by(ctx: &RequestCtx) -> Option<&'static str> {
    ctx.tunnel.as_ref()?.ended_by.get().copied()
}

/// What the client saw, or would have seen.
fn status(session: &Session, ctx: &RequestCtx) -> http::StatusCode {
    let written = session.response_written().map(|header| header.status);
    let rejected = ctx.rejection.as_ref().map(|rejection| rejection.status());
    written
        .or(rejected)
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

/// A method that nobody knows would be a label that anybody can choose.
fn method(session: &Session) -> &str {
    match session.req_header().method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE") => {
            known
        }
        _ => "_OTHER",
    }
}

fn scheme(connection: Option<&Connection>) -> &'static str {
    match connection.map(|connection| connection.listener) {
        Some(Listener::Http) => "http",
        _ => "https",
    }
}

fn protocol(session: &Session, connection: Option<&Connection>) -> &'static str {
    if connection.is_some_and(|connection| connection.listener == Listener::Http3) {
        return "3";
    }
    if is_extended_connect(session.req_header()) {
        return "2";
    }
    match session.req_header().version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// What the client speaks.
fn dialect(ctx: &RequestCtx) -> &'static str {
    match ctx.dialect {
        Dialect::Http => "http",
        Dialect::Grpc => "grpc",
        Dialect::GrpcWeb { .. } => "grpc-web",
        Dialect::ConnectUnary(_) | Dialect::ConnectStream(_) => "connect",
    }
}

/// As the client wrote it; h2 sends it as `:authority`.
fn host(head: &RequestHeader) -> &str {
    let field = head
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    head.uri
        .authority()
        .map(|authority| authority.as_str())
        .or(field)
        .unwrap_or("")
}
