//! Who is calling: the bearer token, verified against the issuer's keys at `now`.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use palisade_policy::model::{Auth, IssuerId, Route};
use palisade_token::{Claims, Refusal, UnixTime};
use pingora_http::RequestHeader;

use super::Rehearsal;
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// The verified caller; anonymous where the route asks for nobody, or for nobody in particular.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub claims: Option<Arc<Claims>>,
    /// Whose token it was.
    pub issuer: Option<IssuerId>,
}

/// Verify what the route asks for.
pub fn verify(
    snapshot: &Snapshot,
    route: &Route,
    head: &RequestHeader,
    rehearsal: Option<&Rehearsal>,
    now: Now,
) -> Result<Caller, Rejection> {
    let Some(auth) = &route.auth else {
        return Ok(Caller::default());
    };
    if let Some(claims) = rehearsal.and_then(|rehearsal| rehearsal.claims.as_ref()) {
        return assumed(snapshot, auth, claims);
    }
    match bearer(head) {
        Ok(token) => verify_token(snapshot, auth, token, now),
        Err(refusal) if auth.optional && refusal == Refusal::Missing => Ok(Caller::default()),
        Err(refusal) => Err(Rejection::Unauthorized(refusal)),
    }
}

/// Claims that count as a verified token of the issuer they name; without one, of the first.
fn assumed(snapshot: &Snapshot, auth: &Auth, claims: &Arc<Claims>) -> Result<Caller, Rejection> {
    let is_theirs = |id: &IssuerId| {
        let spec = snapshot.policy.issuers.get(id.0);
        claims.issuer.is_empty() || spec.is_some_and(|spec| spec.issuer == claims.issuer)
    };
    let issuer = auth.issuers().find(is_theirs);
    Ok(Caller {
        issuer: Some(issuer.ok_or(Rejection::Unauthorized(Refusal::WrongIssuer))?),
        claims: Some(claims.clone()),
    })
}

fn verify_token(
    snapshot: &Snapshot,
    auth: &Auth,
    token: &str,
    now: Now,
) -> Result<Caller, Rejection> {
    let id = auth.issuers().next().ok_or(Rejection::Internal)?;
    let issuer = snapshot.issuer(id).ok_or(Rejection::Internal)?;
    let claims = snapshot
        .verifier
        .verify(issuer, token, UnixTime::from_secs(now.unix_seconds()))
        .map_err(rejection)?;
    Ok(Caller {
        claims: Some(claims),
        issuer: Some(id),
    })
}

/// Without keys the fault is ours, and a client must not throw its token away.
fn rejection(refusal: Refusal) -> Rejection {
    match refusal {
        Refusal::NoKeys => Rejection::NoKeys,
        refusal => Rejection::Unauthorized(refusal),
    }
}

/// RFC 6750, 2.1: in the header field only; a token in a query would be logged on its way.
fn bearer(head: &RequestHeader) -> Result<&str, Refusal> {
    let value = head.headers.get(AUTHORIZATION).ok_or(Refusal::Missing)?;
    let text = value
        .to_str()
        .map_err(|_| Refusal::Malformed("the authorization field is not text"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim_matches(' '))
        }
        _ => Err(Refusal::Malformed("the authorization scheme is not bearer")),
    }
}
