//! The history of policies, and the way back to one of them.
//!
//! Refuses what a web page could send: the admin listener knows no passwords, and a browser beside
//! it reaches it.

use std::net::IpAddr;
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

use super::admin::Admin;

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

/// A page names its origin; one whose name was pointed here names that as the host (DNS rebinding).
fn is_no_page(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Err("pages may not change policies");
    }
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "none" && site != "same-origin") {
        return Err("pages of other sites may not change policies");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_address) {
        return Err("the host must be an address or localhost");
    }
    Ok(())
}

/// `127.0.0.1:9901`, `[::1]`, `localhost:9901`.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn names_are_no_addresses() {
        for host in ["127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost", "10.0.0.1"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["evil.example:9901", "127.0.0.1.evil.example", "localhost.evil", ""] {
            assert!(!is_address(host), "{host}");
        }
    }
}
