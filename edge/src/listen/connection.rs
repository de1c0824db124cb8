//! What is known of a downstream connection, carried to every request on it.
//!
//! Pingora hands a request the `Digest` of its connection; of that, only the
//! proxy digest takes data of another type, so that is where these facts travel.
//! The same type serves TCP, TLS and QUIC: stages never ask which it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;

use super::tls::ClientCertificate;
use super::{BodyClock, Recall};

/// Which of our sockets a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Plain text over TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// QUIC.
    Http3,
}

/// Facts of one downstream connection.
#[derive(Debug)]
pub struct Connection {
    pub listener: Listener,
    pub client: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<TlsFacts>,
    pub tunnel: Tunnel,
    /// Of HTTP/1.1, over all requests of the connection.
    pub body_clock: Arc<BodyClock>,
    /// Of HTTP/1.1: of the request under way.
    pub recall: Arc<Recall>,
}

/// The newest version's name.
pub const TLS13: &str = "TLSv1.3";

/// Facts of the handshake.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// As the access log prints it: [`TLS13`].
    pub version: &'static str,
    /// Server Name Indication, lower case, without final dot.
    pub server_name: Option<String>,
    /// Whose client certificates the handshake asked for (`tls::ClientTrust::domain`).
    pub trust_domain: Option<[u8; 32]>,
    /// Verified.
    pub client: Option<Arc<ClientCertificate>>,
}

/// Whether the upstream agreed to another protocol (101): from then on the client's bytes are not
/// requests, and nobody judges them.
#[derive(Debug, Default)]
pub struct Tunnel(AtomicBool);

impl Tunnel {
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// The facts behind a request's digest; present on every session that our listeners make.
    pub fn of(digest: Option<&Digest>) -> Option<&Self> {
        let user_data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        user_data.downcast_ref::<Arc<Self>>().map(Arc::as_ref)
    }

    /// Wrap the facts in what Pingora carries.
    pub(super) fn into_digest(self: Arc<Self>) -> Arc<ProxyDigest> {
        let header = ResponseHeader::build(StatusCode::OK, Some(0))
            .expect("a response header without fields can always be built");
        Arc::new(ProxyDigest::new(Box::new(header), Some(Box::new(self))))
    }
}
