//! From a session to the stages' verdict.

use std::sync::Arc;

use futures::FutureExt;
use palisade_policy::hosts::{ClientCertificates, Host, TlsVersion, TrustDomain};
use palisade_policy::routing::Certificate;
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::{Gateway, connection};
use crate::listen::connection::{TLS13, TlsFacts};
use crate::listen::extended_connect::is_extended_connect;
use crate::listen::tls::ClientCertificate;
use crate::rejection::Rejection;
use crate::request_ctx::RequestCtx;
use crate::stages::host::Proof;
use crate::stages::{self, Downstream, authn, rewrite};

impl Gateway {
    pub(super) fn downstream<'a>(
        &self,
        session: &Session,
        ctx: &RequestCtx,
        certificate: Option<&'a ClientCertificate>,
    ) -> Result<Downstream<'a>> {
        let client = ctx.client()?;
        Ok(Downstream {
            client: client.address,
            encrypted: client.encrypted,
            proof: connection(session)?.tls.as_ref().map(proof),
            certificate: certificate.map(|certificate| Certificate {
                subject: &certificate.subject,
                sans: &certificate.sans,
                sha256: &certificate.sha256,
            }),
            https_port: self.https_port,
            is_extended_connect: is_extended_connect(session.req_header()),
            request: ctx.request_id.number(),
            under_way: self.in_flight.now(),
            keys_may_come: true,
            introspected: None,
            rehearsal: None,
        })
    }

    /// Judge the request; fetch keys once where a token names one we have not seen, and ask once
    /// about an API key that nobody has asked about.
    pub(super) async fn admit(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        mut downstream: Downstream<'_>,
    ) -> Result<stages::Admitted, Box<stages::Refused>> {
        let snapshot = &ctx.snapshot;
        let mut asked = None;
        // Limits come after authn, so nothing was counted by the judgements before the last.
        loop {
            let downstream_now = Downstream {
                introspected: asked.as_ref(),
                ..downstream
            };
            let head = session.req_header_mut();
            let refused = match stages::admit(snapshot, head, downstream_now, ctx.started) {
                Ok(admitted) => return Ok(admitted),
                Err(refused) => refused,
            };
            let auth = refused.route.as_ref().and_then(|route| route.auth.as_ref());
            let Some(auth) = auth else {
                return Err(refused);
            };
            let head = session.req_header();
            match &refused.rejection {
                Rejection::NoIntrospection if asked.is_none() => {
                    let Some((introspector, digest, key)) = authn::askable(snapshot, auth, head)
                    else {
                        return Err(refused);
                    };
                    asked = Some(introspector.ask(digest, key).await);
                }
                rejection if rejection.wants_keys() && downstream.keys_may_come => {
                    let issuer = authn::tried_issuer(snapshot, auth, head);
                    let Some(issuer) = issuer.and_then(|issuer| snapshot.issuer(issuer)) else {
                        return Err(refused);
                    };
                    issuer.refetch().await;
                    // Without new keys, too: a token that nobody can verify may have kept the
                    // request from a route that asks for none.
                    downstream.keys_may_come = false;
                }
                _ => return Err(refused),
            }
        }
    }
}

/// Apart from the session, which changes while the request is judged.
pub(super) fn client_certificate(session: &Session) -> Result<Option<Arc<ClientCertificate>>> {
    let facts = connection(session)?.tls.as_ref();
    Ok(facts.and_then(|facts| facts.client.clone()))
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
    match client_certificate(session)? {
        Some(client) => {
            let (leaf, chain) = (client.leaf.clone(), client.chain.clone());
            rewrite::client_certificate(session.req_header_mut(), leaf, chain)
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
