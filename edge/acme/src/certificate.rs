//! Whether a chain and a key are a pair that can be served for a name, and for how long.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::files::Pair;
use crate::schedule::Validity;
use crate::settings::Name;

/// The validity of a pair; the error says why it cannot be served.
pub(crate) fn inspect(pair: &Pair, name: &Name) -> Result<Validity, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not a certificate in PEM: {error}"))?;
    let leaf = chain.first().ok_or("no certificate in it")?.clone();
    let (_, parsed) =
        X509Certificate::from_der(&leaf).map_err(|error| format!("not X.509: {error}"))?;
    if !carries(&parsed, name) {
        return Err(format!("does not carry the name `{name}`"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|error| format!("not a private key in PEM: {error}"))?;
    let provider = CryptoProvider::get_default().ok_or("no crypto provider installed")?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("certificate and key do not go together: {error}"))?;
    let validity = parsed.validity();
    Ok(Validity {
        not_before: validity.not_before.to_datetime(),
        not_after: validity.not_after.to_datetime(),
    })
}

fn carries(certificate: &X509Certificate<'_>, name: &Name) -> bool {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else {
        return false;
    };
    let mut names = alternative.value.general_names.iter();
    names.any(
        |entry| matches!(entry, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(name.as_str())),
    )
}
