//! Who is calling: a token verified against its issuer's keys, an API key, or the certificate of
//! the handshake.
//!
//! Invariant: what is presented and does not hold makes nobody anonymous: it refuses, unless another
//! credential of the route holds. In shadow nothing of it is believed.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use palisade_policy::model::{
    ApiKey, ApiKeys, ApiKeysId, Auth, CertificateMatch, Credential, Introspect, IssuerId, Mode,
    Route,
};
use palisade_token::{Claims, Refusal, UnixTime};
use pingora_http::RequestHeader;

use super::shadow::{self, Shadowed};
use super::{Downstream, Rehearsal};
use crate::identity::{Digest, Introspected, Introspector};
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
    /// `authorization` that stands for the API key, which was traded for the claims.
    pub traded: Option<HeaderValue>,
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
        Mode::Shadow if downstream.may_still_hold(&rejection) => Mode::Enforce,
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
            Credential::ApiKey(set) => api_key(snapshot, *set, head, downstream, now),
            Credential::ClientCertificate(wanted) => certificate(wanted, downstream),
        };
        match outcome {
            Some(Ok(caller)) => return Ok(caller),
            // It may hold, whatever is wrong with another one.
            Some(Err(Fault::ApiKeyUnasked)) => first = Some(Fault::ApiKeyUnasked),
            Some(Err(fault)) => first = first.or(Some(fault)),
            None => {}
        }
    }
    match first {
        // Without keys the fault is ours, and a client must not throw its token away.
        Some(Fault::Token(Refusal::NoKeys)) => Err(Rejection::NoKeys),
        Some(Fault::Token(Refusal::NoRevocations)) => Err(Rejection::NoRevocations),
        Some(Fault::ApiKeyUnasked) => Err(Rejection::NoIntrospection),
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
    let believed = believed(snapshot, id, token, now);
    Some(believed.map_err(Fault::Token).map(|claims| Caller {
        claims: Some(claims),
        issuer: Some(id),
        ..Caller::default()
    }))
}

/// The claims of a token that its issuer's rules and keys let through, and that is not dead.
fn believed(
    snapshot: &Snapshot,
    id: IssuerId,
    token: &str,
    now: Now,
) -> Result<Arc<Claims>, Refusal> {
    let issuer = snapshot.issuer(id).ok_or(Refusal::NoKeys)?;
    let time = UnixTime::from_secs(now.unix_seconds());
    let claims = snapshot.verifier.verify(issuer, token, time)?;
    // Behind the verifier, which remembers tokens for longer than they may be believed.
    if let Some(followed) = snapshot.revocations(id) {
        followed.judge(&claims, now)?;
    }
    Ok(claims)
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

/// Whose keys the request's token is verified by, or what its API key was traded for.
pub fn tried_issuer(snapshot: &Snapshot, auth: &Auth, head: &RequestHeader) -> Option<IssuerId> {
    if let Ok(token) = bearer(head) {
        return issuer_of(snapshot, auth, token);
    }
    auth.any_of.iter().find_map(|credential| match credential {
        Credential::ApiKey(id) => {
            let set = snapshot.policy.api_keys.get(id.0)?;
            Some(set.introspect.as_ref()?.issuer)
        }
        _ => None,
    })
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

fn api_key(
    snapshot: &Snapshot,
    id: ApiKeysId,
    head: &RequestHeader,
    downstream: Downstream<'_>,
    now: Now,
) -> Outcome {
    let set = snapshot.policy.api_keys.get(id.0)?;
    let presented = match presented(set, head)? {
        Ok(presented) => presented,
        Err(fault) => return Some(Err(fault)),
    };
    let digest = sha256(presented);
    let known = set.keys.get(&digest).cloned();
    Some(match (known, &set.introspect) {
        (Some(key), _) => Ok(Caller {
            api_key: Some((id, key)),
            ..Caller::default()
        }),
        (None, Some(rule)) => traded(snapshot, rule, &digest, downstream, now),
        (None, None) => Err(Fault::ApiKeyUnknown),
    })
}

/// None where there is no key.
fn presented<'h>(set: &ApiKeys, head: &'h RequestHeader) -> Option<Result<&'h HeaderValue, Fault>> {
    let mut values = head.headers.get_all(&set.header).iter();
    let presented = values.next()?;
    // Of two keys, who is asked first would decide.
    if values.next().is_some() {
        return Some(Err(Fault::ApiKeyUnknown));
    }
    Some(Ok(presented))
}

/// Looked up by its digest: how long that takes says nothing about the keys that exist.
fn sha256(key: &HeaderValue) -> Digest {
    let mut sha256 = Digest::default();
    sha256.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    sha256
}

/// The caller whom the key's access token names.
fn traded(
    snapshot: &Snapshot,
    rule: &Introspect,
    digest: &Digest,
    downstream: Downstream<'_>,
    now: Now,
) -> Result<Caller, Fault> {
    let asked = downstream.introspected;
    let asked = asked.filter(|asked| !matches!(asked, Introspected::Unavailable));
    let known = asked.cloned().or_else(|| {
        let introspector = snapshot.introspector(rule.cluster)?;
        introspector.known(digest)
    });
    let key = match known {
        Some(Introspected::Key(key)) => key,
        Some(Introspected::Unknown) => return Err(Fault::ApiKeyUnknown),
        Some(Introspected::Unavailable) | None => return Err(Fault::ApiKeyUnasked),
    };
    match believed(snapshot, rule.issuer, &key.token, now) {
        Ok(claims) => Ok(Caller {
            claims: Some(claims),
            issuer: Some(rule.issuer),
            traded: Some(key.authorization.clone()),
            ..Caller::default()
        }),
        // The key itself may hold: who was asked just now knows.
        Err(Refusal::Revoked | Refusal::Expired) if asked.is_some() => Err(Fault::ApiKeyUnknown),
        Err(refusal @ (Refusal::NoKeys | Refusal::NoRevocations)) => Err(Fault::Token(refusal)),
        Err(refusal) if downstream.keys_may_come && refusal.wants_refetch() => {
            Err(Fault::Token(refusal))
        }
        // What the service gave for it is of no use: not the caller's fault.
        Err(_) => Err(Fault::ApiKeyUnasked),
    }
}

/// The request's API key where somebody may be asked about it, its digest, and who is asked.
pub fn askable<'s, 'h>(
    snapshot: &'s Snapshot,
    auth: &Auth,
    head: &'h RequestHeader,
) -> Option<(&'s Arc<Introspector>, Digest, &'h str)> {
    auth.any_of.iter().find_map(|credential| {
        let Credential::ApiKey(id) = credential else {
            return None;
        };
        let set = snapshot.policy.api_keys.get(id.0)?;
        let introspector = snapshot.introspector(set.introspect.as_ref()?.cluster)?;
        let key = presented(set, head)?.ok()?;
        Some((introspector, sha256(key), key.to_str().unwrap_or_default()))
    })
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
