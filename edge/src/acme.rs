//! Certificates by ACME, joined to the edge: flags to settings, challenges to listeners.

use std::sync::Arc;

use anyhow::{Context, ensure};
use palisade_acme::{ChallengeType, Pending, Renewer, Settings};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::config::RunArgs;
use crate::listen::tls_alpn::ChallengeCertificates;

/// What ACME brings to an edge that uses it.
pub struct Acme {
    pub renewer: Renewer,
    /// Presented until the first order succeeds, so that the edge can start and be asked for proof.
    /// In memory only, and trusted by nobody.
    pub temporary: Arc<CertifiedKey>,
    /// Answers to tls-alpn-01; none where names are proved by http-01.
    pub certificates: Option<Arc<dyn ChallengeCertificates>>,
}

impl Acme {
    /// None where no domain is given.
    pub fn prepare(args: &RunArgs) -> anyhow::Result<Option<Self>> {
        let acme = &args.acme;
        if acme.domains.is_empty() {
            return Ok(None);
        }
        ensure!(
            acme.agree_tos,
            "certificates of `{}` need your agreement to its terms of service, hint: --acme-agree-tos",
            acme.directory
        );
        let renewer = Renewer::new(Settings {
            names: acme.domains.clone(),
            contact: acme.email.clone(),
            directory: acme.directory.clone(),
            challenge: acme.challenge,
            authority: acme.ca.clone(),
            certificates: args.certs.clone(),
            state: args.state.join("acme"),
        })
        .context("acme")?;
        let pending: Arc<dyn ChallengeCertificates> = renewer.pending();
        Ok(Some(Self {
            temporary: Arc::new(temporary(acme.domains.iter().map(ToString::to_string))?),
            certificates: (acme.challenge == ChallengeType::TlsAlpn01).then_some(pending),
            renewer,
        }))
    }

    pub fn pending(&self) -> Arc<Pending> {
        self.renewer.pending()
    }
}

impl ChallengeCertificates for Pending {
    fn certificate(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        self.certificate(server_name)
    }
}

fn temporary(names: impl Iterator<Item = String>) -> anyhow::Result<CertifiedKey> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names.collect::<Vec<_>>())?.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = CryptoProvider::get_default().context("no crypto provider installed")?;
    let chain = vec![certificate.der().clone()];
    CertifiedKey::from_der(chain, key, provider).context("temporary certificate")
}
