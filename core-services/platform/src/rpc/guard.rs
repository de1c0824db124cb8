//! May this call reach its handler? Plain functions of facts and `now`.
//! Invariant: the peer is judged before the path is looked at, so a stranger
//! learns nothing about what is served here; a service must prove its name twice
//! and be named in the access matrix before its user's token counts.
//! Refuses to judge ownership of things: that needs the domain.

use std::sync::Arc;

use http::{Extensions, request::Parts};
use tonic::{Code, Status, transport::server::TlsConnectInfo};
use tonic_types::{ErrorDetails, StatusExt};

use super::Rules;
use crate::{
    clock::UnixMicros,
    contracts::{Access, Rpc},
    errors,
    listen::ConnectInfo,
    memory,
    peer::{self, EDGE, Peer, PeerPolicy},
    service_token,
    token::{self, Caller, Kind},
};

/// How long a sign-in counts as fresh. Long enough to fill in a form.
const STEP_UP_SECONDS_MAX: i64 = 300;

/// What is known about a call that may go on.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) peer: Peer,
    /// Absent on public and service-only RPCs.
    pub(super) caller: Option<Caller>,
}

/// Why a call may not go on. The text is for the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("peer: {0}")]
    Peer(#[from] peer::Refusal),
    #[error("no such RPC")]
    UnknownRpc,
    #[error("token: {0}")]
    Token(#[from] token::Refusal),
    #[error("scope `{0}` is missing")]
    Scope(String),
    #[error("service-only RPC called by the edge")]
    ServiceOnly,
    #[error("service token: {0}")]
    ServiceToken(#[from] service_token::Refusal),
    #[error("the access matrix does not let `{0}` call this")]
    NotInMatrix(String),
    #[error("the caller signed in too long ago")]
    StepUp,
    #[error("an API key called what asks for no permission")]
    ApiKey,
}

impl Refusal {
    /// The `reason` label of `rpc_refused_total`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::UnknownRpc => "unknown_rpc",
            Self::Token(_) => "token",
            Self::Scope(_) => "scope",
            Self::ServiceOnly => "service_only",
            Self::ServiceToken(_) => "service_token",
            Self::NotInMatrix(_) => "access_matrix",
            Self::StepUp => "step_up",
            Self::ApiKey => "api_key",
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Peer(refusal) => peer_status(&refusal),
            Refusal::UnknownRpc => {
                errors::refused(Code::Unimplemented, "UNKNOWN_RPC", "no such method")
            }
            Refusal::Token(refusal @ token::Refusal::KeysUnavailable) => {
                errors::busy(refusal.reason())
            }
            Refusal::Token(refusal) => {
                errors::refused(Code::Unauthenticated, refusal.reason(), refusal.to_string())
            }
            Refusal::Scope(scope) => errors::refused(
                Code::PermissionDenied,
                "SCOPE_MISSING",
                format!("the access token lacks the scope `{scope}`"),
            ),
            Refusal::ServiceOnly => errors::refused(
                Code::PermissionDenied,
                "SERVICE_ONLY",
                "only other services may call this",
            ),
            Refusal::ServiceToken(refusal) => service_token_status(refusal),
            Refusal::NotInMatrix(caller) => errors::refused(
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED",
                format!("service `{caller}` may not call this"),
            ),
            Refusal::StepUp => step_up_status(),
            Refusal::ApiKey => errors::refused(
                Code::PermissionDenied,
                "API_KEY_NOT_ALLOWED",
                "this is for people who have signed in, not for API keys",
            ),
        }
    }
}

/// What was wrong is for the log: the holder of a certificate may be an intruder.
fn service_token_status(refusal: service_token::Refusal) -> Status {
    use service_token::Refusal;
    match refusal {
        Refusal::Missing => errors::refused(
            Code::Unauthenticated,
            "SERVICE_TOKEN_MISSING",
            "a service token is needed",
        ),
        Refusal::Invalid(_) => errors::refused(
            Code::PermissionDenied,
            "SERVICE_TOKEN_INVALID",
            "the service token is not valid",
        ),
        Refusal::KeysUnavailable => errors::busy("SERVICE_KEYS_UNAVAILABLE"),
    }
}

/// RFC 9470 section 3: the age is told, so that a client can ask for such a sign-in.
fn step_up_status() -> Status {
    let age = STEP_UP_SECONDS_MAX.to_string();
    let details = ErrorDetails::with_error_info(
        "STEP_UP_REQUIRED",
        errors::DOMAIN,
        [("max_age".to_owned(), age)],
    );
    Status::with_error_details(Code::Unauthenticated, "a recent sign-in is needed", details)
}

/// A process we do not know gets no detail.
pub(super) fn peer_status(refusal: &peer::Refusal) -> Status {
    tracing::warn!(%refusal, "peer refused");
    errors::refused(
        Code::Unauthenticated,
        "PEER_NOT_ALLOWED",
        "the client certificate does not name an allowed service",
    )
}

/// The connection's verified peer; its certificate is parsed once per connection.
pub(super) fn peer(policy: &PeerPolicy, extensions: &Extensions) -> Result<Peer, peer::Refusal> {
    if let Some(memory::ConnectInfo(peer)) = extensions.get() {
        return Ok(peer.clone());
    }
    let tls = extensions
        .get::<TlsConnectInfo<ConnectInfo>>()
        .ok_or(peer::Refusal::NoCertificate)?;
    let known = tls.get_ref().peer.get_or_init(|| {
        let certificates = tls.peer_certs().unwrap_or_else(|| Arc::new(Vec::new()));
        policy.identify(&certificates)
    });
    known.clone()
}

