//! The operators' listener: health, readiness, metrics, and what a service adds.
//! Invariant: read-only, plain HTTP/1.1, on its own address, never through the edge.
//! Refuses slow and endless connections: each is cut after `CONNECTION_MAX`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};

use crate::{health::Health, listen::Listener, metrics::Metrics, policy::PolicyStore};

/// Probes, a scraper and a few people.
pub const CONNECTIONS_MAX: usize = 32;
/// A head that isn't here by then isn't coming; also the longest idle time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than any answer takes; frees the slot of a reader that stopped reading.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// Probes send a few hundred bytes; hyper's smallest allowed is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub policies: Arc<PolicyStore>,
    pub version: &'static str,
    /// Each with the version of its tables.
    pub schemas: BTreeMap<&'static str, i64>,
}

/// `/health`, `/ready`, `/status` and `/metrics`; services merge theirs in.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/health", get(report))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(scrape))
        .with_state(shown)
}

/// Serves until the task is dropped.
pub async fn serve(listener: Listener, router: Router) {
    loop {
        let connection = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(connection), service);
            // A scraper that hung up, or was cut: its own log says so.
            let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
        });
    }
}

/// Always 200 while the process can answer: a liveness probe must not restart
/// it because of its database.
async fn report(State(shared): State<Shown>) -> Response {
    Json(shared.health.report().await).into_response()
}

async fn ready(State(shared): State<Shown>) -> Response {
    if shared.health.ready().await {
        (StatusCode::OK, Json(serde_json::json!({ "ready": true }))).into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(serde_json::json!({ "ready": false })),
        )
            .into_response()
    }
}

/// What runs here, and why the newest policies are not in force if they are not.
async fn status(State(shared): State<Shown>) -> Response {
    let report = shared.health.report().await;
    let refused = shared.policies.refused();
    Json(serde_json::json!({
        "version": shared.version,
        "status": report.status,
        "uptime_seconds": report.uptime_seconds,
        "schemas": shared.schemas,
        "policies": {
            "generation": shared.policies.generation(),
            "refused": refused.map(|diagnostics| diagnostics.0.clone()),
        },
    }))
    .into_response()
}

async fn scrape(State(shared): State<Shown>) -> Response {
    match shared.metrics.render() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
