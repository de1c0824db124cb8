//! The client's certificate, as rules compare it.

use crate::model::CertificateMatch;

/// What a verified client certificate says; a certificate that was not verified is none.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// As RFC 4514 writes it: `CN=billing,O=Example`.
    pub subject: &'a str,
    /// Subject alternative names: DNS names, URIs, mail addresses.
    pub sans: &'a [String],
    /// Of the certificate in DER.
    pub sha256: &'a [u8; 32],
}

impl CertificateMatch {
    /// Whether all that is asked for holds; of several alternative names one is enough.
    pub fn holds(&self, certificate: Certificate<'_>) -> bool {
        let holds = |name: &str, wanted: &crate::model::ValueMatch| wanted.holds(name.as_bytes());
        self.subject
            .as_ref()
            .is_none_or(|wanted| holds(certificate.subject, wanted))
            && self
                .san
                .as_ref()
                .is_none_or(|wanted| certificate.sans.iter().any(|san| holds(san, wanted)))
            && self
                .sha256
                .is_none_or(|wanted| wanted == *certificate.sha256)
    }
}
