//! Who is calling: a token verified against its issuer's keys, an API key, or the certificate of
//! the handshake.
//!
//! Invariant: what is presented and does not hold makes nobody anonymous: it refuses, unless another
//! credential of the route holds. In shadow nothing of it is believed.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::header::AUTHORIZATION;
use palisade_policy::model::{
    ApiKey, ApiKeysId, Auth, CertificateMatch, Credential, IssuerId, Mode, Route,
};
use palisade_token::{Claims, Refusal, UnixTime};
use pingora_http::RequestHeader;

use super::shadow::{self, Shadowed};
use super::{Downstream, Rehearsal};
use crate::rejection::{Fault, Rejection, Unauthorized};
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// The verified caller; anonymous where the route asks for nobody, or for nobody in particular.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub claims: Option<Arc<Claims>>,
    /// Whose token it was.
    pub issuer: Option<IssuerId>,
    /// Of which set, and whose.
    pub api_key: Option<(ApiKeysId, Arc<ApiKey>)>,
    /// The subject of the certificate that the route asked for.
    pub certificate: Option<Arc<str>>,
}

impl Caller {
    /// Who it is: `sub` of the token, the name of the API key, the subject of the certificate.
    pub fn subject(&self) -> Option<&str> {
        if let Some(claims) = &self.claims {
            return claims.subject.as_deref();
        }
        let key = self.api_key.as_ref().map(|(_, key)| &*key.name);
        key.or(self.certificate.as_deref())
    }

    pub fn is_anonymous(&self) -> bool {
        self.claims.is_none() && self.api_key.is_none() && self.certificate.is_none()
    }

    pub fn scopes(&self) -> &[String] {
        match (&self.claims, &self.api_key) {
            (Some(claims), _) => &claims.scopes,
            (None, Some((_, key))) => &key.scopes,
            (None, None) => &[],
        }
    }

    pub fn roles(&self) -> &[String] {
        match (&self.claims, &self.api_key) {
            (Some(claims), _) => &claims.roles,
            (None, Some((_, key))) => &key.roles,
            (None, None) => &[],
        }
    }

    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().iter().any(|granted| granted == scope)
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles().iter().any(|carried| carried == role)
    }

    /// A claim as text; every caller has a `sub`.
    pub fn claim(&self, path: &str) -> Option<std::borrow::Cow<'_, str>> {
        match &self.claims {
            Some(claims) => claims.get_str(path),
            None if path == "sub" => self.subject().map(Into::into),
            None => None,
        }
    }
}

