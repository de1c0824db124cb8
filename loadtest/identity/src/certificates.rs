//! Certificates of one run: an authority, the service, the edge.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Certificate and key of a service on this machine, as PEM.
    pub(crate) fn issue(&self, service: &str) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        let name = format!("spiffe://palisade.internal/svc/{service}");
        params
            .subject_alt_names
            .push(SanType::URI(name.as_str().try_into()?));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
