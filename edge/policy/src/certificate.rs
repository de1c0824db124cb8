//! What is known of a verified client certificate, and whether it is the one that is asked for.

use crate::model::CertificateMatch;

/// Facts of a certificate that the handshake verified.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// As RFC 4514 writes it.
    pub subject: &'a str,
    /// Subject alternative names: DNS names, URIs, mail addresses.
    pub sans: &'a [String],
    /// Of the certificate in DER.
    pub sha256: &'a [u8; 32],
}

impl CertificateMatch {
    /// What is given must all hold.
    pub fn holds(&self, certificate: Certificate<'_>) -> bool {
        let subject = self.subject.as_ref();
        let san = self.san.as_ref();
        subject.is_none_or(|wanted| wanted.holds(certificate.subject))
            && san.is_none_or(|wanted| certificate.sans.iter().any(|san| wanted.holds(san)))
            && self
                .sha256
                .as_ref()
                .is_none_or(|wanted| wanted == certificate.sha256)
    }
}
