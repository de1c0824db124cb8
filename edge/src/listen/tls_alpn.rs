//! Handshakes by which a certificate authority checks a name: tls-alpn-01 (RFC 8737).
//!
//! Invariant: a handshake that agreed on `acme-tls/1` never carries a request; the connection is
//! closed after it (RFC 8737, 3). Who answers is not known here, only that somebody may.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// RFC 8737, 6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where answers to challenges come from.
pub trait ChallengeCertificates: Debug + Send + Sync {
    /// The certificate that answers the challenge for a name, while one is pending.
    fn certificate(&self, server_name: &str) -> Option<Arc<CertifiedKey>>;
}

/// Whether the client is an authority that checks a name: it offers this protocol and no other
/// (RFC 8737, 3).
pub(super) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    protocols.next() == Some(PROTOCOL) && protocols.next().is_none()
}

/// The configuration for such handshakes and no others. It gives no tickets.
pub(super) fn config(
    challenges: Arc<dyn ChallengeCertificates>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Pending(challenges)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pending(Arc<dyn ChallengeCertificates>);

impl ResolvesServerCert for Pending {
    /// Without a pending challenge the handshake fails: no other certificate may answer.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate(hello.server_name()?)
    }
}
