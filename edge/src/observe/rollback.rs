//! The history of policies, and the way back to one of them.
//!
//! Refuses what a web page could send: the admin listener knows no passwords, and a browser beside
//! it reaches it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use palisade_policy::RollbackError;
use palisade_policy::history::{Changes, Entry};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::admin::{Admin, is_local};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Without it, the policy that was in force before this one.
    generation: Option<u64>,
}

pub(super) async fn history(State(admin): State<Arc<Admin>>) -> Response {
    let history = admin.policies.history();
    let history: Vec<Value> = history
        .iter()
        .map(|(entry, changes)| page(entry, changes.as_ref()))
        .collect();
    Json(json!({ "status": admin.policies.status(), "history": history })).into_response()
}

fn page(entry: &Entry, changes: Option<&Changes>) -> Value {
    json!({
        "generation": entry.generation,
        "hash": entry.hash,
        "at": entry.at(),
        "origin": entry.origin,
        "routes": entry.routes,
        "files": entry.files,
        "tombstones": entry.tombstones,
        "changes": changes,
    })
}

pub(super) async fn rollback(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Response {
    if let Err(why) = is_no_page(&headers) {
        warn!(why, "a rollback was refused");
        return complaint(StatusCode::FORBIDDEN, why);
    }
    // Pages can post forms anywhere, but no JSON without asking first (the Fetch standard, "CORS
    // protocol"); axum takes nothing else.
    let wish = match wish {
        Ok(Json(wish)) => wish,
        Err(rejection) => return complaint(rejection.status(), &rejection.body_text()),
    };
    match admin.rollback.to(wish.generation).await {
        Ok(status) => Json(json!({ "status": status })).into_response(),
        Err(error) => {
            let status = match error {
                RollbackError::Unknown(_) | RollbackError::NoneBefore => StatusCode::NOT_FOUND,
                RollbackError::Ended => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            complaint(status, &error.to_string())
        }
    }
}

fn complaint(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// A page names its origin, or its browser tells what it is.
fn is_no_page(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Err("pages may not change policies");
    }
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "none" && site != "same-origin") {
        return Err("pages of other sites may not change policies");
    }
    if !is_local(headers) {
        return Err("the host must be an address or localhost");
    }
    Ok(())
}
