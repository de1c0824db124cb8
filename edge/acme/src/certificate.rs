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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::{Duration, OffsetDateTime};

    use super::*;

    fn made(names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        params.not_after = params.not_before + Duration::days(90);
        Pair {
            chain: params.self_signed(&key).unwrap().pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    #[test]
    fn only_a_pair_that_can_be_served_for_the_name_passes() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let name: Name = "shop.test".parse().unwrap();
        let good = inspect(&made(&["www.shop.test", "SHOP.test"]), &name).unwrap();
        assert_eq!(good.lifetime(), Duration::days(90));
        assert_eq!(good.not_before.unix_timestamp(), 20_000 * 86_400);

        let with_key = |key: &[u8]| Pair {
            key: key.to_vec(),
            ..made(&["shop.test"])
        };
        let with_chain = |chain: &[u8]| Pair {
            chain: chain.to_vec(),
            ..made(&["shop.test"])
        };
        for (pair, wanted) in [
            (made(&["www.shop.test"]), "does not carry"),
            (made(&["*.test"]), "does not carry"),
            (made(&[]), "does not carry"),
            (with_key(&made(&["shop.test"]).key), "do not go together"),
            (with_key(b""), "not a private key"),
            (with_key(&made(&["shop.test"]).chain), "not a private key"),
            (with_chain(b""), "no certificate"),
            (with_chain(b"nonsense"), "no certificate"),
            (
                with_chain(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "not X.509",
            ),
        ] {
            let error = inspect(&pair, &name).unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }
}
