//! TLS toward endpoints: what could only fail at the first connection fails here.
//!
//! Invariant: a client key belongs to its certificate, and every PEM parses. Refuses to print
//! anything of a key file.

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

use super::{Compiler, Fingerprint};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::TlsDoc;
use crate::field::At;
use crate::model::{ClientIdentity, UpstreamTls};

/// A bundle of all public authorities takes 250 KiB.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

impl Compiler<'_> {
    pub(super) fn tls(
        &mut self,
        at: &At<TlsDoc>,
        fingerprint: &mut Fingerprint,
    ) -> Option<UpstreamTls> {
        let doc = &at.value;
        let server_name = self.required(&doc.server_name, at.mark, "tls", "server_name");
        let server_name = server_name
            .and_then(|name| self.report.check(name.mark, check_server_name(&name.value)));
        let ca = self.required(&doc.ca, at.mark, "tls", "ca");
        let ca = ca.and_then(|ca| Some((self.folder.resolve(&ca.value), self.authorities(ca)?)));
        let identity = self.client_identity(at);
        let (server_name, (ca, ca_pem)) = (server_name?, ca?);
        fingerprint.add(server_name.as_bytes()).add(&ca_pem);
        if let Some(identity) = &identity {
            fingerprint
                .add(&identity.certificates_pem)
                .add(&identity.key_pem);
        }
        Some(UpstreamTls {
            server_name,
            ca,
            ca_pem,
            identity,
        })
    }

    /// PEM of at least one certificate that can be a trust anchor.
    pub(super) fn authorities(&mut self, written: &At<String>) -> Option<Vec<u8>> {
        let pem = self.input(written, PEM_BYTES_MAX)?;
        let authorities = certificates(&pem, &written.value).and_then(|found| {
            let mut store = RootCertStore::empty();
            for certificate in found {
                let added = store.add(certificate);
                added.map_err(|error| {
                    Fault::new(codes::PEM, format!("{}: {error}", shown(&written.value)))
                })?;
            }
            Ok(pem.to_vec())
        });
        self.report.check(written.mark, authorities)
    }

    fn client_identity(&mut self, at: &At<TlsDoc>) -> Option<ClientIdentity> {
        let doc = &at.value;
        let (certificate, key) = match (doc.certificate.given(), doc.key.given()) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(one), None) if doc.key.is_absent() => {
                return self.one_only(one, "certificate", "key");
            }
            (None, Some(one)) if doc.certificate.is_absent() => {
                return self.one_only(one, "key", "certificate");
            }
            _ => return None,
        };
        let certificates_pem = self.input(certificate, PEM_BYTES_MAX);
        let key_pem = self.input(key, PEM_BYTES_MAX);
        let (certificates_pem, key_pem) = (certificates_pem?, key_pem?);
        let chain = self.report.check(
            certificate.mark,
            certificates(&certificates_pem, &certificate.value),
        );
        let private = PrivateKeyDer::from_pem_slice(&key_pem)
            .ok()
            .and_then(|der| any_supported_type(&der).ok());
        let Some(private) = private else {
            let message = format!(
                "{} holds no private key that is supported",
                shown(&key.value)
            );
            self.report.push(key.mark, Fault::new(codes::PEM, message));
            return None;
        };
        if CertifiedKey::new(chain?, private).keys_match().is_err() {
            let message = format!(
                "{} is not the key of {}",
                shown(&key.value),
                shown(&certificate.value)
            );
            self.report
                .push(key.mark, Fault::new(codes::KEY_MISMATCH, message));
            return None;
        }
        Some(ClientIdentity {
            certificates_pem: certificates_pem.to_vec(),
            key_pem: key_pem.to_vec(),
        })
    }

    fn one_only(&mut self, one: &At<String>, given: &str, other: &str) -> Option<ClientIdentity> {
        let fault = Fault::new(
            codes::MISSING,
            format!("the tls has a `{given}` but no `{other}`"),
        );
        self.report.push(one.mark, fault);
        None
    }
}

fn check_server_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        let fault = Fault::new(codes::SERVER_NAME, "`server_name` is empty");
        return Err(fault.hint(
            "an endpoint's certificate is verified for this name, there is no way around it",
        ));
    }
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Fault::new(
            codes::SERVER_NAME,
            format!("{} is neither a DNS name nor an IP address", shown(text)),
        )),
    }
}

pub(super) fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Fault::new(
            codes::PEM,
            format!("{} holds no certificate in PEM", shown(file)),
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(Fault::new(
            codes::PEM,
            format!("{} is not PEM: {error}", shown(file)),
        )),
    }
}
