//! From a session to the stages' verdict.

use futures::FutureExt;
use palisade_policy::hosts::{ClientCertificates, Host, TlsVersion, TrustDomain};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::{Gateway, connection};
use crate::listen::connection::{TLS13, TlsFacts};
use crate::listen::extended_connect::is_extended_connect;
use crate::request_ctx::RequestCtx;
use crate::stages::host::Proof;
use crate::stages::{self, Downstream, rewrite};

impl Gateway {
    pub(super) fn downstream(
        &self,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Result<Downstream<'static>> {
        let client = ctx.client()?;
        Ok(Downstream {
            client: client.address,
            encrypted: client.encrypted,
            proof: connection(session)?.tls.as_ref().map(proof),
            https_port: self.https_port,
            is_extended_connect: is_extended_connect(session.req_header()),
            certificate: None,
            keys_may_come: true,
            rehearsal: None,
        })
    }

    /// Judge the request; fetch keys once where a token names one we have not seen.
    pub(super) async fn admit(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        downstream: Downstream<'_>,
    ) -> Result<stages::Admitted, stages::Refused> {
        let head = session.req_header_mut();
        let refused = match stages::admit(&ctx.snapshot, head, downstream, ctx.started) {
            Ok(admitted) => return Ok(admitted),
            Err(refused) => refused,
        };
        let auth = refused
            .route
            .as_ref()
            .and_then(|route| route.auth.as_ref())
            .filter(|_| refused.rejection.wants_keys());
        let issuer = auth.and_then(|auth| auth.issuers().next());
        let issuer = issuer.and_then(|issuer| ctx.snapshot.issuer(issuer));
        let Some(issuer) = issuer else {
            return Err(refused);
        };
        issuer.refetch().await;
        // Without new keys too: a token that nobody can verify may have kept the request from a
        // route that asks for none. Limits come after authn, so nothing was counted yet.
        let downstream = Downstream {
            keys_may_come: false,
            ..downstream
        };
        let head = session.req_header_mut();
        stages::admit(&ctx.snapshot, head, downstream, ctx.started)
    }
}

fn proof(facts: &TlsFacts) -> Proof {
    Proof {
        version: if facts.version == TLS13 {
            TlsVersion::Tls13
        } else {
            TlsVersion::Tls12
        },
        trust_domain: facts.trust_domain.map(TrustDomain),
        client_until: facts.client.as_ref().map(|client| client.not_after),
    }
}

/// Upstreams of some hosts are told who connected.
pub(super) fn tell_certificate(session: &mut Session, rules: &Host) -> Result<()> {
    let forward = |clients: &ClientCertificates| clients.forward;
    if !rules.client_certificates.as_ref().is_some_and(forward) {
        return Ok(());
    }
    let facts = connection(session)?.tls.as_ref();
    let client = facts.and_then(|facts| facts.client.clone());
    match client {
        Some(client) => {
            rewrite::client_certificate(session.req_header_mut(), client.leaf, client.chain)
        }
        None => Ok(()),
    }
}

/// A stream that was reset while its upstream was being connected: sent on, its request would be one
/// whose body never ends.
pub(super) fn refuse_if_gone(session: &mut Session) -> Result<()> {
    let gone = match session.as_downstream_mut() {
        ServerSession::H2(stream) => stream.idle().now_or_never().is_some(),
        _ => false,
    };
    if gone {
        let error = Error::explain(ErrorType::ConnectionClosed, "the client reset its stream");
        return Err(error.into_down());
    }
    Ok(())
}
