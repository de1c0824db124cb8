//! May this call reach its handler? Plain functions of facts and `now`.
//! Invariant: the peer is judged before the path is looked at, so a stranger
//! learns nothing about what is served here.
//! Refuses to judge ownership of things: that needs the domain.

use std::sync::Arc;

use http::{Extensions, request::Parts};
use tonic::{Code, Status, transport::server::TlsConnectInfo};

use super::Rules;
use crate::{
    clock::UnixMicros,
    contracts::Access,
    errors,
    listen::ConnectInfo,
    peer::{self, EDGE, Peer, PeerPolicy},
    token::{self, Caller},
};

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
        }
    }
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
    let tls = extensions
        .get::<TlsConnectInfo<ConnectInfo>>()
        .ok_or(peer::Refusal::NoCertificate)?;
    let known = tls.get_ref().peer.get_or_init(|| {
        let certificates = tls.peer_certs().unwrap_or_else(|| Arc::new(Vec::new()));
        policy.identify(&certificates)
    });
    known.clone()
}

pub(super) fn judge(rules: &Rules, parts: &Parts, now: UnixMicros) -> Result<Facts, Refusal> {
    let peer = peer(&rules.peers, &parts.extensions)?;
    let rpc = rules
        .contracts
        .find(parts.uri.path())
        .ok_or(Refusal::UnknownRpc)?;
    let caller = authorize(&rpc.access, &peer, || {
        rules.verifier.verify(token::bearer(&parts.headers)?, now)
    })?;
    Ok(Facts { peer, caller })
}

/// `caller` is only asked for where the access option wants one: a broken token
/// on a public RPC is nobody's business.
fn authorize(
    access: &Access,
    peer: &Peer,
    caller: impl FnOnce() -> Result<Caller, token::Refusal>,
) -> Result<Option<Caller>, Refusal> {
    match access {
        Access::Public => Ok(None),
        Access::ServiceOnly if peer.0 == EDGE => Err(Refusal::ServiceOnly),
        Access::ServiceOnly => Ok(None),
        Access::Authenticated => Ok(Some(caller()?)),
        Access::Permission(scope) => {
            let caller = caller()?;
            if caller.scopes.iter().any(|held| held == scope) {
                Ok(Some(caller))
            } else {
                Err(Refusal::Scope(scope.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn caller(scopes: &[&str]) -> Caller {
        Caller {
            user: Uuid::nil(),
            session: Uuid::nil(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            roles: Vec::new(),
        }
    }

    #[test]
    fn access_options_decide() {
        let expired = || Err(token::Refusal::Expired);
        let check = |access: Access,
                     peer: &str,
                     given: Result<Caller, token::Refusal>,
                     expected: Result<bool, Refusal>| {
            let got = authorize(&access, &Peer(peer.to_owned()), || given);
            assert_eq!(
                got.map(|caller| caller.is_some()),
                expected,
                "{access:?} {peer}"
            );
        };
        let read = || Access::Permission("profile:read".to_owned());
        check(Access::Public, "edge", expired(), Ok(false));
        check(
            Access::Authenticated,
            "edge",
            expired(),
            Err(token::Refusal::Expired.into()),
        );
        check(Access::Authenticated, "edge", Ok(caller(&[])), Ok(true));
        check(read(), "edge", Ok(caller(&["profile:read"])), Ok(true));
        check(
            read(),
            "edge",
            Ok(caller(&["profile:readx", "profile"])),
            Err(Refusal::Scope("profile:read".to_owned())),
        );
        check(
            read(),
            "edge",
            expired(),
            Err(token::Refusal::Expired.into()),
        );
        check(
            Access::ServiceOnly,
            "edge",
            Ok(caller(&[])),
            Err(Refusal::ServiceOnly),
        );
        check(Access::ServiceOnly, "order", expired(), Ok(false));
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
