//! The admin listener: metrics, health, policies and what they do. Never through the edge.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use crate::explain::{self, Question};
use crate::listen::tls::CertificateStore;
use crate::observe::metrics::Metrics;
use crate::observe::rollback;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;
use crate::stages::cache::ResponseCache;
use palisade_policy::{PolicyStore, Rollback};
use palisade_token::Issuers;

/// Of a question: a head of the largest size that the edge takes, and claims.
const QUESTION_BYTES_MAX: usize = 256 * 1024;

/// What the pages read.
pub struct Admin {
    pub policies: Arc<PolicyStore<Snapshot>>,
    pub rollback: Rollback,
    pub metrics: Arc<Metrics>,
    pub issuers: Arc<Issuers>,
    pub certificates: Arc<CertificateStore>,
    pub cache: ResponseCache,
    pub draining: Arc<AtomicBool>,
    pub https_port: u16,
}

/// The routes of the listener.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/policy", get(policy))
        .route("/policy/history", get(rollback::history))
        .route("/policy/rollback", post(rollback::rollback))
        .route(
            "/explain",
            post(explain).layer(DefaultBodyLimit::max(QUESTION_BYTES_MAX)),
        )
        .with_state(admin)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.collect();
    match admin.metrics.text() {
        Ok(text) => {
            let content_type = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (content_type, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Red while draining, so that load balancers look elsewhere before the listeners close.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    if admin.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    (StatusCode::OK, "ready\n").into_response()
}

async fn policy(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.policies.current();
    let routes: Vec<_> = snapshot
        .policy
        .routes
        .routes()
        .map(|route| route.name.to_string())
        .collect();
    let reflection: Vec<_> = reflected(&snapshot).collect();
    Json(json!({
        "status": admin.policies.status(),
        "routes": routes,
        "reflection": reflection,
    }))
    .into_response()
}

/// Of each cluster whose endpoints are asked for descriptors.
fn reflected(snapshot: &Snapshot) -> impl Iterator<Item = serde_json::Value> {
    let now = Now::monotonic();
    snapshot.clusters().filter_map(move |cluster| {
        let status = cluster.reflected()?.status();
        let age = status
            .described_at
            .map(|at| now.saturating_duration_since(at));
        let rpcs = cluster.translator().map(|it| it.rpcs().len());
        Some(json!({
            "cluster": &*cluster.name,
            "age_s": age.map(|age| age.as_secs()),
            "services": status.services,
            "rpcs": rpcs,
            "unknown_services": status.unknown,
            "failures": status.failures,
            "error": status.error,
        }))
    })
}

/// What would become of a request now. Changes nothing, and what is asked is logged nowhere: it may
/// hold a token.
async fn explain(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    Json(mut question): Json<Question>,
) -> Response {
    if !is_local(&headers) {
        return (StatusCode::FORBIDDEN, "the host is not an address\n").into_response();
    }
    question.https_port.get_or_insert(admin.https_port);
    match explain::explain(&admin.policies.current(), &question, true) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// A page on the internet can make a browser ask here under a name of its own (DNS rebinding), but
/// not under an address; nor can it send JSON to another origin without being asked about first.
pub(super) fn is_local(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Uri>().ok());
    host.as_ref().and_then(Uri::host).is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<IpAddr>().is_ok()
    })
}

impl Admin {
    fn collect_reflection(&self, snapshot: &Snapshot, now: Instant) {
        let metrics = &self.metrics;
        metrics.reflection_age.reset();
        metrics.reflection_services.reset();
        metrics.reflection_failures.reset();
        for cluster in snapshot.clusters() {
            let Some(status) = cluster.reflected().map(|it| it.status()) else {
                continue;
            };
            let labels = [&*cluster.name];
            if let Some(at) = status.described_at {
                let age = now.saturating_duration_since(at).as_secs();
                metrics
                    .reflection_age
                    .with_label_values(&labels)
                    .set(whole(age));
            }
            metrics
                .reflection_services
                .with_label_values(&labels)
                .set(whole(status.services as u64));
            metrics
                .reflection_failures
                .with_label_values(&labels)
                .set(status.failures.into());
        }
    }

    fn collect_revocations(&self, snapshot: &Snapshot, now: Instant) {
        let metrics = &self.metrics;
        metrics.revocations_age.reset();
        metrics.revocations_connected.reset();
        metrics.revocations_entries.reset();
        for (cluster, revoked) in snapshot.revoked() {
            let labels = [cluster];
            if let Some(silence) = revoked.silence(now) {
                metrics
                    .revocations_age
                    .with_label_values(&labels)
                    .set(whole(silence.as_secs()));
            }
            metrics
                .revocations_connected
                .with_label_values(&labels)
                .set(revoked.is_connected().into());
            metrics
                .revocations_entries
                .with_label_values(&labels)
                .set(whole(revoked.entries() as u64));
        }
    }

    /// Values that are read when asked for instead of being kept up to date.
    fn collect(&self) {
        let now = Now::monotonic();
        let metrics = &self.metrics;
        let snapshot = self.policies.current();
        metrics.endpoint_up.reset();
        for cluster in snapshot.clusters() {
            for (address, up) in cluster.health(now) {
                let labels = [&*cluster.name, &*address.to_string()];
                metrics
                    .endpoint_up
                    .with_label_values(&labels)
                    .set(i64::from(up));
            }
        }
        self.collect_reflection(&snapshot, now);
        self.collect_revocations(&snapshot, now);
        metrics.limit_keys.reset();
        for limit in snapshot.limits() {
            metrics
                .limit_keys
                .with_label_values(&[&*limit.name])
                .set(whole(limit.keys()));
        }
        metrics.jwks_keys.reset();
        metrics.jwks_age.reset();
        for issuer in self.issuers.status() {
            metrics
                .jwks_keys
                .with_label_values(&[&*issuer.name])
                .set(whole(issuer.keys as u64));
            if let Some(age) = issuer.age {
                metrics
                    .jwks_age
                    .with_label_values(&[&*issuer.name])
                    .set(whole(age.as_secs()));
            }
        }
        metrics.certificate_not_after.reset();
        for certificate in self.certificates.facts() {
            metrics
                .certificate_not_after
                .with_label_values(&[&*certificate.file])
                .set(certificate.not_after);
        }
        let hosts = snapshot.policy.hosts.hosts().iter();
        let trusted = hosts.filter_map(|host| host.client_certificates.as_ref());
        for (file, end) in trusted.flat_map(|clients| &clients.expiries) {
            metrics
                .certificate_not_after
                .with_label_values(&[&**file])
                .set(*end);
        }
        let (bytes, entries) = self.cache.size();
        metrics.cache_bytes.set(whole(bytes));
        metrics.cache_entries.set(whole(entries));
        let status = self.policies.status();
        metrics.policy_info.reset();
        metrics
            .policy_info
            .with_label_values(&[&*status.hash])
            .set(whole(status.generation));
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
