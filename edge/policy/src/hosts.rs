//! What each host demands of connections, and what all of its answers carry.
//!
//! One table for both questions that must never differ: which handshake a server name gets, and
//! which handshake a request for a host needs. The most specific entry decides alone.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use rustls::server::danger::ClientCertVerifier;

use crate::model::Origin;
use crate::routing::HostMatch;

/// Position in `HostTable::hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostId(pub usize);

/// The rules of one or more hosts; what an entry leaves out was taken from the entry for every host.
#[derive(Debug)]
pub struct Host {
    pub id: HostId,
    /// Empty for the rules of hosts that no entry names.
    pub name: Arc<str>,
    pub origin: Origin,
    /// None in the entry for every host.
    pub patterns: Vec<HostMatch>,
    pub min_version: TlsVersion,
    /// Over TCP, as ALPN names them, what we like best first; never empty.
    pub alpn: Vec<&'static str>,
    pub client_certificates: Option<ClientCertificates>,
    /// `strict-transport-security` (RFC 6797).
    pub hsts: Option<HeaderValue>,
    /// Answers over TCP tell of HTTP/3; never with client certificates.
    pub alt_svc: bool,
    pub security_headers: bool,
}

/// In the order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Which clients may connect.
#[derive(Debug, Clone)]
pub struct ClientCertificates {
    /// Without a certificate there is no connection; else one is asked for and may be missing.
    pub required: bool,
    /// Upstreams are told the certificate (RFC 9440).
    pub forward: bool,
    pub verifier: Arc<dyn ClientCertVerifier>,
    pub trust_domain: TrustDomain,
    /// Authorities and revocation lists, as written, and the second at which each ends.
    pub expiries: Vec<(Arc<str>, i64)>,
}

/// Digest of whom we trust: authorities, revocation lists and whether a certificate is required.
/// What was proved in one domain proves nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrustDomain(pub [u8; 32]);

impl std::fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.iter().take(8) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Host rules by host; there are always some.
#[derive(Debug)]
pub struct HostTable {
    exact: HashMap<String, Arc<Host>>,
    /// Keyed by the suffix with its leading dot.
    wildcards: HashMap<String, Arc<Host>>,
    any: Arc<Host>,
    hosts: Vec<Arc<Host>>,
}

impl HostTable {
    /// `any` is for hosts that no other entry names; `HostId`s are positions, `any` the first.
    pub(crate) fn build(any: Host, named: Vec<Host>) -> Self {
        let any = Arc::new(any);
        let mut table = Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            hosts: vec![any.clone()],
            any,
        };
        for host in named.into_iter().map(Arc::new) {
            for pattern in &host.patterns {
                match pattern.clone() {
                    HostMatch::Exact(name) => table.exact.insert(name, host.clone()),
                    HostMatch::Wildcard(suffix) => table.wildcards.insert(suffix, host.clone()),
                    HostMatch::Any => None,
                };
            }
            table.hosts.push(host);
        }
        table
    }

    /// Exact, then the longest wildcard, then any; `host` is lower case, without port and final dot.
    pub fn find(&self, host: &str) -> &Arc<Host> {
        let wildcard = || {
            host.match_indices('.')
                .filter(|(at, _)| *at > 0)
                .find_map(|(at, _)| self.wildcards.get(host.get(at..)?))
        };
        self.exact.get(host).or_else(wildcard).unwrap_or(&self.any)
    }

    /// For a request whose host is not known, and a handshake without a server name.
    pub fn any(&self) -> &Arc<Host> {
        &self.any
    }

    /// Every entry once; positions are `HostId`s.
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }
}

impl Default for HostTable {
    fn default() -> Self {
        Self::build(Host::unnamed(), Vec::new())
    }
}

impl Host {
    /// What holds where nothing is written.
    pub(crate) fn unnamed() -> Self {
        Self {
            id: HostId::default(),
            name: Arc::from(""),
            origin: Origin {
                file: Arc::from("."),
                line: 0,
            },
            patterns: Vec::new(),
            min_version: TlsVersion::Tls12,
            alpn: vec!["h2", "http/1.1"],
            client_certificates: None,
            hsts: None,
            alt_svc: true,
            security_headers: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, patterns: Vec<HostMatch>) -> Host {
        Host {
            name: name.into(),
            patterns,
            ..Host::unnamed()
        }
    }

    #[test]
    fn the_most_specific_entry_decides() {
        let exact = |name: &str| HostMatch::Exact(name.to_owned());
        let wildcard = |suffix: &str| HostMatch::Wildcard(suffix.to_owned());
        let table = HostTable::build(
            named("any", Vec::new()),
            vec![
                named("wide", vec![wildcard(".example.com")]),
                named("deep", vec![wildcard(".api.example.com")]),
                named("one", vec![exact("a.api.example.com")]),
            ],
        );
        for (host, expected) in [
            ("a.api.example.com", "one"),
            ("b.api.example.com", "deep"),
            ("x.b.api.example.com", "deep"),
            ("api.example.com", "wide"),
            ("example.com", "any"),
            ("notexample.com", "any"),
            (".example.com", "any"),
            ("", "any"),
        ] {
            assert_eq!(&*table.find(host).name, expected, "{host}");
        }
    }
}
