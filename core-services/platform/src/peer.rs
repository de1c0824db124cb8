//! Which process is calling: the SPIFFE identity in its certificate.
//! Invariant: a name comes only out of a certificate that rustls has already
//! chained to our authority; exactly one URI SAN, as SPIFFE X.509-SVID
//! section 2 asks, so a certificate can't carry two identities.
//! Refuses subject names and DNS names as identities.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name under which the gateway calls; service-only RPCs refuse it unless the
/// access matrix names it.
pub const EDGE: &str = "edge";

/// DNS labels' own limit; SPIFFE path segments use the same alphabet and more.
const NAME_BYTES_MAX: usize = 63;

/// The services that may call, all of one trust domain.
#[derive(Clone, Debug)]
pub struct PeerPolicy {
    prefix: String,
    allowed: BTreeSet<String>,
}

/// The verified name of a calling service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(pub String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "--trust-domain: `{0}` is not a trust domain\nhint: lowercase letters, digits, `.`, `-`, `_`"
    )]
    TrustDomain(String),
    #[error(
        "--allowed-peers: `{0}` is not a service name\nhint: lowercase letters, digits and `-`"
    )]
    Name(String),
    #[error("--allowed-peers: nobody is named\nhint: name at least `edge`")]
    Nobody,
}

/// Why a certificate was not accepted. The text goes to the log; the wire says less.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no client certificate")]
    NoCertificate,
    #[error("the client certificate cannot be parsed")]
    Malformed,
    #[error("the client certificate has {0} URI names instead of one")]
    UriCount(usize),
    #[error("the client's identity is not a service of this trust domain")]
    Foreign,
    #[error("service `{0}` is not allowed to call")]
    NotAllowed(String),
}

impl PeerPolicy {
    /// # Errors
    /// A trust domain and all names that are outside the alphabet SPIFFE gives them.
    pub fn new(trust_domain: &str, allowed: &[String]) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let domain_char =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if trust_domain.is_empty()
            || trust_domain.len() > 255
            || !trust_domain.bytes().all(domain_char)
        {
            errors.push(PolicyError::TrustDomain(trust_domain.to_owned()));
        }
        let wrong = allowed.iter().filter(|name| !is_name(name));
        errors.extend(wrong.cloned().map(PolicyError::Name));
        if allowed.is_empty() {
            errors.push(PolicyError::Nobody);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            prefix: format!("spiffe://{trust_domain}/svc/"),
            allowed: allowed.iter().cloned().collect(),
        })
    }

    /// The caller's name, if it may call.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Peer, Refusal> {
        let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
        let uri = single_uri(leaf)?;
        let name = uri
            .strip_prefix(&self.prefix)
            .filter(|name| is_name(name))
            .ok_or(Refusal::Foreign)?;
        if self.allowed.contains(name) {
            Ok(Peer(name.to_owned()))
        } else {
            Err(Refusal::NotAllowed(name.to_owned()))
        }
    }
}

fn single_uri(certificate: &CertificateDer<'_>) -> Result<String, Refusal> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| Refusal::Malformed)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| Refusal::Malformed)?;
    let mut uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, rest) => Err(Refusal::UriCount(rest + usize::from(first.is_some()))),
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["edge".to_owned()]).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    fn policy() -> PeerPolicy {
        PeerPolicy::new(
            "palisade.internal",
            &["edge".to_owned(), "order".to_owned()],
        )
        .unwrap()
    }

    #[test]
    fn identity_is_the_only_uri_of_the_leaf() {
        let check = |uris: &[&str], expected: Result<&str, Refusal>| {
            let got = policy().identify(&[certificate(uris)]);
            assert_eq!(got, expected.map(|name| Peer(name.to_owned())), "{uris:?}");
        };
        check(&["spiffe://palisade.internal/svc/edge"], Ok("edge"));
        check(&["spiffe://palisade.internal/svc/order"], Ok("order"));
        check(
            &["spiffe://palisade.internal/svc/media"],
            Err(Refusal::NotAllowed("media".to_owned())),
        );
        check(&["spiffe://other.internal/svc/edge"], Err(Refusal::Foreign));
        check(
            &["spiffe://palisade.internal/svc/edge/x"],
            Err(Refusal::Foreign),
        );
        check(&["spiffe://palisade.internal/svc/"], Err(Refusal::Foreign));
        check(
            &["spiffe://palisade.internal/user/edge"],
            Err(Refusal::Foreign),
        );
        check(
            &["https://palisade.internal/svc/edge"],
            Err(Refusal::Foreign),
        );
        // A DNS name `edge` is present in all of these and never counts.
        check(&[], Err(Refusal::UriCount(0)));
        check(
            &[
                "spiffe://palisade.internal/svc/edge",
                "spiffe://palisade.internal/svc/order",
            ],
            Err(Refusal::UriCount(2)),
        );
    }

    #[test]
    fn rubbish_is_refused() {
        assert_eq!(policy().identify(&[]), Err(Refusal::NoCertificate));
        let rubbish = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 0x00]);
        assert_eq!(policy().identify(&[rubbish]), Err(Refusal::Malformed));
    }

    #[test]
    fn policy_text_is_checked() {
        let new = |domain: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            PeerPolicy::new(domain, &names).err()
        };
        assert_eq!(new("a.b", &["edge"]), None);
        assert_eq!(
            new("A.b", &["edge"]),
            Some(vec![PolicyError::TrustDomain("A.b".to_owned())])
        );
        assert_eq!(
            new("a/b", &["edge", "ed/ge"]),
            Some(vec![
                PolicyError::TrustDomain("a/b".to_owned()),
                PolicyError::Name("ed/ge".to_owned())
            ])
        );
        assert_eq!(new("a.b", &[]), Some(vec![PolicyError::Nobody]));
    }
}
