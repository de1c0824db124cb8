//! Client certificates: authorities and revocation lists to a verifier.
//!
//! Invariant: a bundle that is empty, cut off or no PEM is an error, never "nobody" or "everybody";
//! the system's authorities are not used.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::tls::certificates;
use super::{Compiler, Fingerprint};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{ClientCertificatesDoc, ClientCertificatesModeDoc};
use crate::field::At;
use crate::hosts::{ClientCertificates, TrustDomain};

/// A million revoked certificates take about 40 MiB.
const CRL_BYTES_MAX: u64 = 64 * 1024 * 1024;

type RevocationLists = Vec<CertificateRevocationListDer<'static>>;

impl Compiler<'_> {
    pub(super) fn client_certificates(
        &mut self,
        doc: &ClientCertificatesDoc,
        mark: Mark,
    ) -> Option<ClientCertificates> {
        let mode = self.required(&doc.mode, mark, "client_certificates", "mode");
        let ca = self.required(&doc.ca, mark, "client_certificates", "ca");
        let authorities = ca.and_then(|ca| Some((ca, self.client_authorities(ca)?)));
        let crl = doc.crl.given();
        let lists = crl.and_then(|crl| Some((crl, self.revocation_lists(crl)?)));
        let (mode, (ca, authorities)) = (mode?, authorities?);
        if crl.is_some() != lists.is_some() {
            return None;
        }
        let required = matches!(mode.value, ClientCertificatesModeDoc::Required);
        let mut fingerprint = Fingerprint::new("client_certificates", "");
        fingerprint.debug(&required);
        let mut expiries = Vec::new();
        for authority in &authorities {
            fingerprint.add(authority);
            expiries.extend(authority_end(authority));
        }
        let mut ends: Vec<(Arc<str>, i64)> = earliest(&ca.value, expiries).into_iter().collect();
        let mut revoked = RevocationLists::new();
        if let Some((crl, lists)) = lists {
            fingerprint.add(b"crl");
            for list in &lists {
                fingerprint.add(list);
            }
            ends.extend(earliest(
                &crl.value,
                lists.iter().filter_map(|l| list_end(l)),
            ));
            revoked = lists;
        }
        let blamed = crl.unwrap_or(ca);
        let verifier = verifier(authorities, revoked, required).map_err(|reason| {
            Fault::new(
                codes::REVOCATION_LIST,
                format!("{} cannot be used: {reason}", shown(&blamed.value)),
            )
        });
        Some(ClientCertificates {
            required,
            forward: doc.forward.given().is_some_and(|at| at.value),
            verifier: self.report.check(blamed.mark, verifier)?,
            trust_domain: TrustDomain(fingerprint.digest()),
            expiries: ends,
        })
    }

    fn client_authorities(&mut self, written: &At<String>) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.authorities(written)?;
        self.report
            .check(written.mark, certificates(&pem, &written.value))
    }

    fn revocation_lists(&mut self, written: &At<String>) -> Option<RevocationLists> {
        let pem = self.input(written, CRL_BYTES_MAX)?;
        let fault = |reason: String| {
            Fault::new(
                codes::REVOCATION_LIST,
                format!("{} {reason}", shown(&written.value)),
            )
        };
        let lists: Result<RevocationLists, _> =
            CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        let lists = match lists {
            Ok(lists) if lists.is_empty() => {
                Err(fault("holds no revocation list in PEM".to_owned()))
            }
            Ok(lists) => Ok(lists),
            Err(error) => Err(fault(format!("is not PEM: {error}"))),
        };
        self.report.check(written.mark, lists)
    }
}

fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    lists: RevocationLists,
    required: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Whose status is unknown, or known from a list past its end only, is refused: a list that
    // nobody renews must not become a list that revokes nobody.
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists)
        .enforce_revocation_expiration();
    if !required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| error.to_string())
}

fn authority_end(der: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn list_end(der: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(list.next_update()?.timestamp())
}

fn earliest(file: &str, ends: impl IntoIterator<Item = i64>) -> Option<(Arc<str>, i64)> {
    Some((file.into(), ends.into_iter().min()?))
}
