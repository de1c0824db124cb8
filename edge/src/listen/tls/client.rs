//! What is known of a client by its certificate: read once for all requests of a connection.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest chain that upstreams are told: servers take about 8 KiB of header in all.
const CHAIN_BYTES_MAX: usize = 6 * 1024;

/// A certificate that was verified, as upstreams are told it (RFC 9440).
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Unix seconds; the connection may outlive it.
    pub not_after: i64,
    /// `client-cert`: the certificate as a structured byte sequence.
    pub leaf: HeaderValue,
    /// `client-cert-chain`: the others the client sent, unless they are too many.
    pub chain: Option<HeaderValue>,
}

impl ClientCertificate {
    /// None without a certificate.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> io::Result<Option<Self>> {
        let Some((leaf, rest)) = chain.split_first() else {
            return Ok(None);
        };
        // It was verified, so only what the verifier does not read can be wrong.
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(io::Error::other)?;
        let rest: Vec<String> = rest.iter().map(|one| byte_sequence(one)).collect();
        let rest =
            Some(rest.join(", ")).filter(|text| !text.is_empty() && text.len() <= CHAIN_BYTES_MAX);
        let value = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
        Ok(Some(Self {
            not_after: parsed.validity().not_after.timestamp(),
            leaf: value(byte_sequence(leaf))?,
            chain: rest.map(value).transpose()?,
        }))
    }
}

/// RFC 9651, 3.3.5.
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}