/// Verify what the route asks for.
pub fn verify(
    snapshot: &Snapshot,
    route: &Route,
    head: &RequestHeader,
    (downstream, now): (Downstream<'_>, Now),
    shadowed: &mut Vec<Shadowed>,
) -> Result<Caller, Rejection> {
    let Some(auth) = &route.auth else {
        return Ok(Caller::default());
    };
    let rejection = match identify(snapshot, auth, head, downstream, now) {
        Ok(caller) => return Ok(caller),
        Err(rejection) => rejection,
    };
    let mode = match auth.mode {
        // Whether it would be refused is known when the keys are.
        Mode::Shadow if downstream.keys_may_come && rejection.wants_keys() => Mode::Enforce,
        mode => mode,
    };
    let would_be = Shadowed::new("authn", &rejection);
    shadow::refuse(mode, rejection, would_be, shadowed)?;
    Ok(Caller::default())
}

/// The first credential that holds; else why the first that was presented does not.
fn identify(
    snapshot: &Snapshot,
    auth: &Auth,
    head: &RequestHeader,
    downstream: Downstream<'_>,
    now: Now,
) -> Result<Caller, Rejection> {
    let mut first = None;
    let mut token_is_tried = false;
    for credential in &auth.any_of {
        let outcome = match credential {
            // One token, whoever of the issuers is listed first.
            Credential::Jwt(_) if token_is_tried => continue,
            Credential::Jwt(_) => {
                token_is_tried = true;
                token(snapshot, auth, head, downstream.rehearsal, now)
            }
            Credential::ApiKey(set) => api_key(snapshot, *set, head),
            Credential::ClientCertificate(wanted) => certificate(wanted, downstream),
        };
        match outcome {
            Some(Ok(caller)) => return Ok(caller),
            Some(Err(fault)) => first = first.or(Some(fault)),
            None => {}
        }
    }
    match first {
        // Without keys the fault is ours, and a client must not throw its token away.
        Some(Fault::Token(Refusal::NoKeys)) => Err(Rejection::NoKeys),
        Some(Fault::Token(Refusal::NoRevocations)) => Err(Rejection::NoRevocations),
        Some(fault) => Err(unauthorized(snapshot, auth, fault)),
        None if auth.optional => Ok(Caller::default()),
        None if auth.any_of.is_empty() => Err(Rejection::Internal),
        None => Err(unauthorized(snapshot, auth, Fault::missing(auth))),
    }
}

/// With the challenges of everything that is taken (RFC 9110, 11.6.1).
fn unauthorized(snapshot: &Snapshot, auth: &Auth, fault: Fault) -> Rejection {
    let mut challenges = Vec::new();
    if auth.issuers().next().is_some() {
        let refusal = match &fault {
            Fault::Token(refusal) => refusal,
            _ => &Refusal::Missing,
        };
        challenges.extend(refusal.challenge());
    }
    for credential in &auth.any_of {
        let challenge = match credential {
            Credential::Jwt(_) => continue,
            Credential::ApiKey(set) => match snapshot.policy.api_keys.get(set.0) {
                Some(set) => format!("ApiKey header=\"{}\"", set.header),
                None => continue,
            },
            Credential::ClientCertificate(_) => "ClientCertificate".to_owned(),
        };
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    Rejection::Unauthorized(Unauthorized { fault, challenges })
}

impl Fault {
    /// Nothing was presented of what is asked for.
    fn missing(auth: &Auth) -> Self {
        match auth.any_of.as_slice() {
            [Credential::ApiKey(_)] => Self::NoApiKey,
            [Credential::ClientCertificate(_)] => Self::NoCertificate,
            all if all.iter().all(|one| matches!(one, Credential::Jwt(_))) => {
                Self::Token(Refusal::Missing)
            }
            _ => Self::NoCredential,
        }
    }
}

type Outcome = Option<Result<Caller, Fault>>;

fn token(
    snapshot: &Snapshot,
    auth: &Auth,
    head: &RequestHeader,
    rehearsal: Option<&Rehearsal>,
    now: Now,
) -> Outcome {
    if let Some(claims) = rehearsal.and_then(|rehearsal| rehearsal.claims.clone()) {
        return Some(assumed(snapshot, auth, claims));
    }
    let token = match bearer(head) {
        Ok(token) => token,
        Err(Refusal::Missing) => return None,
        Err(refusal) => return Some(Err(Fault::Token(refusal))),
    };
    let id = issuer_of(snapshot, auth, token)?;
    let issuer = snapshot.issuer(id)?;
    let time = UnixTime::from_secs(now.unix_seconds());
    let verified = snapshot.verifier.verify(issuer, token, time);
    // Behind the verifier, which remembers tokens for longer than they may be believed.
    let believed = verified.and_then(|claims| match snapshot.revocations(id) {
        Some(followed) => followed.judge(&claims, now).map(|()| claims),
        None => Ok(claims),
    });
    Some(believed.map_err(Fault::Token).map(|claims| Caller {
        claims: Some(claims),
        issuer: Some(id),
        ..Caller::default()
    }))
}

/// Claims that somebody wants to see judged count as verified by the issuer they name.
fn assumed(snapshot: &Snapshot, auth: &Auth, claims: Arc<Claims>) -> Result<Caller, Fault> {
    let is_theirs = |id: &IssuerId| {
        let issuer = snapshot.issuer(*id);
        claims.issuer.is_empty()
            || issuer.is_some_and(|issuer| issuer.spec().issuer == claims.issuer)
    };
    let issuer = auth.issuers().find(is_theirs);
    let issuer = issuer.ok_or(Fault::Token(Refusal::WrongIssuer))?;
    Ok(Caller {
        claims: Some(claims),
        issuer: Some(issuer),
        ..Caller::default()
    })
}

/// Whose keys the request's token is verified by, where it has one.
pub fn tried_issuer(snapshot: &Snapshot, auth: &Auth, head: &RequestHeader) -> Option<IssuerId> {
    issuer_of(snapshot, auth, bearer(head).ok()?)
}

/// What the token says of its issuer decides only by whose rules it is verified.
fn issuer_of(snapshot: &Snapshot, auth: &Auth, token: &str) -> Option<IssuerId> {
    let mut ids = auth.issuers();
    let first = ids.next()?;
    if ids.next().is_none() {
        return Some(first);
    }
    let named = palisade_token::unverified_issuer(token);
    let named = named.and_then(|named| {
        auth.issuers().find(|id| {
            snapshot
                .issuer(*id)
                .is_some_and(|issuer| issuer.spec().issuer == named)
        })
    });
    Some(named.unwrap_or(first))
}

fn api_key(snapshot: &Snapshot, id: ApiKeysId, head: &RequestHeader) -> Outcome {
    let set = snapshot.policy.api_keys.get(id.0)?;
    let mut values = head.headers.get_all(&set.header).iter();
    let presented = values.next()?;
    // Of two keys, who is asked first would decide.
    if values.next().is_some() {
        return Some(Err(Fault::ApiKeyUnknown));
    }
    // Looked up by its digest: how long that takes says nothing about the keys that exist.
    let digest = digest(&SHA256, presented.as_bytes());
    let known = set.keys.get(digest.as_ref()).cloned();
    Some(known.ok_or(Fault::ApiKeyUnknown).map(|key| Caller {
        api_key: Some((id, key)),
        ..Caller::default()
    }))
}

fn certificate(wanted: &CertificateMatch, downstream: Downstream<'_>) -> Outcome {
    let shown = downstream.certificate?;
    if !wanted.holds(shown) {
        return Some(Err(Fault::CertificateNotTaken));
    }
    Some(Ok(Caller {
        certificate: Some(shown.subject.into()),
        ..Caller::default()
    }))
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
