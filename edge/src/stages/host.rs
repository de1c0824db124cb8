//! The handshake that a host needs, against the one that was made.
//!
//! A connection is chosen by its server name, a request by its authority, and clients may send
//! requests for one host over a connection for another (RFC 9113, 9.1.1). That is served where
//! both ask for the same proof, and answered 421 where they do not.

use palisade_policy::hosts::{Host, TlsVersion, TrustDomain};

use super::Downstream;
use crate::rejection::Rejection;
use crate::request_ctx::Now;

/// What the handshake of a request's connection proved.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    pub version: TlsVersion,
    /// Whose client certificates were asked for.
    pub trust_domain: Option<TrustDomain>,
    /// The second at which the client's certificate ends, where it showed one.
    pub client_until: Option<i64>,
}

/// Whether requests for the host may come in by this connection.
pub fn check(host: &Host, downstream: Downstream<'_>, now: Now) -> Result<(), Rejection> {
    let clients = host.client_certificates.as_ref();
    let Some(proof) = downstream.proof else {
        // In plain text nobody proves anything: a proxy that ended TLS for the client did not
        // show us its certificate, and everybody else is sent to https by the route.
        let proof_is_missing = downstream.encrypted && clients.is_some();
        return if proof_is_missing {
            Err(Rejection::Misdirected)
        } else {
            Ok(())
        };
    };
    // A new bundle is a new domain: what was proved by the old one holds no longer.
    let same_trust = clients.map(|clients| clients.trust_domain) == proof.trust_domain;
    let shown = proof.client_until.is_some() || !clients.is_some_and(|clients| clients.required);
    let ended = proof
        .client_until
        .is_some_and(|until| u64::try_from(until).unwrap_or(0) < now.unix_seconds());
    if proof.version < host.min_version || !same_trust || !shown || ended {
        return Err(Rejection::Misdirected);
    }
    Ok(())
}
