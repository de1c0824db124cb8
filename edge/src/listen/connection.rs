//! What is known of a downstream connection, carried to every request on it.
//!
//! Pingora hands a request the `Digest` of its connection; of that, only the
//! proxy digest takes data of another type, so that is where these facts travel.
//! The same type serves TCP, TLS and QUIC: stages never ask which it was.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::{HeaderValue, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;

use super::tls::ClientCertificate;

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
    /// The client's address without port, as headers carry it: made once for all its requests.
    pub client_text: HeaderValue,
    pub local: SocketAddr,
    pub tls: Option<TlsFacts>,
    pub head_deadline: HeadDeadline,
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
    pub client: Option<ClientCertificate>,
}

/// Whether the client still owes us a request head.
///
/// Pingora reads the head before any filter runs and has no total deadline for it, so the
/// stream below enforces one while this is armed; the first filter disarms it.
#[derive(Debug, Default)]
pub struct HeadDeadline(AtomicU8);

const DISARMED: u8 = 0;
const ARMED: u8 = 1;
/// Armed for another request since the stream looked last.
const ARMED_AGAIN: u8 = 2;

impl HeadDeadline {
    /// For the first request of a connection.
    pub(super) fn arm(&self) {
        self.0.store(ARMED, Ordering::Relaxed);
    }

    /// For the next one: what was counted for the one before is forgotten.
    pub(super) fn arm_again(&self) {
        self.0.store(ARMED_AGAIN, Ordering::Relaxed);
    }

    pub fn disarm(&self) {
        self.0.store(DISARMED, Ordering::Relaxed);
    }

    pub(super) fn is_armed(&self) -> bool {
        self.0.load(Ordering::Relaxed) != DISARMED
    }

    /// True once for each `arm_again`.
    pub(super) fn take_armed_again(&self) -> bool {
        let again = self.0.load(Ordering::Relaxed) == ARMED_AGAIN;
        if again {
            self.arm();
        }
        again
    }
}

impl Connection {
    /// The facts behind a request's digest; present on every session that our listeners make.
    pub fn of(digest: Option<&Digest>) -> Option<&Self> {
        let user_data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        user_data.downcast_ref::<Arc<Self>>().map(Arc::as_ref)
    }

    /// An address as a header value.
    pub(super) fn text(client: IpAddr) -> HeaderValue {
        // Digits, dots, colons and a-f: always a header value.
        HeaderValue::from_str(&client.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Wrap the facts in what Pingora carries.
    pub(super) fn into_digest(self: Arc<Self>) -> Arc<ProxyDigest> {
        let header = ResponseHeader::build(StatusCode::OK, Some(0))
            .expect("a response header without fields can always be built");
        Arc::new(ProxyDigest::new(Box::new(header), Some(Box::new(self))))
    }
}
