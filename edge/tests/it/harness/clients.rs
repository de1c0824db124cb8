//! Authorities of the test's own, what they sign for clients and servers, and revocation lists.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::files::replace;

const DAY: Duration = Duration::from_secs(86_400);

/// Signs what clients show.
pub(crate) struct ClientAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Certificates between what it signs and the root: its own, unless it is the root.
    above: Vec<CertificateDer<'static>>,
}

/// A certificate, its key, and the intermediates above it.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) above: Vec<CertificateDer<'static>>,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl ClientAuthority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority(name), key).expect("a certificate");
        Self {
            issuer,
            above: Vec::new(),
        }
    }

    /// An authority under this root.
    pub(crate) fn intermediate(&self, name: &str, serial: u64) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = authority(name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer);
        let issuer = issuer.expect("a certificate");
        Self {
            above: vec![issuer.der().clone()],
            issuer,
        }
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, serial: u64) -> Identity {
        self.issue_for(serial, DAY)
    }

    /// Valid from now for so long.
    pub(crate) fn issue_for(&self, serial: u64, valid: Duration) -> Identity {
        self.issue_named(serial, valid, &[])
    }

    /// For servers of these names.
    pub(crate) fn issue_named(&self, serial: u64, valid: Duration, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("client {serial}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - DAY;
        params.not_after = now + valid;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            above: self.above.clone(),
            chain_pem: format!(
                "{}{}",
                certificate.pem(),
                if self.above.is_empty() {
                    String::new()
                } else {
                    self.pem()
                }
            ),
            key_pem: key.serialize_pem(),
        }
    }

    /// A list, good for a day, of revoked serial numbers.
    pub(crate) fn revoke(&self, number: u64, serials: &[u64]) -> String {
        self.revoke_until(number, serials, time::Duration::DAY)
    }

    /// One that ends so much later than now.
    pub(crate) fn revoke_until(&self, number: u64, serials: &[u64], end: time::Duration) -> String {
        let now = time::OffsetDateTime::now_utc();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - DAY,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - DAY,
            next_update: now + end,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Identity {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key")
    }

    /// As files for other programs: certificate and key.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join("client.pem"), folder.join("client.key"));
        replace(&certificate, self.chain_pem.as_bytes());
        replace(&key, self.key_pem.as_bytes());
        (certificate, key)
    }
}
