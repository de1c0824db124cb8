//! What hosts demand of connections, in words.

use super::{Definition, shortened};
use crate::hosts::{ClientCertificates, Host, TlsVersion, TrustDomain};
use crate::routing::HostMatch;

pub(super) const KIND: &str = "host";

pub(super) fn host(host: &Host) -> Definition {
    let Host {
        id: _,
        name,
        origin,
        patterns,
        min_version,
        alpn,
        client_certificates,
        hsts,
        alt_svc,
        security_headers,
    } = host;
    let mut it = Definition::new(KIND, name, Some(origin));
    it.each("hosts", patterns.iter().map(host_match));
    it.set(
        "tls.min_version",
        match min_version {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        },
    );
    it.list("tls.alpn", alpn);
    match client_certificates {
        Some(clients) => certificates(&mut it, clients),
        None => it.set("tls.client_certificates", "off"),
    }
    let hsts = hsts.as_ref().map(|value| value.to_str().unwrap_or(""));
    it.set("hsts", hsts.unwrap_or("off"));
    it.set("alt_svc", alt_svc);
    it.set("security_headers", security_headers);
    it
}

fn certificates(it: &mut Definition, clients: &ClientCertificates) {
    let ClientCertificates {
        required,
        forward,
        // By its trust domain.
        verifier: _,
        trust_domain: TrustDomain(digest),
        expiries,
    } = clients;
    let mode = if *required { "required" } else { "optional" };
    it.set("tls.client_certificates", mode);
    let files = expiries.iter().map(|(file, _)| file);
    it.list("tls.client_certificates.ca, crl", files);
    it.set("tls.client_certificates.content", shortened(*digest));
    it.set("tls.client_certificates.forward", forward);
}

pub(super) fn host_match(host: &HostMatch) -> String {
    match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(suffix) => format!("*{suffix}"),
        HostMatch::Any => "*".to_owned(),
    }
}