pub(super) async fn judge(rules: &Rules, parts: &Parts, now: UnixMicros) -> Result<Facts, Refusal> {
    let peer = peer(&rules.peers, &parts.extensions)?;
    let rpc = rules
        .contracts
        .find(parts.uri.path())
        .ok_or(Refusal::UnknownRpc)?;
    if peer.0 != EDGE {
        service(rules, &peer, rpc, parts, now).await?;
    }
    let caller = match &rpc.access {
        // A broken token on a public RPC is nobody's business.
        Access::Public => None,
        Access::ServiceOnly if peer.0 != EDGE || is_listed(rules, &peer, rpc) => None,
        Access::ServiceOnly => return Err(Refusal::ServiceOnly),
        Access::Authenticated | Access::Permission(_) => {
            let token = token::bearer(&parts.headers)?;
            let caller = rules.verifier.admit(token, now).await?;
            authorize(rpc, &caller, now)?;
            Some(caller)
        }
    };
    Ok(Facts { peer, caller })
}

/// A service's second proof of who it is, and whether it may call.
async fn service(
    rules: &Rules,
    peer: &Peer,
    rpc: &Rpc,
    parts: &Parts,
    now: UnixMicros,
) -> Result<(), Refusal> {
    let not_listed = || Refusal::NotInMatrix(peer.0.clone());
    let tokens = rules.services.as_ref().ok_or_else(not_listed)?;
    tokens
        .verify(&parts.headers, &peer.0, rpc.service, now)
        .await?;
    if is_listed(rules, peer, rpc) {
        Ok(())
    } else {
        Err(not_listed())
    }
}

fn is_listed(rules: &Rules, peer: &Peer, rpc: &Rpc) -> bool {
    let policies = rules.policies.current();
    policies.access.allows(&peer.0, &rpc.path)
}

/// Whether this caller may call this RPC.
fn authorize(rpc: &Rpc, caller: &Caller, now: UnixMicros) -> Result<(), Refusal> {
    if let Access::Permission(scope) = &rpc.access
        && !caller.scopes.contains(scope)
    {
        return Err(Refusal::Scope(scope.clone()));
    }
    // A key has no sign-in: what needs one is not for programs.
    let signed_in = caller.auth_time.filter(|_| caller.kind == Kind::User);
    let fresh = |at: i64| now.seconds().saturating_sub(at) <= STEP_UP_SECONDS_MAX;
    if rpc.step_up && !signed_in.is_some_and(fresh) {
        return Err(Refusal::StepUp);
    }
    // A key may do what its scopes say; what names none is its owner's alone.
    if rpc.access == Access::Authenticated && caller.kind == Kind::ApiKey {
        return Err(Refusal::ApiKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn caller(scopes: &[&str]) -> Caller {
        Caller {
            user: Uuid::nil(),
            session: Uuid::nil(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            roles: Vec::new(),
            auth_time: Some(NOW.seconds() - STEP_UP_SECONDS_MAX),
            amr: Vec::new(),
            acr: None,
            kind: Kind::User,
        }
    }

    fn check(access: Access, step_up: bool, caller: &Caller, expected: Result<(), Refusal>) {
        let rpc = Rpc {
            path: "/x.v1.X/Y".to_owned(),
            service: "x",
            access,
            step_up,
        };
        assert_eq!(authorize(&rpc, caller, NOW), expected, "{rpc:?} {caller:?}");
    }

    #[test]
    fn scopes_decide() {
        let read = || Access::Permission("profile:read".to_owned());
        let refused = || Err(Refusal::Scope("profile:read".to_owned()));
        check(Access::Authenticated, false, &caller(&[]), Ok(()));
        check(read(), false, &caller(&["profile:read"]), Ok(()));
        check(
            read(),
            false,
            &caller(&["profile:readx", "profile"]),
            refused(),
        );
        check(read(), true, &caller(&[]), refused());
    }

    #[test]
    fn a_step_up_wants_a_recent_sign_in() {
        let with = |auth_time, kind| Caller {
            auth_time,
            kind,
            ..caller(&[])
        };
        let oldest = NOW.seconds() - STEP_UP_SECONDS_MAX;
        let step_up = |caller, expected| check(Access::Authenticated, true, &caller, expected);
        step_up(with(Some(oldest), Kind::User), Ok(()));
        step_up(with(Some(oldest - 1), Kind::User), Err(Refusal::StepUp));
        step_up(with(Some(i64::MIN), Kind::User), Err(Refusal::StepUp));
        step_up(with(None, Kind::User), Err(Refusal::StepUp));
        step_up(with(Some(oldest), Kind::ApiKey), Err(Refusal::StepUp));
        let status = Status::from(Refusal::StepUp);
        assert_eq!(status.code(), Code::Unauthenticated);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["max_age"].as_str()),
            ("STEP_UP_REQUIRED", "300")
        );
    }

    #[test]
    fn a_key_reaches_what_asks_for_a_permission() {
        let key = Caller {
            kind: Kind::ApiKey,
            ..caller(&["profile:read"])
        };
        let read = Access::Permission("profile:read".to_owned());
        check(read, false, &key, Ok(()));
        check(Access::Authenticated, false, &key, Err(Refusal::ApiKey));
    }

    #[test]
    fn without_tls_there_is_no_peer() {
        let policy = PeerPolicy::new("palisade.internal", &["edge".to_owned()]).unwrap();
        assert_eq!(
            peer(&policy, &Extensions::new()),
            Err(peer::Refusal::NoCertificate)
        );
    }
}
