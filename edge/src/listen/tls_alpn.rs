//! Handshakes by which a certificate authority checks a name: tls-alpn-01 (RFC 8737).
//!
//! Invariant: a handshake that agreed on `acme-tls/1` never carries a request; the connection is
//! closed after it (RFC 8737, 3). Who answers is not known here, only that somebody may.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// RFC 8737, 6.2.
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where answers to challenges come from.
pub trait ChallengeCertificates: Debug + Send + Sync {
    /// The certificate that answers the challenge for a name, while one is pending.
    fn certificate(&self, server_name: &str) -> Option<Arc<CertifiedKey>>;
}

/// Let a configuration answer challenges.
pub(super) fn enable(config: &mut ServerConfig, challenges: Arc<dyn ChallengeCertificates>) {
    // Last: a client that offers HTTP as well is no authority.
    config.alpn_protocols.push(PROTOCOL.to_vec());
    config.cert_resolver = Arc::new(Resolver {
        challenges,
        inner: config.cert_resolver.clone(),
    });
}

#[derive(Debug)]
struct Resolver {
    challenges: Arc<dyn ChallengeCertificates>,
    inner: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offers = |hello: &ClientHello<'_>| {
            let mut protocols = hello.alpn()?;
            // An authority offers this one and nothing else (RFC 8737, 3).
            Some(protocols.next()? == PROTOCOL && protocols.next().is_none())
        };
        if offers(&hello) == Some(true) {
            // Without a pending challenge the handshake fails: no other certificate may answer.
            return self.challenges.certificate(hello.server_name()?);
        }
        self.inner.resolve(hello)
    }
}
