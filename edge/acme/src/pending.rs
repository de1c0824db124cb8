//! The challenge that is being answered now.
//!
//! One place, not a map: orders are made one after the other and each has one name.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::settings::Name;

/// What the edge must answer with while an order is being proved; empty at all other times.
#[derive(Default)]
pub struct Pending(ArcSwapOption<Challenge>);

pub(crate) enum Challenge {
    Http01 {
        token: String,
        key_authorization: String,
    },
    TlsAlpn01 {
        name: Name,
        certificate: Arc<CertifiedKey>,
    },
}

impl Pending {
    /// The body for `/.well-known/acme-challenge/TOKEN` (RFC 8555, 8.3).
    pub fn key_authorization(&self, wanted: &str) -> Option<String> {
        match &**self.0.load().as_ref()? {
            Challenge::Http01 {
                token,
                key_authorization,
            } if token == wanted => Some(key_authorization.clone()),
            _ => None,
        }
    }

    /// The certificate for a handshake that offers `acme-tls/1` alone (RFC 8737, 3).
    pub fn certificate(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        match &**self.0.load().as_ref()? {
            Challenge::TlsAlpn01 { name, certificate }
                if server_name.eq_ignore_ascii_case(name.as_str()) =>
            {
                Some(certificate.clone())
            }
            _ => None,
        }
    }

    /// Answer until the guard is dropped.
    pub(crate) fn answer(self: &Arc<Self>, challenge: Challenge) -> Answering {
        self.0.store(Some(Arc::new(challenge)));
        Answering(self.clone())
    }
}

/// Holds no key in sight.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending")
            .field(&self.0.load().is_some())
            .finish()
    }
}

/// Ends the answering when dropped.
pub(crate) struct Answering(Arc<Pending>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(None);
    }
}

impl Challenge {
    /// A self-signed certificate with the digest of the key authorization in it (RFC 8737, 3).
    pub(crate) fn tls_alpn(name: &Name, digest: &[u8]) -> Result<Self, String> {
        let sign = || -> Result<_, rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_string()])?;
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = sign().map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = CryptoProvider::get_default().ok_or("no crypto provider installed")?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| error.to_string())?;
        // `from_der` would refuse the extension, which is critical by definition.
        let certificate = CertifiedKey::new(vec![certificate.der().clone()], key);
        Ok(Self::TlsAlpn01 {
            name: name.clone(),
            certificate: Arc::new(certificate),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_given_for_the_pending_challenge_only_and_end_with_it() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pending = Arc::new(Pending::default());
        assert_eq!(pending.key_authorization(""), None);
        let http = Challenge::Http01 {
            token: "abc".into(),
            key_authorization: "abc.def".into(),
        };
        let answering = pending.answer(http);
        assert_eq!(pending.key_authorization("abc").as_deref(), Some("abc.def"));
        for other in ["", "ab", "abcd", "ABC", "abc/", "../abc"] {
            assert_eq!(pending.key_authorization(other), None, "{other}");
        }
        assert!(pending.certificate("shop.test").is_none());
        drop(answering);
        assert_eq!(pending.key_authorization("abc"), None);

        let name: Name = "shop.test".parse().unwrap();
        let answering = pending.answer(Challenge::tls_alpn(&name, &[7; 32]).unwrap());
        assert!(pending.certificate("Shop.TEST").is_some());
        assert!(pending.certificate("www.shop.test").is_none());
        assert_eq!(pending.key_authorization("abc"), None);
        drop(answering);
        assert!(pending.certificate("shop.test").is_none());
    }
}
